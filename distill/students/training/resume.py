"""Position at which an interrupted run continues, also with another number of batches per epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ResumePosition:
    """Progress of a run, in epochs of the current size.

    Attributes:
        batches_per_epoch: Of one process.
        epoch: Completed epochs.
        batch: Completed batches of the next epoch.
        step: Optimizer steps of a run with this epoch size up to here.
        offset: Batches seen beyond `epoch` and `batch`, because an epoch had another size before.
    """

    batches_per_epoch: int
    epoch: int = 0
    batch: int = 0
    step: int = 0
    offset: int = 0

    def to_values(self) -> dict[str, int]:
        """Values for a checkpoint."""
        return {"batches_per_epoch": self.batches_per_epoch, "batches_offset": self.offset}

    def loop_state(self, steps: int, epochs: int) -> dict[str, Any]:
        """State of Lightning's training loop at this position, as in a checkpoint.

        Its own counters, as saved, depend on the moment of the save, and drift from one resumed run to the next: after
        two of them an epoch was counted late and got the order of another one. These have one form within an epoch,
        and one between epochs.

        Args:
            steps: Optimizer steps of the run so far.
            epochs: Epochs of the whole run; Lightning refuses a state beyond them.
        """
        epoch, batch = (self.epoch, self.batch) if self.epoch < epochs else (epochs, 0)
        started = epoch + (batch > 0)
        epoch_counts = {"ready": started, "started": started, "processed": epoch, "completed": epoch}
        # Within an epoch: as saved after a batch, which Lightning counts as completed afterwards.
        batch_counts = dict.fromkeys(("ready", "started", "processed"), batch) | {"completed": max(batch - 1, 0)}
        seen = epoch * self.batches_per_epoch
        step_counts = {"ready": steps, "completed": steps}
        none = dict.fromkeys(("ready", "started", "completed"), 0)
        return {
            "epoch_progress": {"total": epoch_counts, "current": dict(epoch_counts)},
            "epoch_loop.batch_progress": {
                "total": {name: seen + count for name, count in batch_counts.items()},
                "current": batch_counts,
                "is_last_batch": False,
            },
            "epoch_loop.automatic_optimization.optim_progress": {
                "optimizer": {
                    "step": {"total": step_counts, "current": dict.fromkeys(step_counts, 0)},
                    "zero_grad": {"total": none, "current": dict(none)},
                }
            },
            "epoch_loop.state_dict": {"_batches_that_stepped": steps},
        }


def resume_position(seen: int, before: int, offset: int, *, batches_per_epoch: int, accumulate: int) -> ResumePosition:
    """Position of a checkpoint's run, in epochs of `batches_per_epoch` batches and steps of `accumulate` batches.

    If an epoch had another number of batches before (another batch size, other shards), the same fraction of it counts
    as completed, rounded down to whole steps.

    Args:
        seen: Batches that the run has seen.
        before: Batches per epoch of that run.
        offset: Its `ResumePosition.offset`.
        batches_per_epoch: Batches per epoch from here on.
        accumulate: Batches per step from here on.
    """
    epoch, batch = divmod(seen - offset, before)
    if before != batches_per_epoch:
        batch = batch * batches_per_epoch // before
        batch -= batch % accumulate
    step = epoch * -(-batches_per_epoch // accumulate) + batch // accumulate
    return ResumePosition(batches_per_epoch, epoch, batch, step, seen - epoch * batches_per_epoch - batch)
