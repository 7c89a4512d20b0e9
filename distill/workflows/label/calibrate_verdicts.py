"""Calibration of quality scores from a person's verdicts, without ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.errors import DistillError
from distill.tasks import Task

if TYPE_CHECKING:
    from distill.runtime.progress import Reporter
    from distill.workflows.label.calibrate import CalibrationResult

_LIMIT = 0.5
"""Between the errors of an accepted label, 0, and of a rejected one, 1."""


def calibrate_from_verdicts(verdicts: Path, path: Path, reporter: Reporter) -> CalibrationResult:
    """Fit the scores to the verdicts of a review, and write the calibration to `path`.

    A score becomes the probability that a person accepts the label. Confidences of pixels and expected errors, which
    verdicts say nothing about, stay as they are. Labels of which only classes or regions are ignored do not count.

    Raises:
        UsageError: Not a file of verdicts.
        DistillError: There are too few verdicts of every task, or only accepted or only rejected labels.
    """
    from distill.datasets.review.verdicts import read_verdicts
    from distill.teachers.quality.calibration import (
        PARTS,
        UNCALIBRATED,
        Calibration,
        Curve,
        TaskCalibration,
        calibrate,
        write_calibration,
    )
    from distill.workflows.label.calibrate import CalibrationResult

    given = read_verdicts(verdicts)
    tasks: dict[Task, TaskCalibration] = {}
    rows: dict[str, Any] = {}
    for task in Task:
        judged = [one for one in given.verdicts if one.task is task and one.verdict and one.quality_parts]
        if not judged:
            continue
        parts = [{name: value for name, value in one.quality_parts.items() if name in PARTS} for one in judged]
        rejected = [float(one.verdict == "reject") for one in judged]
        if len(set(rejected)) < 2:
            kind = "rejected" if rejected[0] else "accepted"
            reporter.warn(f"{task}: all {len(judged)} labels were {kind}; a calibration needs both kinds")
            continue
        try:
            fitted = calibrate(parts, rejected, limit=_LIMIT)
        except DistillError as error:
            reporter.warn(f"{task}: {error.message}")
            continue
        # In this curve, an error would be the probability of a rejection, and not meters, degrees or pixels.
        tasks[task] = fitted.model_copy(update={"expected": Curve(), "limit": None})
        rows[str(task)] = {
            "labels": len(judged),
            "rejected": int(sum(rejected)),
            "auroc": _auroc([tasks[task].score(one) for one in parts], rejected),
            "auroc_before": _auroc([UNCALIBRATED.score(one) for one in parts], rejected),
        }
    if not tasks:
        raise DistillError(
            f"{verdicts}: no task could be calibrated",
            hint="judge at least 8 labels of a task that have quality scores, good and bad ones; "
            "distill review --most-informative chooses them",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_calibration(path, Calibration(teacher=", ".join(given.reviewed.teachers), tasks=tasks))
    return CalibrationResult(path, rows)


def _auroc(scores: list[float], rejected: list[float]) -> float:
    """Probability that an accepted label has a higher score than a rejected one; ties count half."""
    pairs = [
        (good > bad) + 0.5 * (good == bad)
        for good, is_bad in zip(scores, rejected, strict=True)
        if not is_bad
        for bad, was_bad in zip(scores, rejected, strict=True)
        if was_bad
    ]
    return round(sum(pairs) / len(pairs), 4)
