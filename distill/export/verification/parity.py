"""Parity check: comparison of an exported student with the original by task metrics on the same images.

Each task has two checks: the mean difference per pixel, and the difference of the scores against labels, if there are
labels. Both must be within the tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.export.runners import Runner
from distill.export.verification.task_difference import TaskDifference
from distill.labels import Label
from distill.spec import StudentSpec
from distill.tasks import TASKS, Task


@dataclass(frozen=True, slots=True)
class Tolerances:
    """Allowed difference of a candidate, by task.

    Attributes:
        by_task: For the difference of scores and, where it is checked, the mean pixel difference; default: the float32
            value of the task's `TaskInfo`.
        scores_only: If there are labels, check only the scores: rounding to eight bits moves every edge a little.
    """

    by_task: Mapping[Task, float] = field(default_factory=dict)
    scores_only: bool = False

    @classmethod
    def at_level(cls, level: str, by_task: Mapping[Task, float], scores_only: bool) -> Tolerances:
        """Tolerances of a level of precision, with other values for single tasks."""
        of_level = {task: info.tolerance[level] for task, info in TASKS.items() if info.tolerance}
        return cls(of_level | dict(by_task), scores_only)

    def for_task(self, task: Task) -> float:
        """Tolerance of one task."""
        return self.by_task[task] if task in self.by_task else TASKS[task].tolerance["float32"]


@dataclass(frozen=True, slots=True)
class ParitySample:
    """An image with its labels, which may be missing, partial, or smaller than the image."""

    name: str
    rgb: UInt8[ndarray, "h w 3"]
    labels: Mapping[Task, Label]


@dataclass(frozen=True, slots=True)
class TaskParity:
    """Comparison of one task.

    Attributes:
        task: The task.
        measure: Name of the score against labels, such as delta1, mean_deg, miou or pmf1.
        reference: Score of the reference; None without labels.
        candidate: Score of the candidate.
        pixel_difference: Fraction of differing pixels, or mean difference, such as an angle in degrees.
        max_abs_difference: Largest absolute difference of any output value of the task.
        tolerance: For `pixel_difference` and for the difference of the scores.
        scores_only: Whether `pixel_difference` is ignored if there are scores.
    """

    task: Task
    measure: str
    reference: float | None
    candidate: float | None
    pixel_difference: float
    max_abs_difference: float
    tolerance: float
    scores_only: bool = False

    @property
    def difference(self) -> float | None:
        """Candidate's score minus the reference's; None without labels."""
        return None if self.reference is None or self.candidate is None else self.candidate - self.reference

    @property
    def passed(self) -> bool:
        """Whether the change is within the tolerance; NaN is not."""
        return self.change <= self.tolerance

    @property
    def change(self) -> float:
        """Larger one of `pixel_difference` and the change of the score, or the latter alone; infinite for NaN."""
        if self.difference is None:
            changes = [self.pixel_difference]
        else:
            changes = [abs(self.difference)] if self.scores_only else [self.pixel_difference, abs(self.difference)]
        finite_output = math.isfinite(self.max_abs_difference)
        return max(changes) if finite_output and not any(math.isnan(value) for value in changes) else math.inf


@dataclass(frozen=True, slots=True)
class ParityResult:
    """Comparison over all images."""

    reference: str
    candidate: str
    samples: int
    tasks: tuple[TaskParity, ...]

    @property
    def passed(self) -> bool:
        """Whether there was an image, and every task is within its tolerance."""
        return self.samples > 0 and all(task.passed for task in self.tasks)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        rows = [
            {**asdict(row), "difference": row.difference, "change": row.change, "passed": row.passed}
            for row in self.tasks
        ]
        return {**asdict(self), "tasks": rows, "passed": self.passed}


class Parity:
    """Compares two runners image by image; call `update`, then `result`."""

    def __init__(self, reference: Runner, candidate: Runner, tolerances: Tolerances | None = None) -> None:
        candidate.must_be_numbers = False  # lower precisions may overflow, which is a difference to report
        self._runners, self._tolerances = (reference, candidate), tolerances or Tolerances()
        self._samples = 0
        self._tasks = {task: TaskDifference(task, reference.spec) for task in reference.spec.tasks}

    def update(self, sample: ParitySample) -> None:
        """Run both on one image."""
        both = [{name: value[0] for name, value in runner(sample.rgb[None]).items()} for runner in self._runners]
        for task, difference in self._tasks.items():
            difference.update(both[0], both[1], sample.labels.get(task))
        self._samples += 1

    def result(self) -> ParityResult:
        """The comparison so far."""
        rows = tuple(
            TaskParity(
                task,
                difference.measure,
                *difference.scores(),
                difference.pixel_difference,
                difference.max_abs_difference,
                self._tolerances.for_task(task),
                self._tolerances.scores_only,
            )
            for task, difference in self._tasks.items()
        )
        return ParityResult(self._runners[0].engine, self._runners[1].engine, self._samples, rows)


def generated_samples(spec: StudentSpec, count: int = 6, seed: int = 0) -> Iterator[ParitySample]:
    """Generated images of the training size and others, odd sizes, and both orientations."""
    random = np.random.default_rng(seed)
    height, width = spec.input.size_hw
    sizes_hw = [(height, width), (width, height), (height * 2 + 1, width * 2 - 1), (height // 2, width // 2 + 1)]
    if spec.input.fixed_size_hw is not None:
        sizes_hw = [spec.input.fixed_size_hw]
    for index in range(count):
        size_hw = sizes_hw[index % len(sizes_hw)]
        coarse = random.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        smooth = cv2.resize(coarse, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_CUBIC).astype(np.int16)
        noisy = smooth + random.integers(-16, 17, smooth.shape, dtype=np.int16)
        yield ParitySample(f"generated {index}", np.clip(noisy, 0, 255).astype(np.uint8), {})
