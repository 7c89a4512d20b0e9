"""Calibration of quality scores: fit them to the errors of labels with ground truth."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from distill.errors import DistillError, UsageError
from distill.tasks import TASKS, Task

if TYPE_CHECKING:
    from distill.labels import Label
    from distill.runtime.progress import Reporter
    from distill.shards import Manifest, Sample
    from distill.teachers.base import TeacherResult
    from distill.teachers.labeling.job import Job

_PIXELS_PER_LABEL = 4000
_FOLDS = 5


@dataclass
class _CalibrationData:
    """Observations of one task: parts of the score and error of each label, and pixels sampled from all labels."""

    parts: list[dict[str, float]] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    confidence: list[Float[ndarray, " n"]] = field(default_factory=list)
    right: list[Bool[ndarray, " n"]] = field(default_factory=list)

    def pixels(self, numbers: ndarray) -> tuple[ndarray, ndarray]:
        """Confidence and correctness of the pixels of these labels."""
        return (
            np.concatenate([self.confidence[i] for i in numbers] or [np.zeros(0)]),
            np.concatenate([self.right[i] for i in numbers] or [np.zeros(0, bool)]),
        )


@dataclass(frozen=True, slots=True)
class CalibrationResult:
    """Outcome of a calibration.

    Attributes:
        path: The calibration file.
        tasks: By task: number of labels, and with ground truth: error limit, mean error, and cross-validated rank
            correlation and pixel error; with verdicts: rejections, and AUROC of the scores on them.
    """

    path: Path
    tasks: Mapping[str, Mapping[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {"calibration": str(self.path), "tasks": dict(self.tasks)}

    def to_text(self) -> str:
        """Format for a terminal."""
        lines = []
        for task, row in self.tasks.items():
            if "rejected" in row:
                lines.append(
                    f"{task}: {row['labels']} verdicts, {row['rejected']} of them rejections; "
                    f"AUROC on them {row['auroc']:.3f} (before: {row['auroc_before']:.3f})"
                )
                continue
            held_out = (
                "too few labels for a test on held-out ones"
                if row["rank_correlation"] is None
                else f"on held-out labels, scores and errors have a rank correlation of {row['rank_correlation']:.2f}, "
                f"pixel confidence is off by {row['pixel_error_after']:.3f} (before: {row['pixel_error_before']:.3f})"
            )
            lines.append(f"{task}: {row['labels']} labels, good below {row['limit']:.3g}; {held_out}")
        return "\n".join([*lines, f"written to {self.path}; distill label --check uses it from now on"])


def run_calibrate(job: Job, truth: Path, path: Path, reporter: Reporter) -> CalibrationResult:
    """Fit a calibration on shards with ground truth, and write it to `path`.

    Raises:
        UsageError: The ground truth shares no photo or task with the teacher.
        DistillError: There are too few labels of every task.
    """
    from distill.teachers.quality.calibration import Calibration, TaskCalibration, calibrate, write_calibration

    seen = _compare(job, truth, reporter)
    if not seen:
        raise UsageError(
            f"{truth}: shares no labeled photo with this teacher", hint="label those photos with the truth first"
        )
    tasks: dict[Task, TaskCalibration] = {}
    rows: dict[str, Any] = {}
    for task, found in seen.items():
        everything = np.arange(len(found.errors))
        confidence, right = found.pixels(everything)
        try:
            tasks[task] = calibrate(
                found.parts, found.errors, limit=TASKS[task].good_below, confidence=confidence, right=right
            )
        except DistillError as error:
            reporter.warn(f"{task}: {error}")
            continue
        rows[str(task)] = _held_out(found, TASKS[task].good_below) | {
            "labels": len(found.errors),
            "limit": tasks[task].limit,
            "mean_error": round(float(np.mean(found.errors)), 4),
        }
    if not tasks:
        raise DistillError(
            "no task could be calibrated", hint="give --calibrate ground truth for more photos, good and bad ones"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_calibration(path, Calibration(teacher=job.teacher.name, tasks=tasks))
    return CalibrationResult(path, rows)


def _compare(job: Job, truth: Path, reporter: Reporter) -> dict[Task, _CalibrationData]:
    """Compare every label of the teacher with the ground truth of the same photo."""
    from distill.inputs import UnreadablePhoto
    from distill.shards import Sample, read_manifest, read_samples

    manifest = read_manifest(truth)
    # Without the photos: maps compress well, and sets with ground truth are small.
    known = {
        str(sample.meta.get("photo_sha256")): Sample(
            sample.key, {name: data for name, data in sample.files.items() if "." in name or name == "json"}
        )
        for sample in read_samples(truth)
    }
    seen: dict[Task, _CalibrationData] = defaultdict(_CalibrationData)
    photos = job.source.read(0, job.num_photos)
    for photo in reporter.track(photos, "calibrate", job.num_photos):
        sample = None if isinstance(photo, UnreadablePhoto) else known.get(photo.sha256)
        if isinstance(photo, UnreadablePhoto) or sample is None:
            continue
        try:
            results = job.teacher.label(photo)
        except UsageError:
            raise
        except DistillError as error:
            reporter.warn(str(error))
            continue
        for result in results:
            for label, true in _pairs(result, sample, manifest):
                _collect(seen[label.task], result, label, true)
    return dict(seen)


def _pairs(result: TeacherResult, sample: Sample, manifest: Manifest) -> Iterator[tuple[Label, Label]]:
    """Pairs of label and ground truth, for every task that both have."""
    for task, label in result.labels.items():
        if task in sample.tasks:
            yield label, sample.label(task, manifest)


def _collect(seen: _CalibrationData, result: TeacherResult, label: Label, true: Label) -> None:
    from distill.teachers.tasks import teacher_task

    task = teacher_task(label.task)
    verdict = task.label_error(label, task.restrict(true, label))
    record = next(record for record in result.records if record["task"] == str(label.task))
    if verdict is None:
        return
    places = np.flatnonzero(verdict.known)
    chosen = np.random.default_rng(0).permutation(places)[:_PIXELS_PER_LABEL]
    seen.parts.append(dict(record["quality_parts"]))
    seen.errors.append(verdict.error)
    seen.confidence.append(label.confidence.ravel()[chosen])
    seen.right.append(verdict.right.ravel()[chosen])


def _held_out(found: _CalibrationData, limit: float) -> dict[str, float | None]:
    """Cross-validate in five folds: rank correlation of the scores, and calibration error of the pixel confidence."""
    from scipy.stats import spearmanr

    from distill.teachers.quality.calibration import calibrate

    errors = np.array(found.errors)
    scores = np.full(errors.size, np.nan)
    before, after = [], []
    fold_of = np.random.default_rng(0).permutation(errors.size) % _FOLDS
    for fold in range(_FOLDS):
        train, test = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
        confidence, right = found.pixels(train)
        try:
            rule = calibrate(
                [found.parts[i] for i in train], errors[train].tolist(), limit=limit, confidence=confidence, right=right
            )
        except DistillError:
            return {"rank_correlation": None, "pixel_error_before": None, "pixel_error_after": None}
        scores[test] = [rule.score(found.parts[i]) for i in test]
        own, truth = found.pixels(test)
        before.append(_calibration_error(own, truth))
        after.append(_calibration_error(rule.calibrate_confidence(own), truth))
    rank = float(-spearmanr(scores, errors).statistic)
    return {
        "rank_correlation": round(rank, 3) if np.isfinite(rank) else None,
        "pixel_error_before": round(float(np.mean(before)), 4),
        "pixel_error_after": round(float(np.mean(after)), 4),
    }


def _calibration_error(confidence: Float[ndarray, " n"], right: Bool[ndarray, " n"]) -> float:
    """Expected calibration error in ten bins: difference between confidence and fraction of correct pixels."""
    if not confidence.size:
        return 0.0
    bins = np.clip((confidence * 10).astype(int), 0, 9)
    count = np.bincount(bins, minlength=10)
    stated = np.bincount(bins, confidence, minlength=10)
    true = np.bincount(bins, right, minlength=10)
    return float(np.abs(stated - true).sum() / count.sum())
