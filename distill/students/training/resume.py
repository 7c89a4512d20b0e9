"""Position at which an interrupted run continues, also with another number of batches per epoch."""

from __future__ import annotations

from collections.abc import Mapping
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
        counted: Completed batches that Lightning has to count in its epoch; None: unchanged.
    """

    batches_per_epoch: int
    epoch: int = 0
    batch: int = 0
    step: int = 0
    offset: int = 0
    counted: int | None = None

    def to_values(self) -> dict[str, int]:
        """Values for a checkpoint."""
        return {"batches_per_epoch": self.batches_per_epoch, "batches_offset": self.offset}


def resume_position(found: Mapping[str, Any], batches_per_epoch: int, accumulate: int) -> ResumePosition:
    """Position of a checkpoint's run, in epochs of `batches_per_epoch` batches and steps of `accumulate` batches.

    If an epoch had another number of batches before (another batch size, other shards), the same fraction of it counts
    as completed, rounded down to whole steps.
    """
    facts = found["distill"]
    seen, before = int(facts["batches_seen"]), int(facts.get("batches_per_epoch", batches_per_epoch))
    epoch, batch = divmod(seen - int(facts.get("batches_offset", 0)), before)
    counted = None
    if before != batches_per_epoch:
        is_midway = batch > 0
        batch = batch * batches_per_epoch // before
        batch -= batch % accumulate
        counted = batch if is_midway else batches_per_epoch
    step = epoch * -(-batches_per_epoch // accumulate) + batch // accumulate
    return ResumePosition(batches_per_epoch, epoch, batch, step, seen - epoch * batches_per_epoch - batch, counted)


def sync_loop_counters(checkpoint: dict[str, Any], position: ResumePosition) -> None:
    """Set Lightning's counters in the checkpoint to this position, in place.

    It would take the end of an epoch of 4 batches for the middle of one of 8, and skip the other half.
    """
    if position.counted is None:
        return
    current = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
    unfinished = current["ready"] - current["completed"]  # 1 if the state was written within a step
    current |= dict.fromkeys(current, position.counted) | {"completed": position.counted - unfinished}
