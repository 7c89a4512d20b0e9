"""Where an interrupted run goes on, and whether its state fits what is asked now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ResumePosition:
    """Where a run stands.

    Attributes:
        batches_per_epoch: Of one rank.
        epoch: Whole epochs that are behind it.
        batch: Batches of the next one that are behind it.
        step: Optimizer steps that a run of these batches alone would have made by then.
        offset: Batches that it saw beyond what `epoch` and `batch` say, because others made an epoch before.
        counted: What Lightning has to count as the batches behind it in its epoch; None: what it counted before.
    """

    batches_per_epoch: int
    epoch: int = 0
    batch: int = 0
    step: int = 0
    offset: int = 0
    counted: int | None = None

    def to_values(self) -> dict[str, int]:
        """What a checkpoint has to hold of it."""
        return {"batches_per_epoch": self.batches_per_epoch, "batches_offset": self.offset}


def resume_position(found: Mapping[str, Any], batches_per_epoch: int, accumulate: int) -> ResumePosition:
    """Where the run of this checkpoint stands, counted in epochs of so many batches and steps of `accumulate` batches.

    Where an epoch had another number of batches before (another batch size, other shards), the same share of it is
    behind the run, rounded down to whole steps.
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
    """Let Lightning's counters in the checkpoint say the same, in place.

    It would take the end of an epoch of 4 batches for the middle of one of 8, and skip what is left of that.
    """
    if position.counted is None:
        return
    current = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
    unfinished = current["ready"] - current["completed"]  # 1 where the state was written within the step
    current |= dict.fromkeys(current, position.counted) | {"completed": position.counted - unfinished}
