"""Application of a review: verdicts, and new scores from a calibration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from distill.datasets.review.apply import apply as apply_verdicts
from distill.datasets.review.verdicts import Verdicts
from distill.datasets.writer import DEFAULT_SHARD_SIZE
from distill.tasks import Task

if TYPE_CHECKING:
    from distill.datasets.operations.copying import OperationResult
    from distill.datasets.review.apply import Scorer
    from distill.runtime.progress import Reporter


def apply(
    shards: str | Path,
    verdicts: str | Path | Verdicts,
    *,
    out: str | Path,
    rejected_weight: float = 0.0,
    calibration: str | Path | None = None,
    shard_size: int = DEFAULT_SHARD_SIZE,
    plan: bool = False,
    reporter: Reporter | None = None,
) -> OperationResult:
    """Copy a set as a review of it says.

    Rejected labels are left out, and samples without any label left; pixels of ignored classes and in ignored regions
    become invalid. All else keeps its bytes, except scores that a calibration changes.

    Args:
        shards: Folder of shards.
        verdicts: What the review page downloaded, or its path.
        out: Folder of the new set.
        rejected_weight: Keep rejected labels with their confidence multiplied by this, in [0, 1); 0 leaves them out.
        calibration: File of ``distill label --calibrate``: labels of its tasks get new scores from the parts that the
            set holds, without their teacher. Confidences of pixels stay as they are.
        shard_size: Samples in a tar.
        plan: Count, and write nothing.
        reporter: Receives the progress.

    Raises:
        UsageError: The verdicts are of another set or name what it lacks, no sample would be left, `out` has files, or
            the calibration cannot be read.
        DistillError: A sample is damaged, or the disk is full.

    Example:
        >>> distill.data.apply("shards", "verdicts.json", out="reviewed")
    """
    return apply_verdicts(
        shards,
        verdicts,
        out=out,
        rejected_weight=rejected_weight,
        shard_size=shard_size,
        scorer=_scorer(Path(calibration)) if calibration is not None else None,
        plan=plan,
        reporter=reporter,
    )


def _scorer(path: Path) -> Scorer:
    from distill.teachers.quality.calibration import read_calibration

    rules = read_calibration(path).tasks

    def score(task: Task, parts: Mapping[str, float]) -> Mapping[str, float] | None:
        rule = rules.get(task)
        if rule is None:
            return None
        quality = rule.score(parts)
        expected = rule.expected_error(quality)
        values = {"quality": round(quality, 4)}
        return values if expected is None else values | {"expected_error": round(expected, 4)}

    return score
