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
from distill.errors import DistillError, describe_error
from distill.files import make_folder, remove_if_possible, temporary_path
from distill.students.training.module import StudentModule

LAST, BEST = "last.ckpt", "best.ckpt"
NEVER = 10**9
"""Value of Lightning's `check_val_every_n_epoch` that turns validation off."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Atomic checkpoint writer. Lightning's own moves files from /tmp, which may be on another disk.

    Attributes:
        loaded: State that Lightning loads in place of a file: it has been read and checked already.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loaded: dict[str, Any] = {}

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """The state that was set, once."""
        state, self.loaded = self.loaded, {}
        return state

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a temporary file in the same folder, fsync, rename."""
        path = Path(path)
        make_folder(path.parent)
        temporary = temporary_path(path)
        try:
            with temporary.open("xb") as file:  # a new file: links are not followed
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
            remove_if_possible(temporary)
            raise DistillError(
                f"{path}: the checkpoint cannot be written: {_reason(error)}",
                hint="free space or make the folder writable, then run the same command: the last good checkpoint is"
                " kept",
            ) from error


def _reason(error: OSError | RuntimeError) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # After a full disk, torch's own writer fails a second time while it is closed; the first error has the reason.
    cause = error.__context__
    return cause.strerror if isinstance(cause, OSError) and cause.strerror else describe_error(error)


class CheckpointCallback(L.Callback):
    """Saves the state every few minutes, and after the step in which SIGINT or SIGTERM arrives.

    If a validation follows the step, the state is saved after it instead: a run that is resumed from a state between
    the two would leave the validation out. A second SIGINT raises KeyboardInterrupt.

    Attributes:
        interrupted: Whether a signal arrived.
    """

    def __init__(self, run_dir: Path, config: TrainConfig, *, validates: bool) -> None:
        self.interrupted, self._validates = False, validates
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
        ends = trainer.should_stop or batch_idx + 1 >= trainer.num_training_batches
        if self._validates and ends and trainer.check_val_every_n_epoch == 1:
            return
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
