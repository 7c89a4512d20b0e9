"""Checkpoints to resume from: written atomically, at intervals and on a signal."""

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
from distill.files import remove_if_possible
from distill.students.training.module import StudentModule

LAST, BEST = "last.ckpt", "best.ckpt"
NEVER = 10**9
"""Value of Lightning's `check_val_every_n_epoch` that turns validation off."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Atomic checkpoint writer. Lightning's own moves files from /tmp, which may be on another disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a temporary file in the same folder, fsync, rename."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.part")
        try:
            temporary.unlink(missing_ok=True)
            with temporary.open("xb") as file:  # a new file: links are not followed
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
            remove_if_possible(temporary)
            raise DistillError(
                f"{path}: the checkpoint cannot be written: {str(error).splitlines()[0]}",
                hint="free space, then run the same command with --resume: the last good checkpoint is kept",
            ) from error


class CheckpointCallback(L.Callback):
    """Saves the state every few minutes, and after the step in which SIGINT or SIGTERM arrives.

    A second SIGINT raises KeyboardInterrupt.

    Attributes:
        interrupted: Whether a signal arrived.
    """

    def __init__(self, run_dir: Path, config: TrainConfig) -> None:
        self.interrupted = False
        self._run_dir, self._accumulate = run_dir, config.optim.accumulate
        self._every_s, self._saved_s = 60 * config.train.checkpoint_minutes, 0.0
        self._handlers: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Install the signal handlers."""
        assert isinstance(pl_module, StudentModule)
        self._saved_s = pl_module.elapsed_s
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._on_signal)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time; save and stop, without a validation, if a signal arrived in any process."""
        assert isinstance(pl_module, StudentModule)
        if (batch_idx + 1) % self._accumulate and batch_idx + 1 < trainer.num_training_batches:
            return  # an incomplete step cannot be saved
        is_due = pl_module.elapsed_s - self._saved_s >= self._every_s
        if trainer.strategy.reduce_boolean_decision(self.interrupted or is_due, all=False):
            self._saved_s = pl_module.elapsed_s
            trainer.save_checkpoint(self._run_dir / "checkpoints" / LAST)
        if trainer.strategy.reduce_boolean_decision(self.interrupted, all=False):
            self.interrupted = True
            trainer.check_val_every_n_epoch, trainer.should_stop = NEVER, True

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restore the signal handlers."""
        self._release()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Restore the signal handlers."""
        self._release()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.interrupted = True

    def _release(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}
