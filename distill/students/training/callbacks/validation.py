"""Validation callback: saves the best student, the state to resume from and the curves.

It also decides when to validate and when to stop, because both depend on the progress of the run instead of epochs.

Order of the callbacks: bad samples, validation, weight averaging, checkpoints. At the end of a validation, this one
must run before the averaged weights are swapped out of the module; at the end of a step, checkpoints must be written
after the average is updated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from distill.config.train import TrainConfig
from distill.students.checkpoint import save_student
from distill.students.tasks.base import ConstantComparison
from distill.students.training.callbacks.checkpointing import BEST, LAST, NEVER
from distill.students.training.callbacks.history import BatchLossLog, write_history
from distill.students.training.module import StudentModule
from distill.tasks import Task


class ValidationCallback(L.Callback):
    """Schedules validations, saves their results and stops the run.

    Attributes:
        history: One row per validation, for the curves of a report.
        best_score: Score of the best validation.
        comparisons: Of the best validation with constant predictions; None before the first one.
    """

    def __init__(
        self,
        run_dir: Path,
        config: TrainConfig,
        advance: Callable[[StudentModule, str], None],
        report: Callable[[str], None],
        begin: Callable[[], None],
    ) -> None:
        self.history: list[dict[str, Any]] = []
        self._run_dir, self._budget, self._advance, self._report = run_dir, config.train, advance, report
        self._begin: Callable[[], None] | None = begin
        self._filters_noisy_labels = config.loss.noisy_labels.sigma > 0
        self.best_score, self._worse, self._validated = float("-inf"), 0, 0
        self.comparisons: dict[Task, ConstantComparison] | None = None
        self._sums: dict[str, Tensor] = {}
        self._batches = 0
        self._must_save = False
        self._batch_losses = BatchLossLog(run_dir)

    def state_dict(self) -> dict[str, Any]:
        """State that a resumed run needs."""
        return {
            "history": self.history,
            "best_score": self.best_score,
            "worse": self._worse,
            "comparisons": None
            if self.comparisons is None
            else {str(task): asdict(found) for task, found in self.comparisons.items()},
            "validated": self._validated,
            "sums": {name: total.cpu() for name, total in self._sums.items()},
            "batches": self._batches,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of `state_dict`."""
        self.history = state_dict["history"]
        self.best_score, self._worse = state_dict["best_score"], state_dict["worse"]
        self._validated = state_dict["validated"]
        compared: dict[str, ConstantComparison] | None = state_dict["comparisons"]
        self.comparisons = None if compared is None else {Task(name): found for name, found in compared.items()}
        self._sums, self._batches = state_dict["sums"], state_dict["batches"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Continue the curves at the resumed position, and count validations by the current run length.

        A run that was killed after its last validation has no step left.
        """
        assert isinstance(pl_module, StudentModule)
        trainer.should_stop = trainer.should_stop or pl_module.progress >= 1.0 or self._is_stalled
        # If the run was made longer, fewer of its validations are done.
        self._validated = min(self._validated, int(pl_module.progress * self._budget.num_validations))
        self._sums = {name: total.to(pl_module.device) for name, total in self._sums.items()}
        if trainer.is_global_zero:
            self._batch_losses.truncate(pl_module.batches_seen)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Call `begin` at the first batch; a run without a step left only reaches `on_train_start`."""
        if self._begin is not None:
            self._begin()
            self._begin = None

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Write all rows up to the point at which a resumed run continues."""
        self._batch_losses.flush()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the last rows."""
        self._batch_losses.flush()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Write the rows before the error."""
        self._batch_losses.flush()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add to the curves; decide whether this epoch ends with a validation and whether the run ends."""
        assert isinstance(pl_module, StudentModule)
        for name, loss in pl_module.last_losses.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(loss)) + loss
        self._batches += 1
        if trainer.is_global_zero:
            self._batch_losses.add(pl_module.batches_seen, pl_module.last_losses)
        self._advance(pl_module, self._note())
        is_last = pl_module.position[0] >= self._budget.epochs
        is_over = trainer.strategy.reduce_boolean_decision(is_last or pl_module.progress >= 1.0, all=False)
        is_due = int(pl_module.progress * self._budget.num_validations) > self._validated
        due = trainer.strategy.reduce_boolean_decision(is_due or is_over, all=False)
        trainer.check_val_every_n_epoch = 1 if due else NEVER
        trainer.should_stop = trainer.should_stop or is_over
        self._must_save = due

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the state, which otherwise happens after a validation, in a run without validation photos."""
        if self._must_save and not trainer.val_dataloaders:
            assert isinstance(pl_module, StudentModule)
            self._validated = max(self._validated + 1, int(pl_module.progress * self._budget.num_validations))
            trainer.save_checkpoint(self._run_dir / "checkpoints" / LAST)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the student if it is the best so far (the module has the averaged weights now)."""
        assert isinstance(pl_module, StudentModule)
        pl_module.sync_metrics()
        found = pl_module.val_metrics.compute()
        self._validated = max(self._validated + 1, int(pl_module.progress * self._budget.num_validations))
        self._record(trainer, pl_module, found)
        compared = pl_module.val_metrics.compare_with_constant()
        # Without any score the newest weights are used, as in a run without validation photos.
        is_best = found["score"] > self.best_score or found.keys() == {"score"}
        self._worse = 0 if is_best else self._worse + 1
        if is_best:
            self.best_score, self.comparisons = found["score"], compared
            if trainer.is_global_zero:
                save_student(self._run_dir, pl_module.student)
        pl_module.sample_images.write(trainer.global_step)
        if self._is_stalled:
            self._report(f"no better score in {self._worse} validations: stopping early")
            trainer.should_stop = True

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the state to resume from, and that of the best student."""
        if trainer.sanity_checking:
            return
        folder = self._run_dir / "checkpoints"
        # The last one is written last: a run that is killed between the two repeats the validation, and both files.
        if self._worse == 0:
            trainer.save_checkpoint(folder / BEST)
        trainer.save_checkpoint(folder / LAST)

    def _record(self, trainer: L.Trainer, module: StudentModule, found: dict[str, float]) -> None:
        """Add one row to the history, history.json, metrics.csv and the terminal."""
        losses = {name: float(total) / max(1, self._batches) for name, total in self._sums.items()}
        self._sums, self._batches = {}, 0
        row = {
            "epoch": module.started_epochs,
            "step": trainer.global_step,
            "elapsed_s": round(module.elapsed_s, 2),
            **{f"train_{name}": value for name, value in losses.items()},
            **{f"val_{name}": value for name, value in found.items()},
        }
        if self._filters_noisy_labels:
            row |= {
                f"noisy_{task}": round(module.noisy_labels.noisy_fraction(task), 4)
                for task in module.student.spec.dense_tasks
            }
        self.history.append(row)
        unscored = [str(task) for task in module.student.spec.tasks if not any(key.startswith(task) for key in found)]
        if unscored and len(self.history) == 1:
            self._report(f"no validation photo has a label for {', '.join(unscored)}: left out of the score")
        if trainer.is_global_zero:
            write_history(self._run_dir, self.history)
            shown = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
            self._report(f"epoch {row['epoch']}, {row['elapsed_s']:.0f} s: loss {losses.get('loss', 0.0):.3f}; {shown}")

    @property
    def _is_stalled(self) -> bool:
        """Whether there were too many validations without a better score."""
        return bool(self._budget.patience) and self._worse >= self._budget.patience

    @property
    def diverged(self) -> bool:
        """Whether there were validations, none of them with a finite score."""
        return bool(self.history) and not any(math.isfinite(row["val_score"]) for row in self.history)

    def _note(self) -> str:
        return f"loss {float(self._sums['loss']) / self._batches:.3f}" if self._batches % 20 == 0 else ""
