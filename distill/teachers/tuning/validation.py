"""Validation of a tuned generator: its answers about held-out photos, decoded as those of any teacher."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from distill.errors import DistillError
from distill.images import read_photo
from distill.labels import Label
from distill.shards import Sample
from distill.tasks import TASKS, Task
from distill.teachers.generative import GenerativeTeacher
from distill.teachers.local.diffusers import DiffusersGenerator
from distill.teachers.quality.filter import QualityFilter
from distill.teachers.tasks import teacher_task
from distill.teachers.tuning.pairs import TuningData

_WORST = 5.0
"""Errors count up to this multiple of what is good; an answer that is not accepted counts as much."""


@dataclass
class Validation:
    """Result of answering all held-out photos.

    Attributes:
        score: Mean error of all answers as a fraction of the worst, in [0, 1]; lower is better.
        prompted: Answers by task.
        accepted: Of these, accepted by registration and quality.
        errors: Mean error of the accepted ones by task, in the unit of the task.
        reasons: Why answers were not accepted, with their number.
        pictures: (photo, answer) of some photos, for a sheet.
    """

    score: float = 1.0
    prompted: dict[str, int] = field(default_factory=dict)
    accepted: dict[str, int] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {
            "score": self.score,
            "prompted": self.prompted,
            "accepted": self.accepted,
            "errors": self.errors,
            "reasons": dict(self.reasons.most_common(5)),
        }


def validate(data: TuningData, generator: DiffusersGenerator, tasks: tuple[Task, ...], seed: int) -> Validation:
    """Generate, decode, register and compare an answer for every held-out photo and task."""
    classes = tuple(dict.fromkeys(name for shards in data.sets for name in shards.manifest.classes))
    teacher = GenerativeTeacher(
        generator,
        name="tuned",
        license="unknown",
        tasks=tasks,
        classes=classes,
        seed=seed,
        quality_filter=QualityFilter(register=True),
    )
    losses: list[float] = []
    errors: dict[Task, list[float]] = defaultdict(list)
    found = Validation()
    for number, position in data.held_out:
        shards = data.sets[number]
        sample = shards[position]
        labels = _answers(teacher, sample, found.reasons)
        for task in sample.tasks:
            if task not in tasks:
                continue
            found.prompted[task] = found.prompted.get(task, 0) + 1
            error = None
            if task in labels:
                error = teacher_task(task).label_error(labels[task], sample.label(task, shards.manifest))
            if error is None:
                losses.append(1.0)
                continue
            found.accepted[task] = found.accepted.get(task, 0) + 1
            errors[task].append(error.error)
            losses.append(min(1.0, error.error / (_WORST * TASKS[task].good_below)))
    found.score = float(np.mean(losses)) if losses else 1.0
    found.errors = {str(task): float(np.mean(values)) for task, values in errors.items()}
    return found


def _answers(teacher: GenerativeTeacher, sample: Sample, reasons: Counter[str]) -> Mapping[Task, Label]:
    """Accepted labels about a photo; the reasons of the others are counted.

    Raises:
        DistillError: The pipeline fails: that is a fault of the config and not a bad answer.
    """
    photo = read_photo(sample.photo, key=sample.key, name=sample.key)
    result = teacher.label(photo)[0]
    for failure in result.failures:
        if failure["kind"] == "failed" and "failed:" in failure["reason"]:
            raise DistillError(failure["reason"], hint="check sizes, steps and arguments of the teacher's config")
        reasons[re.sub(r"[-+.\d]+", "#", failure["reason"])] += 1
    return result.labels
