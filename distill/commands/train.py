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

from distill.config import dump_config, load_config
from distill.config.train import TRUSTED_BACKBONES, TrainConfig
from distill.console import Console
from distill.errors import UsageError
from distill.images import write_atomic
from distill.run_dir import open_run_dir
from distill.shards import file_sha256
from distill.workflows.earlier import RESULT_FILE, check_same_shards, has_checkpoint, read_result

if TYPE_CHECKING:
    from distill.students.training.fit import TrainingData, TrainResult
    from distill.students.training.plan import TrainPlan

_INTERRUPTED = 130


def train(
    config: Annotated[
        list[str] | None, typer.Argument(help="A config (YAML), and overrides such as student.preset=small.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("run"),
    shards: Annotated[
        list[Path] | None, typer.Option(help="Folder that distill label wrote; can be given several times.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Override a key of the config: key.sub=value.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint although the config has changed.")
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
    resolved = load_training(config or [], shards or [], settings or [])
    if plan:
        from distill.students.training.fit import load_training_data
        from distill.students.training.plan import plan_training

        planned = plan_training(resolved, load_training_data(resolved))
        console.result(dataclasses.asdict(planned), format_plan(planned))
        return
    result = run_train(resolved, out, console, resume=resume)
    if _is_rank_zero():
        console.result(result_values(out, result), format_result(out, result))


def run_train(config: TrainConfig, out: Path, console: Console, *, resume: bool = False) -> TrainResult:
    """Train, or go on where an earlier run of the same config stopped.

    Raises:
        UsageError: The folder holds another config's run, or the shards cannot be learned from.
        typer.Exit: A signal ended it; the state is kept.
    """
    resumes = has_checkpoint(out, config, resume=resume)
    from distill.students.training.fit import fit, load_training_data

    data = load_training_data(config)
    facts = _facts(config, data)
    if not resume:
        check_same_shards(out, facts)
        finished = read_result(out)
        if finished is not None:
            console.info(f"{out}: this run is finished; choose another --out to train again")
            return finished
    open_run_dir(out)
    if resumes:
        console.info(f"{out}: going on from the last checkpoint")
    begun = list[bool]()

    def begin(read: TrainingData) -> None:
        # Not before: a start that is refused must leave the folder as it was.
        begun.append(True)
        if _is_rank_zero():
            open_run_dir(out, config_yaml=dump_config(config), verb="train", facts=_facts(config, read))
            (out / RESULT_FILE).unlink(missing_ok=True)

    result = fit(config, data, out, console if _is_rank_zero() else SilentReporter(), resume=resumes, begin=begin)
    if result.interrupted:
        console.info(f"interrupted at step {result.steps}; the state is kept: run the same command again to go on")
        raise typer.Exit(_INTERRUPTED)
    if not begun:
        console.info(f"{out}: no step was left to take; to go on, raise train.epochs or train.minutes")
    if _is_rank_zero():
        write_atomic(out / RESULT_FILE, json.dumps(result_values(out, result), indent=2).encode())
    return result


def load_training(words: list[str], shards: list[Path], settings: list[str]) -> TrainConfig:
    """The config that the command line asks for; a word with ``=`` is an override, any other one the config's path.

    Raises:
        UsageError: Two configs, a wrong key or value, or no shards.
    """
    overrides = [word for word in words if "=" in word] + settings
    paths = [Path(word) for word in words if "=" not in word]
    if len(paths) > 1:
        raise UsageError(
            f"{paths[1]}: a second config; one run has one config", hint="overrides look like key.sub=value"
        )
    if shards:
        overrides.append(f"shards={json.dumps([str(folder) for folder in shards])}")
    for setting in overrides:
        key, _, reference = setting.partition("=")
        if key.strip() == "student.custom_backbone":  # written out by hand is trusted, in a file it is not
            trusted = os.environ.get(TRUSTED_BACKBONES)
            os.environ[TRUSTED_BACKBONES] = f"{trusted},{reference.strip()}" if trusted else reference.strip()
    return load_config(TrainConfig, paths[0] if paths else {}, overrides, name="" if paths else "command line")


def format_plan(plan: TrainPlan) -> str:
    """A plan for people."""
    where = "decoded anew each epoch" if plan.cache_location == "nowhere" else f"kept in {plan.cache_location}"
    return "\n".join(
        (
            f"learn {', '.join(plan.tasks)} from {plan.photos_train} photos, score on {plan.photos_val}"
            + (f"; {plan.num_bad_samples} are broken and left out" if plan.num_bad_samples else ""),
            f"student: {plan.parameters / 1e6:.2f} M parameters, {plan.gmacs:.2f} GMACs a photo, "
            f"{plan.activation_bytes / 2**20:.0f} MiB of activations a batch",
            f"data: {plan.memory_bytes / 2**20:.0f} MiB decoded, {where}",
            f"at most {plan.epochs} epochs, {plan.steps} steps of {plan.step_s:.3f} s on {plan.device}",
            f"about {plan.train_s / 60:.1f} minutes and {plan.images:,} images, without validation",
        )
    )


def format_result(out: Path, result: TrainResult) -> str:
    """A finished run for people."""
    best = ", ".join(f"{name.removeprefix('val_')} {result.best[name]:.3f}" for name in result.best if "val_" in name)
    lost = sum(part.samples for part in result.bad_samples)
    return (
        f"{out}: {result.epochs} epochs, {result.steps} steps in {result.elapsed_s:.0f} s"
        f"{f'; broken samples left out: {lost}' if lost else ''}\n"
        f"best on the validation photos (labels, not truth): {best or 'none were kept for it'}\n"
        f"next: distill export {shlex.quote(str(out))} --to onnx"
    )


def result_values(out: Path, result: TrainResult) -> dict[str, Any]:
    """A finished run for machines."""
    return {
        "run": str(out),
        "epochs": result.epochs,
        "steps": result.steps,
        "elapsed_s": round(result.elapsed_s, 2),
        "best": result.best,
        "bad_samples": [dataclasses.asdict(part) for part in result.bad_samples],
    }


def _facts(config: TrainConfig, data: TrainingData) -> dict[str, Any]:
    return {
        "photos": {"train": len(data.train), "val": len(data.val)},
        "teachers": data.index.teachers,
        "licenses": data.index.licenses,
        "manifests": {str(folder): file_sha256(folder / "dataset.json") for folder in sorted(config.shards)},
    }


def _is_rank_zero() -> bool:
    """Whether this process speaks: for several devices Lightning starts this command once for each."""
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "NODE_RANK"))


class SilentReporter:
    """Reports nothing: for processes that are not the first."""

    def say(self, text: str) -> None:
        """Nothing."""

    @contextlib.contextmanager
    def progress(self, what: str, total: int | None) -> Iterator[SilentReporter]:
        """Itself, which shows nothing."""
        yield self

    def advance(self, count: int = 1, note: str = "") -> None:
        """Nothing."""
