"""Train a student on shards: data, network, module and keeper put together, and run."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from distill.errors import UsageError
from distill.recipe.training import TrainRecipe
from distill.rundir import seed_everything
from distill.spec import StudentSpec
from distill.students.checkpoint import check_same_student, save_student
from distill.students.data import EpochBatches, PhotoSet, build_loader
from distill.students.index import Entry, Index, read_index, split
from distill.students.keeper import LAST, Averaging, Interrupt, Keeper
from distill.students.losses.depth import is_metric
from distill.students.module import StudentModule
from distill.students.student import build_spec, build_student
from distill.students.timing import choose_threads
from distill.tasks import Task


class Progress(Protocol):
    """Shows how far something is."""

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count items as done."""
        ...


class Voice(Protocol):
    """How a run speaks to the person who started it."""

    def say(self, text: str) -> None:
        """A line."""
        ...

    def progress(self, what: str, total: int | None) -> AbstractContextManager[Progress]:
        """Progress through a number of items."""
        ...


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


@dataclass(frozen=True, slots=True)
class Fitted:
    """A finished (or interrupted) run.

    Attributes:
        history: One row per validation.
        epochs: Begun.
        steps: Optimiser steps.
        elapsed_s: Training time.
        interrupted: Whether a signal ended it; the same command goes on.
    """

    history: list[dict[str, Any]]
    epochs: int
    steps: int
    elapsed_s: float
    interrupted: bool

    @property
    def best(self) -> dict[str, Any]:
        """The row of the best validation; empty if there was none."""
        return max(self.history, key=lambda row: row["val_score"], default={})


def read_lessons(recipe: TrainRecipe) -> Lessons:
    """The samples in the recipe's shards, split, and the contract that follows from them.

    Raises:
        UsageError: A missing task, class lists or gauges that differ, an empty split, a metric loss on relative labels.
    """
    index = read_index(recipe.shards, recipe.tasks)
    train, val = split(index.entries, recipe.data.val_fraction)
    if Task.DEPTH in index.tasks:
        is_metric(recipe.loss.depth, index.gauge)
    spec = build_spec(
        recipe.student,
        name=recipe.name,
        tasks=index.tasks,
        gauge=index.gauge,
        classes=index.classes,
        licences=index.licences,
        terms=index.terms,
        provenance={"teachers": ", ".join(index.teachers), "photos": str(len(train))},
    )
    return Lessons(index, train, val, spec)


def fit(recipe: TrainRecipe, lessons: Lessons, run_dir: Path, voice: Voice, *, resume: bool = False) -> Fitted:
    """Train; leaves the student (spec.json, weights.safetensors), its curves, checkpoints and logs in the folder.

    Args:
        recipe: What to do.
        lessons: As `read_lessons` gave them for this recipe.
        run_dir: An existing folder.
        voice: Where progress goes.
        resume: Go on from the folder's last checkpoint.

    Raises:
        DistillError: A photo cannot be decoded, pretrained weights cannot be had, or the loss is no number.
    """
    seed_everything(recipe.train.seed)
    student = build_student(recipe.student, lessons.spec).to(memory_format=torch.channels_last)
    checkpoint = run_dir / "checkpoints" / LAST
    steps_done = check_same_student(checkpoint, student) if resume else 0
    photos, held_out = (_open_photos(entries, lessons, recipe, voice) for entries in (lessons.train, lessons.val))
    if recipe.train.accelerator == "cpu" or not torch.cuda.is_available():
        torch.set_num_threads(choose_threads(student, recipe, photos))
    bar_total = round(60 * recipe.train.minutes) if recipe.train.minutes else None
    max_steps = recipe.train.epochs * len(_batches(photos, recipe))
    with voice.progress("training", bar_total or max_steps) as bar:
        keeper = Keeper(run_dir, recipe.train, _advancer(bar, bar_total is not None), voice.say)
        interrupt = Interrupt(run_dir)
        trainer = _build_trainer(recipe, run_dir, keeper, interrupt)
        batches = _batches(photos, recipe, trainer)
        batches.set_epoch(steps_done // len(batches), skip=steps_done % len(batches))
        module = StudentModule(student, recipe, max_steps=max_steps, run_dir=run_dir)
        workers = recipe.data.workers
        with _quiet():
            trainer.fit(
                module,
                build_loader(photos, batches, workers=workers),
                build_loader(held_out, _batches(held_out, recipe, trainer, shuffle=False), workers=workers),
                ckpt_path=str(checkpoint) if resume else None,
                weights_only=True,
            )
    if not lessons.val and not interrupt.came and trainer.is_global_zero:
        save_student(run_dir, module.student)
    return Fitted(keeper.history, trainer.current_epoch, module.global_step, module.elapsed_s, interrupt.came)


def _open_photos(entries: Sequence[Entry], lessons: Lessons, recipe: TrainRecipe, voice: Voice) -> PhotoSet:
    photos = PhotoSet(entries, lessons.index.tasks, recipe.student.size_hw)
    # Every process of a machine holds its own copy.
    if 0 < photos.num_bytes * recipe.train.devices <= recipe.data.cache_gib * 2**30:
        with voice.progress("reading photos", len(photos)) as bar:
            photos.fill(bar.advance)
    return photos


def _batches(
    photos: PhotoSet, recipe: TrainRecipe, trainer: L.Trainer | None = None, *, shuffle: bool = True
) -> EpochBatches:
    num_ranks = recipe.train.devices * recipe.train.nodes
    if shuffle and len(photos) < num_ranks:
        raise UsageError(
            f"{len(photos)} photos cannot be shared by {num_ranks} processes", hint="lower train.devices or train.nodes"
        )
    return EpochBatches(
        len(photos),
        recipe.data.batch_size,
        seed=recipe.train.seed,
        shuffle=shuffle,
        rank=trainer.global_rank if trainer else 0,
        num_ranks=num_ranks,
    )


def _advancer(bar: Progress, by_time: bool) -> Callable[[StudentModule, str], None]:
    """Moves the bar by steps, or by seconds where time is what runs out."""
    shown = 0

    def advance(module: StudentModule, note: str) -> None:
        nonlocal shown
        reached = int(module.elapsed_s) if by_time else module.global_step
        bar.advance(reached - shown, note)
        shown = reached

    return advance


def _build_trainer(recipe: TrainRecipe, run_dir: Path, keeper: Keeper, interrupt: Interrupt) -> L.Trainer:
    budget = recipe.train
    precision = budget.precision
    if precision == "auto":
        has_gpu = torch.cuda.is_available() and budget.accelerator != "cpu"
        precision = "bf16-mixed" if has_gpu else "32-true"
    callbacks: list[L.Callback] = [keeper]
    if recipe.optim.ema_decay > 0:
        callbacks.append(Averaging(recipe.optim.ema_decay))
    callbacks.append(interrupt)
    with _quiet():
        return L.Trainer(
            accelerator=budget.accelerator,
            devices=budget.devices,
            num_nodes=budget.nodes,
            precision=precision,
            max_epochs=budget.epochs,
            callbacks=callbacks,
            logger=TensorBoardLogger(run_dir, name="logs", version=""),
            default_root_dir=run_dir,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """While open, Lightning says nothing: what matters is said by the voice."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
