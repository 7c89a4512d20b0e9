"""Quality filter: score labels of every teacher, lower the confidence of uncertain ones, reject bad ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from distill.images import Photo
from distill.labels import Label
from distill.tasks import TASKS, Task
from distill.teachers.base import TeacherResult
from distill.teachers.quality.calibration import UNCALIBRATED, TaskCalibration
from distill.teachers.quality.off_code import Flaws
from distill.teachers.quality.score import PhotoCache, Quality, measure_parts, score_label
from distill.teachers.registration.align import Registration

MIN_QUALITY: Mapping[Task, float] = MappingProxyType(dict.fromkeys(Task, 0.05))
"""Default minimum score; no undamaged real image scores lower: benchmarks/results/damaged_answers.md. A tenth of the
good synthetic instances do; with 0.01, 3 of 50 still would, and 12 more of 43 bad ones would be accepted."""


@dataclass(frozen=True, slots=True)
class QualityFilter:
    """Settings of the quality checks.

    Attributes:
        register: Register generated images to their photos; correct or reject them.
        min_quality: Minimum score of a task's labels, in [0, 1]; a task without one, and without a calibration, has
            that of `MIN_QUALITY` if images are registered. Labels that were not generated as images are never rejected
            by default: they may be ground truth.
        full_weight_above: Labels scoring below this get a proportionally lower confidence.
        calibrations: Calibration of the scores; default weights for a task without one.
        cache_dir: Folder of the registration cache; None: no cache.
    """

    register: bool = True
    min_quality: Mapping[Task, float] = field(default_factory=dict[Task, float])
    full_weight_above: Mapping[Task, float] = field(default_factory=dict[Task, float])
    calibrations: Mapping[Task, TaskCalibration] = field(default_factory=dict[Task, TaskCalibration])
    cache_dir: Path | None = None

    def fingerprint(self) -> dict[str, Any]:
        """All settings that affect labels, as plain values."""
        return {
            "register": self.register,
            "min_quality": {str(task): self.least(task) for task in Task},
            "full_weight_above": {str(task): value for task, value in self.full_weight_above.items()},
            "calibrations": {str(task): value.model_dump() for task, value in self.calibrations.items()},
        }

    def least(self, task: Task) -> float:
        """Minimum score of a task's labels."""
        by_default = self.register and task not in self.calibrations
        return self.min_quality.get(task, MIN_QUALITY[task] if by_default else 0.0)


SCORE_ONLY = QualityFilter(register=False)
"""Scores labels without rejecting any."""


def score_result(
    photo: Photo, result: TeacherResult, quality_filter: QualityFilter | None, *, generated: bool = True
) -> None:
    """Score every label against the photo and the other labels; lower its confidence, or reject it.

    The confidence of labels that were not ``generated`` as images is that of their source; calibration and
    `full_weight_above` alone change it.
    """
    quality_filter = quality_filter or SCORE_ONLY
    given, cache = dict(result.labels), PhotoCache()
    rules = {task: quality_filter.calibrations.get(task, UNCALIBRATED) for task in given}
    parts = {task: _measured(photo, label, result.records, cache, generated=generated) for task, label in given.items()}
    trusts = {task: rules[task].score(parts[task]) for task in given}
    prompted = {task: _restrict_to_prompted(label, result.records) for task, label in given.items()}
    for task, label in given.items():
        records = [record for record in result.records if record["task"] == str(task)]
        others = [(other, trusts[name]) for name, other in prompted.items() if name is not task]
        calibration = rules[task]
        quality = score_label(prompted[task], parts[task], others=others, calibration=calibration, cache=cache)
        expected = calibration.expected_error(quality.score)
        for record in records:
            record["quality"] = round(quality.score, 4)
            record["quality_parts"] = {name: round(part, 4) for name, part in quality.parts.items()}
            if expected is not None:
                record["expected_error"] = round(expected, 4)
        least, full = quality_filter.least(task), quality_filter.full_weight_above.get(task, 0.0)
        low = f"quality {quality.score:.2f} is below {least:.2f} ({_weakest(quality)})" if quality.score < least else ""
        if low and not generated and task not in quality_filter.min_quality:
            result.notes.append({"task": str(task), "reason": f"{low}; the label is kept"})
        elif low:
            del result.labels[task]
            result.records[:] = [record for record in result.records if record["task"] != str(task)]
            result.failures.append({"task": str(task), "kind": "rejected", "reason": low})
            continue
        pixels = (
            quality.pixels if (generated and quality_filter.register) or calibration.pixels.at else label.confidence
        )
        if full or pixels is not label.confidence:
            weight = quality.score / full if quality.score < full else 1.0
            result.labels[task] = replace(label, confidence=pixels if weight == 1 else pixels * weight)


def _measured(
    photo: Photo, label: Label, records: list[dict[str, Any]], cache: PhotoCache, *, generated: bool
) -> dict[str, float]:
    """Parts of a label and its records, without other tasks."""
    own = [record for record in records if record["task"] == str(label.task)]
    answers = [answer for record in own for answer in record.get("answers", [record])]
    agreements = [record["agreement"] for record in own if "agreement" in record]
    return measure_parts(
        label,
        photo.rgb,
        generated=generated,
        registrations=[Registration(**answer["registration"]) for answer in answers if "registration" in answer],
        flaws=Flaws(
            off_code=max((answer.get("off_code", 0.0) for answer in answers), default=0.0),
            straight_line=max((answer.get("straight_line", 0.0) for answer in answers), default=0.0),
        ),
        agreement=sum(agreements) / len(agreements) if agreements else None,
        cache=cache,
    )


def _restrict_to_prompted(label: Label, records: list[dict[str, Any]]) -> Label:
    """The label without names of classes outside its prompt, whose absence has no meaning."""
    if TASKS[label.task].class_list != "classes":
        return label
    own = [record for record in records if record["task"] == str(label.task)]
    prompted = {name for record in own for name in record.get("prompted_classes", label.classes)}
    return replace(label, classes=tuple(name if name in prompted else "" for name in label.classes))


def _weakest(quality: Quality) -> str:
    """Description of the lowest part."""
    text = {
        "color_validity": "few valid colors",
        "registration": "poor registration",
        "edge_alignment": "its borders are not on edges of the photo",
        "cross_task": "it contradicts the other tasks",
        "agreement": "its images disagree",
        "content": "empty or constant",
    }
    return text[min(quality.parts, key=lambda name: quality.parts[name])]
