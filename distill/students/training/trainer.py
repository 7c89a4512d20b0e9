"""Lightning's trainer as a run needs it: callbacks in their order, precision, loggers, and silence."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from distill.config.train import TrainRecipe
from distill.errors import UsageError
from distill.optional import require
from distill.students.training.callbacks.bad_samples import Watch
from distill.students.training.callbacks.checkpointing import AtomicFiles, Saver
from distill.students.training.callbacks.ema import Averaging
from distill.students.training.callbacks.validation import Keeper


def build_trainer(recipe: TrainRecipe, run_dir: Path, watch: Watch, keeper: Keeper, saver: Saver) -> L.Trainer:
    """Lightning's trainer for this budget, with everything that it would do by itself turned off."""
    budget = recipe.train
    precision = budget.precision
    if precision == "auto":
        has_gpu = torch.cuda.is_available() and budget.accelerator != "cpu"
        precision = "bf16-mixed" if has_gpu else "32-true"
    callbacks: list[L.Callback] = [watch, keeper]
    if recipe.optim.ema_decay > 0:
        callbacks.append(Averaging(recipe.optim.ema_decay))
    callbacks.append(saver)
    with quiet():
        return L.Trainer(
            accelerator=budget.accelerator,
            devices=budget.devices,
            num_nodes=budget.nodes,
            precision=precision,
            max_epochs=budget.epochs,
            callbacks=callbacks,
            accumulate_grad_batches=recipe.optim.accumulate,
            logger=_build_logger(recipe, run_dir),
            default_root_dir=run_dir,
            plugins=[AtomicFiles()],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )


def _build_logger(recipe: TrainRecipe, run_dir: Path) -> Logger | bool:
    """Where curves go beside the files that are always written."""
    kind = recipe.train.logger
    if kind == "tensorboard":
        return TensorBoardLogger(run_dir, name="logs", version="")
    if kind == "wandb":
        require("wandb", extra="wandb", why="log to Weights & Biases (train.logger=wandb)")
        from lightning.pytorch.loggers import WandbLogger

        return WandbLogger(name=run_dir.name, project=recipe.name, save_dir=run_dir)
    if kind == "mlflow":
        require("mlflow", extra="mlflow", why="log to MLflow (train.logger=mlflow)")
        from lightning.pytorch.loggers import MLFlowLogger

        return MLFlowLogger(experiment_name=recipe.name, run_name=run_dir.name, save_dir=str(run_dir / "mlruns"))
    return False


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """While open, what torch says about too small a batch becomes a sentence."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UsageError(
            "a batch of one photo of this size leaves one value per channel, and a norm cannot learn from that",
            hint="raise data.batch_size or student.size_hw",
        ) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
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
