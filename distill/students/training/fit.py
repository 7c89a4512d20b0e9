"""Train a student on shards: data, network, module and keeper put together, and run."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from distill.config.train import TrainRecipe
from distill.errors import DistillError, UsageError
from distill.run_dir import seed_everything
from distill.runtime.progress import Progress, Voice
from distill.spec import StudentSpec
from distill.students.checkpoint import check_same_learning, check_same_student, save_student, take_weights
from distill.students.data.bad_samples import Broken, count, describe
from distill.students.data.dataset import PhotoSet
from distill.students.data.dataset_index import Index, read_index, split
from distill.students.data.loaders import check_left, open_photos, steps_per_epoch, train_batches, val_batches
from distill.students.data.sampler import build_loader
from distill.students.data.shard_index import Entry
from distill.students.losses.depth import is_metric
from distill.students.model.backbone import memory_format
from distill.students.model.fake_quant import learn_rounded
from distill.students.model.student import build_spec, build_student
from distill.students.training.callbacks.bad_samples import Watch
from distill.students.training.callbacks.checkpointing import LAST, Saver
from distill.students.training.callbacks.validation import Keeper
from distill.students.training.module import StudentModule
from distill.students.training.resume import Standing, read_standing
from distill.students.training.step_timing import choose_threads
from distill.students.training.trainer import build_trainer, explained, quiet
from distill.tasks import Task

CACHE = "cache"
"""Decoded photos that do not fit into memory; removed when the run is over."""


@dataclass(frozen=True, slots=True)
class Lessons:
    """What there is to learn from.

    Attributes:
        index: All samples, and what they agree on.
        train: Entries to learn from.
        val: Entries to score on; may be empty.
        spec: The contract of the student that learns them.
    """

    index: Index
    train: tuple[Entry, ...]
    val: tuple[Entry, ...]
    spec: StudentSpec

    def without_broken(self, train: Sequence[Entry], val: Sequence[Entry]) -> Lessons:
        """The lessons of these entries alone."""
        told = self.spec.provenance | {"photos": str(len(train))}
        return replace(self, train=tuple(train), val=tuple(val), spec=self.spec.model_copy(update={"provenance": told}))


@dataclass(frozen=True, slots=True)
class Fitted:
    """A finished (or interrupted) run.

    Attributes:
        history: One row per validation.
        epochs: Begun.
        steps: Optimizer steps.
        elapsed_s: Training time.
        interrupted: Whether a signal ended it; the same command goes on.
        left_out: Samples and shards that could not be used.
    """

    history: list[dict[str, Any]]
    epochs: int
    steps: int
    elapsed_s: float
    interrupted: bool
    left_out: tuple[Broken, ...] = ()

    @property
    def best(self) -> dict[str, Any]:
        """The row of the best validation; empty if there was none."""
        scored = [row for row in self.history if math.isfinite(row["val_score"])]
        return max(scored, key=lambda row: row["val_score"], default={})


def read_lessons(recipe: TrainRecipe) -> Lessons:
    """The samples in the recipe's shards, split, and the contract that follows from them.

    Raises:
        UsageError: A missing task, class lists or depth kinds that differ, an empty split, a metric loss on relative labels,
            a GPU that is not there.
    """
    if recipe.train.accelerator == "gpu" and not torch.cuda.is_available():
        raise UsageError("train.accelerator=gpu: torch finds no GPU here", hint="leave it out, or choose cpu")
    index = read_index(recipe.shards, recipe.tasks)
    train, val = split(index.entries, recipe.data.val_fraction)
    if Task.DEPTH in index.tasks:
        is_metric(recipe.loss.depth, index.depth_kind)
    spec = build_spec(
        recipe.student,
        name=recipe.name,
        tasks=index.tasks,
        depth_kind=index.depth_kind,
        classes=index.classes,
        things=index.things,
        licenses=index.licenses,
        terms=index.terms,
        provenance={"teachers": ", ".join(index.teachers), "photos": str(len(train))},
    )
    return Lessons(index, train, val, spec)


def fit(
    recipe: TrainRecipe,
    lessons: Lessons,
    run_dir: Path,
    voice: Voice,
    *,
    resume: bool = False,
    begin: Callable[[Lessons], None] = lambda lessons: None,
) -> Fitted:
    """Train; leaves the student (spec.json, weights.safetensors), its curves, checkpoints and logs in the folder.

    Args:
        recipe: What to do.
        lessons: As `read_lessons` gave them for this recipe.
        run_dir: An existing folder.
        voice: Where progress goes.
        resume: Go on from the folder's last checkpoint.
        begin: Called when everything is in order, before the first step, with the lessons that could be read; not at
            all if no step is left to take.

    Raises:
        UsageError: There is nothing to go on from, or what is asked for does not fit to it.
        DistillError: Too many samples are broken, pretrained weights cannot be had, or the loss or every score is no
            number.
    """
    seed_everything(recipe.train.seed)
    student = build_student(recipe.student, lessons.spec)
    on_cpu = recipe.train.accelerator == "cpu" or not torch.cuda.is_available()
    student.to(memory_format=memory_format(student, torch.device("cpu" if on_cpu else "cuda")))
    checkpoint = run_dir / "checkpoints" / LAST
    found = check_same_student(checkpoint, student) if resume else None
    if recipe.init is not None and not resume:
        voice.say(take_weights(recipe.init, student))
    if recipe.train.int8:
        voice.say(f"{learn_rounded(student)} layers learn under the rounding of eight bits")
    lessons, photos, held_out, broken = _read(lessons, recipe, run_dir, voice)
    student.spec = lessons.spec
    if on_cpu:
        torch.set_num_threads(choose_threads(student, recipe, photos))
    bar_total = round(60 * recipe.train.minutes) if recipe.train.minutes else None
    max_steps = recipe.train.epochs * steps_per_epoch(train_batches(photos.entries, recipe), recipe)
    with voice.progress("training", bar_total or max_steps) as bar:
        watch = Watch(run_dir, photos, held_out, broken)

        def start() -> None:
            begin(lessons)
            if trainer.is_global_zero:
                watch.begin()

        keeper = Keeper(run_dir, recipe, _advancer(bar, bar_total is not None), voice.say, start)
        saver = Saver(run_dir, recipe)
        trainer = build_trainer(recipe, run_dir, watch, keeper, saver)
        batches = train_batches(photos.entries, recipe, trainer.global_rank)
        module = StudentModule(student, recipe, max_steps=max_steps, run_dir=run_dir, num_photos=len(photos))
        if found:
            _take_up(module, found, checkpoint, len(batches))
        else:
            module.standing = Standing(len(batches))
        batches.set_epoch(module.standing.epoch, skip=module.standing.batch)
        val_rows, workers = val_batches(held_out.entries, recipe, trainer.global_rank), recipe.data.workers
        with quiet(), explained():
            trainer.fit(
                module,
                build_loader(photos, batches, workers=workers),
                build_loader(held_out, val_rows, workers=workers),
                ckpt_path=str(checkpoint) if resume else None,
                weights_only=True,
            )
    if trainer.is_global_zero and not saver.came:
        if not lessons.val:
            save_student(run_dir, module.student)
        shutil.rmtree(run_dir / CACHE, ignore_errors=True)
    if keeper.diverged and not saver.came:
        raise DistillError(
            f"{run_dir}: the training diverged: no validation gave a score that is a number, so no student was kept",
            hint="lower optim.lr, and train into a new folder",
        )
    late = watch.broken[len(broken) :]
    if late:
        voice.say(describe(late, len(photos) + len(held_out) - count(late), run_dir))
    return Fitted(
        keeper.history, trainer.current_epoch, module.global_step, module.elapsed_s, saver.came, tuple(watch.broken)
    )


def _read(
    lessons: Lessons, recipe: TrainRecipe, run_dir: Path, voice: Voice
) -> tuple[Lessons, PhotoSet, PhotoSet, tuple[Broken, ...]]:
    """(the lessons that can be read; their photos to learn from; to score on; what was left out)."""
    tasks, cache = lessons.index.tasks, run_dir / CACHE
    photos = open_photos(lessons.train, tasks, lessons.spec, recipe, cache / "train", voice)
    held_out = open_photos(lessons.val, tasks, lessons.spec, recipe, cache / "val", voice)
    broken = (*lessons.index.broken, *photos.broken, *held_out.broken)
    check_left(broken, photos, held_out, has_val=bool(lessons.val))
    if broken:
        voice.say(describe(broken, len(photos) + len(held_out), run_dir))
        lessons = lessons.without_broken(photos.entries, held_out.entries)
    return lessons, photos, held_out, broken


def _take_up(module: StudentModule, found: Mapping[str, Any], checkpoint: Path, batches_per_epoch: int) -> None:
    """Let the module go on where the run of this checkpoint (`found` in it) stands.

    Raises:
        UsageError: What learns there is not what would learn now.
    """
    groups = [len(group["params"]) for group in module.configure_optimizers().param_groups]
    check_same_learning(checkpoint, found, module.state_dict(), groups)
    module.standing = read_standing(found, batches_per_epoch, module.recipe.optim.accumulate)


def _advancer(bar: Progress, by_time: bool) -> Callable[[StudentModule, str], None]:
    """Moves the bar by steps, or by seconds where time is what runs out."""
    shown = 0

    def advance(module: StudentModule, note: str) -> None:
        nonlocal shown
        reached = int(module.elapsed_s) if by_time else module.steps
        bar.advance(reached - shown, note)
        shown = reached

    return advance
