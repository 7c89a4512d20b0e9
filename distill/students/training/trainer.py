"""Build Lightning's trainer: callbacks in their order, precision, loggers, no console output."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging

from distill.config.train import TrainConfig
from distill.errors import DistillError, UsageError
from distill.files import write_hint
from distill.students.training.callbacks.bad_samples import BadSampleCallback
from distill.students.training.callbacks.checkpointing import AtomicCheckpointIO, CheckpointCallback
from distill.students.training.callbacks.experiment_log import ExperimentLogCallback, build_logger
from distill.students.training.callbacks.validation import ValidationCallback

_SMALLER = "lower data.batch_size or student.size_hw"


def build_trainer(
    config: TrainConfig,
    run_dir: Path,
    bad_sample_callback: BadSampleCallback,
    validation_callback: ValidationCallback,
    checkpoint_callback: CheckpointCallback,
    checkpoints: AtomicCheckpointIO,
    *,
    first_step: int = 0,
) -> L.Trainer:
    """Lightning's trainer for this config, with its own checkpoints, progress bar and samplers turned off.

    `first_step` is the number of optimizer steps before a resumed run continues.
    """
    budget = config.train
    precision = budget.precision
    if precision == "auto":
        has_gpu = torch.cuda.is_available() and budget.accelerator != "cpu"
        precision = "bf16-mixed" if has_gpu else "32-true"
    callbacks: list[L.Callback] = [
        bad_sample_callback,
        validation_callback,
        ExperimentLogCallback(config, validation_callback),
    ]
    if config.optim.ema_decay > 0:
        callbacks.append(EMACallback(config.optim.ema_decay))
    callbacks.append(checkpoint_callback)
    with quiet():
        return L.Trainer(
            accelerator=budget.accelerator,
            devices=budget.devices,
            num_nodes=budget.nodes,
            precision=precision,
            max_epochs=budget.epochs,
            callbacks=callbacks,
            accumulate_grad_batches=config.optim.accumulate,
            logger=build_logger(config, run_dir, first_step=first_step),
            default_root_dir=run_dir,
            plugins=[checkpoints],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )


class EMACallback(WeightAveraging):
    """Weight averaging with a fast start: decay = min(configured, (1 + n) / (10 + n)).

    With a constant decay of 0.998 a third of the initial random weights would remain after 500 steps.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=_ema_update(decay))

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the averaged weights in the module, also if a resumed run had no step left."""
        self._copy_average_to_current(pl_module)


def _ema_update(decay: float) -> Callable[[Any, Any, Any], None]:
    @torch.no_grad()
    def average(averaged: Any, current: Any, count: Any) -> None:
        number = int(count)
        keep = min(decay, (1.0 + number) / (10.0 + number))
        if not averaged[0].is_floating_point():  # step counters of norms
            torch._foreach_copy_(list(averaged), list(current))
            return
        # One fused call: with torch's own loop over the tensors the average of nano takes 8 ms a step instead of 3.
        torch._foreach_lerp_(list(averaged), list(current), 1.0 - keep)

    return average


_CAUSES: Mapping[str, tuple[type[DistillError], str, str]] = {
    "more than 1 value per channel": (
        UsageError,
        "a batch of one photo of this size leaves one value per channel, too few for batch normalization",
        "raise data.batch_size or student.size_hw",
    ),
    "out of memory": (DistillError, "the memory of the GPU is too small for a training step", _SMALLER),
    "not enough memory": (DistillError, "the memory of this machine is too small for a training step", _SMALLER),
    "can't allocate memory": (DistillError, "the memory of this machine is too small for a training step", _SMALLER),
    "DataLoader worker": (
        DistillError,
        "a process that decodes photos has ended",
        "set data.workers=0",
    ),
}
"""Part of a message of torch: what it means to the user, and the next step."""


@contextlib.contextmanager
def explain_errors(run_dir: Path) -> Iterator[None]:
    """Context that turns errors of the system and of torch whose cause is known into sentences."""
    try:
        yield
    except OSError as error:
        raise DistillError(f"{error.filename or run_dir}: {error.strerror or error}", hint=write_hint(error)) from error
    except (ValueError, RuntimeError, MemoryError) as error:
        text = "not enough memory" if isinstance(error, MemoryError) else str(error)
        for part, (kind, cause, hint) in _CAUSES.items():
            if part in text:
                raise kind(cause, hint=hint) from error
        raise


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Context without messages of Lightning; the reporter shows the important ones."""
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
