"""Train a student on shards: prepare data, network, module and callbacks, and run them."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from distill.config.train import TrainConfig
from distill.errors import DistillError, UsageError
from distill.run_dir import seed_everything
from distill.runtime.progress import Progress, Reporter
from distill.spec import StudentSpec
from distill.students.checkpoint import load_matching_weights, save_student
from distill.students.data.bad_samples import BadSample, count_bad_samples, describe_bad_samples
from distill.students.data.dataset import ShardDataset
from distill.students.data.dataset_index import DatasetIndex, read_index
from distill.students.data.loaders import (
    check_labeled,
    check_remaining,
    open_dataset,
    steps_per_epoch,
    train_sampler,
    val_sampler,
)
from distill.students.data.sampler import build_loader
from distill.students.data.shard_index import SampleRef
from distill.students.data.split import split
from distill.students.losses.depth import is_metric
from distill.students.model.backbone import memory_format
from distill.students.model.fake_quant import enable_fake_quant
from distill.students.model.student import build_spec, build_student
from distill.students.training.callbacks.bad_samples import BadSampleCallback
from distill.students.training.callbacks.checkpointing import LAST, AtomicCheckpointIO, CheckpointCallback
from distill.students.training.callbacks.validation import ValidationCallback
from distill.students.training.checkpoint_state import read_checkpoint, to_lightning_state
from distill.students.training.learned import describe, describe_failure
from distill.students.training.module import StudentModule
from distill.students.training.resume import ResumePosition
from distill.students.training.step_timing import choose_threads
from distill.students.training.trainer import build_trainer, explain_errors, quiet
from distill.tasks import Task

CACHE = "cache"
"""Decoded photos that do not fit into memory; removed when the run is over."""


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Samples of a run and the spec that follows from them.

    Attributes:
        index: All samples and their common properties.
        train: Training samples.
        val: Validation samples; may be empty.
        spec: Spec of the student.
        split: How the validation photos were chosen.
    """

    index: DatasetIndex
    train: tuple[SampleRef, ...]
    val: tuple[SampleRef, ...]
    spec: StudentSpec
    split: str = ""

    def without_bad_samples(self, train: Sequence[SampleRef], val: Sequence[SampleRef]) -> TrainingData:
        """The training data with these samples only."""
        provenance = self.spec.provenance | {"photos": str(len(train))}
        spec = self.spec.model_copy(update={"provenance": provenance})
        return replace(self, train=tuple(train), val=tuple(val), spec=spec)


@dataclass(frozen=True, slots=True)
class FitResult:
    """A finished (or interrupted) run.

    Attributes:
        history: One row per validation.
        epochs: Epochs that were started.
        steps: Optimizer steps.
        elapsed_s: Training time.
        interrupted: Whether a signal ended it; the same command with --resume continues.
        bad_samples: Samples and shards that could not be used.
        failure: Why nothing was learned; empty if something was.
        weak: Tasks in which the student is no better than a constant prediction, with their scores.
    """

    history: list[dict[str, Any]]
    epochs: int
    steps: int
    elapsed_s: float
    interrupted: bool
    bad_samples: tuple[BadSample, ...] = ()
    failure: str = ""
    weak: str = ""

    @property
    def best(self) -> dict[str, Any]:
        """The row of the best validation; empty without one."""
        scored = [row for row in self.history if math.isfinite(row["val_score"])]
        return max(scored, key=lambda row: row["val_score"], default={})


def load_training_data(config: TrainConfig) -> TrainingData:
    """Index and split the samples in the config's shards, and build the spec.

    Raises:
        UsageError: A missing task, different class lists or depth kinds, an empty split, a metric loss on relative
            labels, or no GPU where one is required.
    """
    if config.train.accelerator == "gpu" and not torch.cuda.is_available():
        raise UsageError("train.accelerator=gpu: torch finds no GPU", hint="leave it out, or choose cpu")
    index = read_index(config.shards, config.tasks)
    parts = split(index.entries, config.data.val_fraction, config.data.group_by)
    if Task.DEPTH in index.tasks:
        is_metric(config.loss.depth, index.depth_kind)
    spec = build_spec(
        config.student,
        name=config.name,
        tasks=index.tasks,
        depth_kind=index.depth_kind,
        classes=index.classes,
        things=index.things,
        licenses=index.licenses,
        terms=index.terms,
        provenance={"teachers": ", ".join(index.teachers), "photos": str(len(parts.train))},
    )
    return TrainingData(index, parts.train, parts.val, spec, parts.description)


