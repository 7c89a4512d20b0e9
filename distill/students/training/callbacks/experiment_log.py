"""Experiment loggers: TensorBoard, Weights & Biases and MLflow get losses, scores, sample images and the config."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor

from distill.config.train import TrainConfig
from distill.errors import DistillError, describe_error
from distill.escaping import hide_secrets
from distill.optional import require
from distill.students.training.callbacks.validation import ValidationCallback
from distill.students.training.module import StudentModule

_HELD = 50
"""Steps that are buffered: reading a loss waits for the GPU."""
_BEST = "best/score"
_TEXT_CHARACTERS = 250
"""Longest value that every logger accepts."""


def build_logger(config: TrainConfig, run_dir: Path, *, first_step: int = 0) -> Logger | bool:
    """Logger of the config, in addition to the files that are always written.

    Args:
        config: All settings of the run.
        run_dir: Folder of the run.
        first_step: Step at which the run continues; TensorBoard hides points of an earlier process after it.

    Raises:
        DistillError: A package is missing, or a service or folder cannot be used.
    """
    kind = config.train.logger
    if kind == "tensorboard":
        purge: dict[str, Any] = {"purge_step": first_step + 1} if first_step else {}
        return TensorBoardLogger(run_dir, name="logs", version="", default_hp_metric=False, **purge)
    if kind == "wandb":
        require("wandb", extra="wandb", why="log to Weights & Biases (train.logger=wandb)")
        return _started(_wandb(config, run_dir), "Weights & Biases", "run wandb login, or set WANDB_MODE=offline")
    if kind == "mlflow":
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow 3.7 and later refuse plain folders otherwise
        require("mlflow", extra="mlflow", why="log to MLflow (train.logger=mlflow)")
        from lightning.pytorch.loggers import MLFlowLogger

        # Read here: Lightning reads the variable when it is imported.
        uri = os.environ.get("MLFLOW_TRACKING_URI") or (run_dir.absolute() / "mlruns").as_uri()
        logger = MLFlowLogger(experiment_name=config.name, run_name=run_dir.name, tracking_uri=uri)
        return _started(logger, "MLflow", "check MLFLOW_TRACKING_URI, or leave it unset to log into the run's folder")
    return False


def _wandb(config: TrainConfig, run_dir: Path) -> Logger:
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    # Losses and config only: no command line, host name, git remote, code, console or list of packages.
    settings = wandb.Settings(
        console="off",
        disable_code=True,
        disable_git=True,
        save_code=False,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_disable_stats=True,
        x_save_requirements=False,
        silent=True,
    )
    return WandbLogger(name=run_dir.name, project=config.name, save_dir=run_dir, settings=settings)


def _started(logger: Logger, name: str, hint: str) -> Logger:
    """The logger after its run was opened, so that a missing login is reported before the first step."""
    try:
        _ = logger.experiment  # type: ignore[attr-defined]
    except Exception as error:  # each package has its own types
        raise DistillError(f"{name} cannot be used: {hide_secrets(describe_error(error))}", hint=hint) from error
    return logger


class ExperimentLogCallback(L.Callback):
    """Sends losses and the learning rate of each step, scores of each validation and sample images to the logger.

    Names are grouped: ``train/...``, ``val/...``, ``samples/...``.
    """

    def __init__(self, config: TrainConfig, validation: ValidationCallback) -> None:
        self._config, self._validation = config, validation
        self._held: list[tuple[int, dict[str, Tensor], float]] = []
        self._last_step = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the config."""
        self._last_step = trainer.global_step
        values = flat_config(self._config.model_dump(mode="json"))
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                # The table of runs needs one score; its value follows at each validation.
                logger.log_hyperparams(values, {_BEST: float("nan")}, step=trainer.global_step)
            else:
                logger.log_hyperparams(values)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Buffer losses and learning rate of a complete optimizer step."""
        if not trainer.loggers or trainer.global_step == self._last_step:
            return
        assert isinstance(pl_module, StudentModule)
        self._last_step = trainer.global_step
        rate = max(float(group["lr"]) for group in trainer.optimizers[0].param_groups)
        self._held.append((trainer.global_step, pl_module.last_losses, rate))
        if len(self._held) >= _HELD:
            self._flush(trainer)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log scores and sample images; runs after `ValidationCallback`, which has computed them."""
        assert isinstance(pl_module, StudentModule)
        self._flush(trainer)
        if not trainer.loggers or not self._validation.history:
            return
        row = grouped_names(self._validation.history[-1])
        row[_BEST] = self._validation.best_score
        picture = pl_module.sample_images.picture
        for logger in trainer.loggers:
            log_scalars(logger, row, trainer.global_step)
            if picture is not None:
                log_picture(logger, picture, trainer.global_step)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the last steps."""
        self._flush(trainer)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Log the steps before the error."""
        self._flush(trainer)

    def _flush(self, trainer: L.Trainer) -> None:
        held, self._held = self._held, []
        for step, losses, rate in held:
            row = {f"train/{name}": float(loss) for name, loss in losses.items()} | {"train/learning_rate": rate}
            for logger in trainer.loggers:
                log_scalars(logger, row, step)


def grouped_names(row: Mapping[str, Any]) -> dict[str, float]:
    """Scores of a row of the history as ``val/...``; the mean losses are left out, each step has its own."""
    named = {f"val/{name.removeprefix('val_')}": float(row[name]) for name in row if name.startswith("val_")}
    named |= {f"train/{name}": float(row[name]) for name in row if name.startswith("noisy_")}
    return named | {"val/epoch": float(row["epoch"]), "val/elapsed_s": float(row["elapsed_s"])}


def flat_config(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Config values by dotted key; texts are shortened, and addresses lose passwords and keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flat_config(value, f"{prefix}{key}.")
        elif isinstance(value, bool | int | float):
            flat[prefix + key] = value
        else:
            flat[prefix + key] = hide_secrets(str(value))[:_TEXT_CHARACTERS]
    return flat


def log_scalars(logger: Logger, row: Mapping[str, float], step: int) -> None:
    """Log the values of one step."""
    if isinstance(logger, TensorBoardLogger):
        # One event: 0.08 ms for 11 values, which take 0.6 ms one by one.
        values = [Summary.Value(tag=name, simple_value=value) for name, value in row.items()]
        logger.experiment._get_file_writer().add_summary(Summary(value=values), step)
    else:
        logger.log_metrics(dict(row), step=step)


def log_picture(logger: Logger, picture: Any, step: int) -> None:
    """Log one RGB image under ``samples/validation``."""
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image("samples/validation", picture, step, dataformats="HWC")
    elif hasattr(logger, "log_image"):  # W&B
        logger.log_image("samples/validation", [picture], step=step)
    else:  # MLflow
        client: Any = logger.experiment  # type: ignore[attr-defined]
        client.log_image(logger.run_id, picture, artifact_file=f"samples/step-{step:07d}.png")  # type: ignore[attr-defined]
