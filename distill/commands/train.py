"""`distill train`: train a student on label shards."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distill.config import dump_recipe, load_recipe
from distill.config.train import TRUSTED_NETWORKS, TrainRecipe
from distill.console import Console
from distill.errors import UsageError
from distill.images import write_atomic
from distill.run_dir import open_rundir
from distill.shards import file_sha256
from distill.workflows.earlier import FINISHED, has_checkpoint, read_finished, refuse_other_shards

if TYPE_CHECKING:
    from distill.students.training.fit import Fitted, Lessons
    from distill.students.training.plan import Plan

_INTERRUPTED = 130


def train(
    recipe: Annotated[
        list[str] | None, typer.Argument(help="A recipe (YAML), and overrides such as student.preset=small.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("run"),
    shards: Annotated[
        list[Path] | None, typer.Option(help="Folder that distill label wrote; can be given several times.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Override a key of the recipe: key.sub=value.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint although the recipe has changed.")
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what would be done and how long it takes, and stop.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Train a small student on label shards.

    Leaves spec.json, weights.safetensors (the best averaged weights), curves and checkpoints in --out. Stop it whenever
    you like: the same command goes on where it was.

    Examples:
        distill train --shards shards --out run student.preset=nano

        distill train configs/runs/synthetic_multitask.yaml --shards shards --out run train.minutes=5
    """
    console = Console(as_json=as_json)
    resolved = load_training(recipe or [], shards or [], settings or [])
    if plan:
        from distill.students.training.fit import read_lessons
        from distill.students.training.plan import plan_training

        planned = plan_training(resolved, read_lessons(resolved))
        console.result(dataclasses.asdict(planned), describe_plan(planned))
        return
    fitted = run_train(resolved, out, console, resume=resume)
    if _is_first_process():
        console.result(describe_values(out, fitted), describe_fitted(out, fitted))


def run_train(recipe: TrainRecipe, out: Path, console: Console, *, resume: bool = False) -> Fitted:
    """Train, or go on where an earlier run of the same recipe stopped.

    Raises:
        UsageError: The folder holds another recipe's run, or the shards cannot be learned from.
        typer.Exit: A signal ended it; the state is kept.
    """
    resumes = has_checkpoint(out, recipe, resume=resume)
    from distill.students.training.fit import fit, read_lessons

    lessons = read_lessons(recipe)
    facts = _facts(recipe, lessons)
    if not resume:
        refuse_other_shards(out, facts)
        finished = read_finished(out)
        if finished is not None:
            console.say(f"{out}: this run is finished; choose another --out to train again")
            return finished
    open_rundir(out)
    if resumes:
        console.say(f"{out}: going on from the last checkpoint")
    begun = list[bool]()

    def begin(read: Lessons) -> None:
        # Not before: a start that is refused must leave the folder as it was.
        begun.append(True)
        if _is_first_process():
            open_rundir(out, recipe_yaml=dump_recipe(recipe), verb="train", facts=_facts(recipe, read))
            (out / FINISHED).unlink(missing_ok=True)

    fitted = fit(recipe, lessons, out, console if _is_first_process() else _Mute(), resume=resumes, begin=begin)
    if fitted.interrupted:
        console.say(f"interrupted at step {fitted.steps}; the state is kept: run the same command again to go on")
        raise typer.Exit(_INTERRUPTED)
    if not begun:
        console.say(f"{out}: no step was left to take; to go on, raise train.epochs or train.minutes")
    if _is_first_process():
        write_atomic(out / FINISHED, json.dumps(describe_values(out, fitted), indent=2).encode())
    return fitted


def load_training(words: list[str], shards: list[Path], settings: list[str]) -> TrainRecipe:
    """The recipe that the command line asks for; a word with ``=`` is an override, any other one the recipe's path.

    Raises:
        UsageError: Two recipes, a wrong key or value, or no shards.
    """
    overrides = [word for word in words if "=" in word] + settings
    paths = [Path(word) for word in words if "=" not in word]
    if len(paths) > 1:
        raise UsageError(
            f"{paths[1]}: a second recipe; one run has one recipe", hint="overrides look like key.sub=value"
        )
    if shards:
        overrides.append(f"shards={json.dumps([str(folder) for folder in shards])}")
    for setting in overrides:
        key, _, reference = setting.partition("=")
        if key.strip() == "student.network":  # written out by hand is trusted, in a file it is not
            trusted = os.environ.get(TRUSTED_NETWORKS)
            os.environ[TRUSTED_NETWORKS] = f"{trusted},{reference.strip()}" if trusted else reference.strip()
    return load_recipe(TrainRecipe, paths[0] if paths else {}, overrides, name="" if paths else "command line")


def describe_plan(plan: Plan) -> str:
    """A plan for people."""
    where = "decoded anew each epoch" if plan.kept == "nowhere" else f"kept in {plan.kept}"
    return "\n".join(
        (
            f"learn {', '.join(plan.tasks)} from {plan.photos_train} photos, score on {plan.photos_val}"
            + (f"; {plan.left_out} are broken and left out" if plan.left_out else ""),
            f"student: {plan.parameters / 1e6:.2f} M parameters, {plan.gmacs:.2f} GMACs a photo, "
            f"{plan.activation_bytes / 2**20:.0f} MiB of activations a batch",
            f"data: {plan.memory_bytes / 2**20:.0f} MiB decoded, {where}",
            f"at most {plan.epochs} epochs, {plan.steps} steps of {plan.step_s:.3f} s on {plan.device}",
            f"about {plan.train_s / 60:.1f} minutes and {plan.images:,} images, without validation",
        )
    )


def describe_fitted(out: Path, fitted: Fitted) -> str:
    """A finished run for people."""
    best = ", ".join(f"{name.removeprefix('val_')} {fitted.best[name]:.3f}" for name in fitted.best if "val_" in name)
    lost = sum(part.samples for part in fitted.left_out)
    return (
        f"{out}: {fitted.epochs} epochs, {fitted.steps} steps in {fitted.elapsed_s:.0f} s"
        f"{f'; broken samples left out: {lost}' if lost else ''}\n"
        f"best on the validation photos (labels, not truth): {best or 'none were kept for it'}\n"
        f"next: distill export {shlex.quote(str(out))} --to onnx"
    )


def describe_values(out: Path, fitted: Fitted) -> dict[str, Any]:
    """A finished run for machines."""
    return {
        "run": str(out),
        "epochs": fitted.epochs,
        "steps": fitted.steps,
        "elapsed_s": round(fitted.elapsed_s, 2),
        "best": fitted.best,
        "left_out": [dataclasses.asdict(part) for part in fitted.left_out],
    }


def _facts(recipe: TrainRecipe, lessons: Lessons) -> dict[str, Any]:
    return {
        "photos": {"train": len(lessons.train), "val": len(lessons.val)},
        "teachers": lessons.index.teachers,
        "licenses": lessons.index.licenses,
        "manifests": {str(folder): file_sha256(folder / "dataset.json") for folder in sorted(recipe.shards)},
    }


def _is_first_process() -> bool:
    """Whether this process speaks: for several devices Lightning starts this command once for each."""
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "NODE_RANK"))


class _Mute:
    """The voice of a process that is not the first."""

    def say(self, text: str) -> None:
        """Nothing."""

    @contextlib.contextmanager
    def progress(self, what: str, total: int | None) -> Iterator[_Mute]:
        """Itself, which shows nothing."""
        yield self

    def advance(self, count: int = 1, note: str = "") -> None:
        """Nothing."""