def fit(
    config: TrainConfig,
    data: TrainingData,
    run_dir: Path,
    reporter: Reporter,
    *,
    resume: bool = False,
    begin: Callable[[TrainingData], None] = lambda data: None,
) -> FitResult:
    """Train; writes the student (spec.json, weights.safetensors), its curves, checkpoints and logs to the folder.

    Args:
        config: All settings.
        data: Result of `load_training_data` for this config.
        run_dir: An existing folder.
        reporter: Receives progress and messages.
        resume: Continue from the folder's last checkpoint.
        begin: Called after all checks, before the first step, with the training data that could be read; not called if
            no step is left.

    Raises:
        UsageError: There is no checkpoint to resume from, or the config does not match it.
        DistillError: Too many samples are bad, pretrained weights cannot be downloaded, the loss is not finite, or no
            validation has a finite score.
    """
    seed_everything(config.train.seed)
    student = build_student(config.student, data.spec)
    on_cpu = config.train.accelerator == "cpu" or not torch.cuda.is_available()
    student.to(memory_format=memory_format(student, torch.device("cpu" if on_cpu else "cuda")))
    checkpoint = run_dir / "checkpoints" / LAST
    found = read_checkpoint(checkpoint, student) if resume else None
    if config.init is not None and not resume:
        reporter.info(load_matching_weights(config.init, student))
    if config.train.fake_quant:
        reporter.info(f"{enable_fake_quant(student)} layers are trained with simulated 8-bit rounding")
    data, photos, held_out, bad_samples = _open_datasets(data, config, run_dir, reporter)
    student.spec = data.spec
    if on_cpu:
        torch.set_num_threads(choose_threads(student, config, photos, found.distill.threads if found else None))
    bar_total = round(60 * config.train.minutes) if config.train.minutes else None
    max_steps = config.train.epochs * steps_per_epoch(train_sampler(photos.entries, config), config)
    with reporter.progress("training", bar_total or max_steps) as bar:
        bad_sample_callback = BadSampleCallback(run_dir, photos, held_out, bad_samples)

        def start() -> None:
            begin(data)
            if trainer.is_global_zero:
                bad_sample_callback.begin()

        validation_callback = ValidationCallback(
            run_dir, config, _progress_updater(bar, bar_total is not None), reporter.info, start
        )
        checkpoint_callback = CheckpointCallback(run_dir, config, validates=bool(held_out.entries))
        checkpoints = AtomicCheckpointIO()
        trainer = build_trainer(
            config,
            run_dir,
            bad_sample_callback,
            validation_callback,
            checkpoint_callback,
            checkpoints,
            first_step=found.global_step if found else 0,
        )
        batches = train_sampler(photos.entries, config, trainer.global_rank)
        module = StudentModule(student, config, max_steps=max_steps, run_dir=run_dir, num_photos=len(photos))
        module.resume_position = ResumePosition(len(batches))
        if found is not None:
            module.resume_position = found.position(len(batches), config.optim.accumulate)
            checkpoints.loaded = to_lightning_state(checkpoint, found, module, module.resume_position)
        batches.set_epoch(module.resume_position.epoch, skip=module.resume_position.batch)
        val_rows, workers = val_sampler(held_out.entries, config, trainer.global_rank), config.data.workers
        with quiet(), explain_errors(run_dir):
            trainer.fit(
                module,
                build_loader(photos, batches, workers=workers),
                build_loader(held_out, val_rows, workers=workers),
                ckpt_path=str(checkpoint.resolve()) if resume else None,
                weights_only=True,
            )
    if trainer.is_global_zero and not checkpoint_callback.interrupted:
        if not data.val:
            save_student(run_dir, module.student)
        shutil.rmtree(run_dir / CACHE, ignore_errors=True)
    if validation_callback.diverged and not checkpoint_callback.interrupted:
        raise DistillError(
            f"{run_dir}: the training diverged: no validation has a finite score, so no student was saved",
            hint="lower optim.lr, and train into a new folder",
        )
    late = bad_sample_callback.bad_samples[len(bad_samples) :]
    if late:
        reporter.info(describe_bad_samples(late, len(photos) + len(held_out) - count_bad_samples(late), run_dir))
    compared = validation_callback.comparisons
    failure = ""
    if compared is not None and not checkpoint_callback.interrupted:
        failure = describe_failure(compared, validation_callback.best_score, module.global_step)
    return FitResult(
        validation_callback.history,
        module.started_epochs,
        module.global_step,
        module.elapsed_s,
        checkpoint_callback.interrupted,
        tuple(bad_sample_callback.bad_samples),
        failure,
        describe(compared or {}),
    )


def _open_datasets(
    data: TrainingData, config: TrainConfig, run_dir: Path, reporter: Reporter
) -> tuple[TrainingData, ShardDataset, ShardDataset, tuple[BadSample, ...]]:
    """(training data that could be read, training set, validation set, bad samples)."""
    tasks, cache = data.index.tasks, run_dir / CACHE
    photos = open_dataset(data.train, tasks, data.spec, config, cache / "train", reporter)
    held_out = open_dataset(data.val, tasks, data.spec, config, cache / "val", reporter)
    bad_samples = (*data.index.bad_samples, *photos.bad_samples, *held_out.bad_samples)
    check_remaining(bad_samples, photos, held_out, has_val=bool(data.val))
    check_labeled(photos)
    if bad_samples:
        reporter.info(describe_bad_samples(bad_samples, len(photos) + len(held_out), run_dir))
        data = data.without_bad_samples(photos.entries, held_out.entries)
    return data, photos, held_out, bad_samples


def _progress_updater(bar: Progress, by_time: bool) -> Callable[[StudentModule, str], None]:
    """Function that advances the bar by steps, or by seconds if there is a time limit."""
    shown = 0

    def advance(module: StudentModule, note: str) -> None:
        nonlocal shown
        reached = int(module.elapsed_s) if by_time else module.steps
        bar.advance(reached - shown, note)
        shown = reached

    return advance
