"""Sealing: a stopped or running labeling job becomes a set that can be trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class SealResult:
    """Outcome of `seal`.

    Attributes:
        folder: Of the set.
        shards: Finished shards of the job.
        planned: All shards of the job.
        samples: In the finished ones.
        counts: Label maps by task.
        planned_only: Whether nothing was written.
    """

    folder: Path
    shards: int
    planned: int
    samples: int
    counts: Mapping[str, int]
    planned_only: bool = False

    @property
    def complete(self) -> bool:
        """Whether the job has finished."""
        return self.shards == self.planned

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {
            "folder": str(self.folder),
            "shards": self.shards,
            "planned": self.planned,
            "complete": self.complete,
            "samples": self.samples,
            "counts": dict(self.counts),
            "planned_only": self.planned_only,
        }

    def to_text(self) -> str:
        """Format for a terminal."""
        maps = ", ".join(f"{count} {task}" for task, count in self.counts.items())
        if not self.samples:
            return f"{self.folder}: no finished shard has a sample yet ({self.shards} of {self.planned} are done)"
        would_be = "would be a set" if self.planned_only else "a set"
        text = f"{self.folder}: {would_be} of {self.samples} samples ({maps}) in {self.shards} of {self.planned} shards"
        return text if self.complete else f"{text}; distill label, run again, completes it"


def seal(folder: str | Path, *, plan: bool = False) -> SealResult:
    """Make the finished shards of a labeling job a set that can be trained on.

    The job may be stopped, killed or running. When it continues, its final bytes are those of an uninterrupted run;
    the shards that it finishes after this call are not in the set until it ends or is sealed again.

    Args:
        folder: The ``--out`` of the job.
        plan: Count the finished shards, and write nothing.

    Returns:
        Number of finished shards and samples.

    Raises:
        UsageError: The folder has no labeling job of this version.
        DistillError: The depth maps have different depth kinds, or the folder cannot be written.

    Example:
        >>> distill.data.seal("shards").samples
        >>> distill.train(shards="shards", out="runs/first")
    """
    from distill.teachers.labeling.dataset_manifest import seal_shards

    sealed = seal_shards(Path(folder), plan_only=plan)
    samples, counts = (sealed.manifest.samples, sealed.manifest.counts) if sealed.manifest else (0, {})
    return SealResult(Path(folder), sealed.done, sealed.planned, samples, counts, plan)
