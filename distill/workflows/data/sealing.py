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
    """

    folder: Path
    shards: int
    planned: int
    samples: int
    counts: Mapping[str, int]

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
        }

    def to_text(self) -> str:
        """Format for a terminal."""
        maps = ", ".join(f"{count} {task}" for task, count in self.counts.items())
        if not self.samples:
            return f"{self.folder}: no finished shard has a sample yet ({self.shards} of {self.planned} are done)"
        text = f"{self.folder}: a set of {self.samples} samples ({maps}) in {self.shards} of {self.planned} shards"
        return text if self.complete else f"{text}; distill label, run again, completes it"


def seal(folder: str | Path) -> SealResult:
    """Make the finished shards of a labeling job a set that can be trained on.

    The job may be stopped, killed or running. When it continues, its final bytes are those of an uninterrupted run;
    the shards that it finishes after this call are not in the set until it ends or is sealed again.

    Args:
        folder: The ``--out`` of the job.

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

    sealed = seal_shards(Path(folder))
    samples, counts = (sealed.manifest.samples, sealed.manifest.counts) if sealed.manifest else (0, {})
    return SealResult(Path(folder), sealed.done, sealed.planned, samples, counts)
