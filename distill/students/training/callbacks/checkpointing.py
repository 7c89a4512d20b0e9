"""The state to resume from: written now and then and when a signal comes, and whole or not there."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from distill.config.train import TrainConfig
from distill.errors import DistillError
from distill.students.training.module import StudentModule

LAST, BEST = "last.ckpt", "best.ckpt"
NEVER = 10**9
"""As Lightning's "every n-th epoch"."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are whole or not there. Lightning's own are moved over from /tmp, which may be another disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write beside the target, fsync, rename."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.part")
        try:
            with temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
            temporary.unlink(missing_ok=True)
            raise DistillError(
                f"{path}: the state cannot be written: {str(error).splitlines()[0]}",
                hint="free space, then run the same command: the last good state is kept",
            ) from error


class CheckpointCallback(L.Callback):
    """Saves the state every few minutes, and after the step in which SIGINT or SIGTERM comes; a second SIGINT breaks.

    Attributes:
        interrupted: Whether a signal came.
    """

    def __init__(self, run_dir: Path, config: TrainConfig) -> None:
        self.interrupted = False
        self._run_dir, self._accumulate = run_dir, config.optim.accumulate
        self._every_s, self._saved_s = 60 * config.train.checkpoint_minutes, 0.0
        self._handlers: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the signals."""
        assert isinstance(pl_module, StudentModule)
        self._saved_s = pl_module.elapsed_s
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._on_signal)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save now and then; save and stop if a signal came on any rank (there is no time left for a validation)."""
        assert isinstance(pl_module, StudentModule)
        if (batch_idx + 1) % self._accumulate and batch_idx + 1 < trainer.num_training_batches:
            return  # half of a step cannot be saved
        is_due = pl_module.elapsed_s - self._saved_s >= self._every_s
        if trainer.strategy.reduce_boolean_decision(self.interrupted or is_due, all=False):
            self._saved_s = pl_module.elapsed_s
            trainer.save_checkpoint(self._run_dir / "checkpoints" / LAST)
        if trainer.strategy.reduce_boolean_decision(self.interrupted, all=False):
            self.interrupted = True
            trainer.check_val_every_n_epoch, trainer.should_stop = NEVER, True

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Give the signals back."""
        self._release()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Give the signals back."""
        self._release()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.interrupted = True

    def _release(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}
