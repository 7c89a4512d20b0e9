"""Two runners, the same real pictures, task metrics: is the exported student still the student?

Two questions are asked of each task. *Direct*: how far is the candidate from the reference, pixel by pixel? *Scored*:
how far apart are their scores against labels, where there are labels? Both must stay within the budget.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.export.runners import Outputs, Runner
from distill.labels import Label
from distill.metrics import DepthMetrics, NormalsMetrics, SegmentationMetrics, default_alignment
from distill.metrics.normals import angular_error_deg
from distill.spec import StudentSpec
from distill.tasks import Gauge, Task

Metrics = DepthMetrics | NormalsMetrics | SegmentationMetrics

RELATIVE_WITHIN = 0.05
"""A relative depth agrees within this part of its [0, 1] range; a metric one within the 25 % of delta1."""

NEAREST_M = 1e-3
"""Depths below this count as this, as in the metrics."""


@dataclass(frozen=True, slots=True)
class Budgets:
    """By how much a candidate may differ."""

    delta1: float = 0.001
    """Depth: of delta1, and share of pixels that disagree."""
    normals_deg: float = 0.1
    """Normals: of the mean angular error, and mean angle between the two."""
    miou: float = 0.001
    """Semantic: of mIoU, and share of pixels that disagree."""
    scores_only: bool = False
    """Where there are labels, judge by the scores alone: rounding to eight bits moves every edge a little."""

    def of(self, task: Task) -> float:
        """The budget of one task."""
        return {Task.DEPTH: self.delta1, Task.NORMALS: self.normals_deg, Task.SEMANTIC: self.miou}[task]


@dataclass(frozen=True, slots=True)
class ParitySample:
    """A picture, and what is known about it; labels may be none, partial, or coarser than the picture."""

    name: str
    rgb: UInt8[ndarray, "h w 3"]
    labels: Mapping[Task, Label]


@dataclass(frozen=True, slots=True)
class TaskParity:
    """How one task compares.

    Attributes:
        task: Which.
        measure: The score against labels: delta1, mean_deg or miou.
        reference: The reference's score; None without labels.
        candidate: The candidate's.
        direct: Disagreement of the two: share of pixels, or mean angle in degrees.
        largest: Largest absolute difference of any output value of the task.
        budget: For `direct` and for the difference of the scores.
        scores_only: Whether `direct` is left out of the verdict where there are scores.
    """

    task: Task
    measure: str
    reference: float | None
    candidate: float | None
    direct: float
    largest: float
    budget: float
    scores_only: bool = False

    @property
    def difference(self) -> float | None:
        """Candidate's score minus the reference's; None without labels."""
        return None if self.reference is None or self.candidate is None else self.candidate - self.reference

    @property
    def passed(self) -> bool:
        """Whether the change stays within the budget; what is not a number does not."""
        return self.change <= self.budget

    @property
    def change(self) -> float:
        """What is judged: the larger of `direct` and the change of the score, or the latter alone; NaN is infinite."""
        if self.difference is None:
            judged = [self.direct]
        else:
            judged = [abs(self.difference)] if self.scores_only else [self.direct, abs(self.difference)]
        finite_output = math.isfinite(self.largest)
        return max(judged) if finite_output and not any(math.isnan(value) for value in judged) else math.inf


@dataclass(frozen=True, slots=True)
class ParityResult:
    """The outcome over all pictures."""

    reference: str
    candidate: str
    samples: int
    tasks: tuple[TaskParity, ...]

    @property
    def passed(self) -> bool:
        """Whether there was a picture, and every task stayed within its budget."""
        return self.samples > 0 and all(task.passed for task in self.tasks)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        rows = [
            {**asdict(row), "difference": row.difference, "change": row.change, "passed": row.passed}
            for row in self.tasks
        ]
        return {**asdict(self), "tasks": rows, "passed": self.passed}


class Parity:
    """Compares two runners picture by picture; `update`, then `result`."""

    def __init__(self, reference: Runner, candidate: Runner, budgets: Budgets | None = None) -> None:
        self._runners, self._budgets = (reference, candidate), budgets or Budgets()
        self._samples = 0
        self._tasks = {task: _TaskTally(task, reference.spec) for task in reference.spec.tasks}

    def update(self, sample: ParitySample) -> None:
        """Run both on one picture."""
        both = [{name: value[0] for name, value in runner(sample.rgb[None]).items()} for runner in self._runners]
        for task, tally in self._tasks.items():
            tally.update(both[0], both[1], sample.labels.get(task))
        self._samples += 1

    def result(self) -> ParityResult:
        """The comparison so far."""
        rows = tuple(
            tally.result(self._budgets.of(task), self._budgets.scores_only) for task, tally in self._tasks.items()
        )
        return ParityResult(self._runners[0].engine, self._runners[1].engine, self._samples, rows)


class _TaskTally:
    def __init__(self, task: Task, spec: StudentSpec) -> None:
        self._task, self._spec = task, spec
        self._scores = (_metrics(task, spec), _metrics(task, spec))
        self._scored = False
        self._disagreement = self._pixels = 0.0
        self._largest = 0.0

    def update(self, reference: Outputs, candidate: Outputs, label: Label | None) -> None:
        pair = reference[self._task], candidate[self._task]
        self._disagreement += float(_disagreement(self._task, self._spec, *pair).sum(dtype=np.float64))
        self._pixels += math.prod(pair[0].shape[:2])
        self._largest = max(self._largest, *(self._difference(name, reference, candidate) for name in self._names))
        if label is not None and (truth := _truth(label, pair[0].shape[:2], self._spec)) is not None:
            for metrics, prediction in zip(self._scores, pair, strict=True):
                metrics.update(prediction, *truth)
            self._scored = True

    @property
    def _names(self) -> tuple[str, ...]:
        return (self._task, f"{self._task}_confidence")

    def _difference(self, name: str, reference: Outputs, candidate: Outputs) -> float:
        difference = np.abs(reference[name].astype(np.float64) - candidate[name])
        return float(difference.max()) if np.isfinite(difference).all() else math.inf

    def result(self, budget: float, scores_only: bool) -> TaskParity:
        measure = _MEASURES[self._task]
        scores: list[float | None] = [metrics.compute()[measure] if self._scored else None for metrics in self._scores]
        if all(score is None or math.isnan(score) for score in scores):
            scores = [None, None]  # no label held a pixel to score
        direct = self._disagreement / self._pixels if self._pixels else math.nan
        return TaskParity(self._task, measure, scores[0], scores[1], direct, self._largest, budget, scores_only)


_MEASURES = {Task.DEPTH: "delta1", Task.NORMALS: "mean_deg", Task.SEMANTIC: "miou"}


def _metrics(task: Task, spec: StudentSpec) -> Metrics:
    if task is Task.DEPTH:
        gauge = spec.depth.gauge if spec.depth else Gauge.METRIC
        return DepthMetrics(alignment=default_alignment(gauge), gauge=gauge)
    if task is Task.NORMALS:
        return NormalsMetrics()
    return SegmentationMetrics(len(spec.semantic.classes) if spec.semantic else 0)


def _disagreement(task: Task, spec: StudentSpec, reference: ndarray, candidate: ndarray) -> ndarray:
    """Per pixel: 1 where the two disagree, or the angle between them in degrees; a NaN disagrees with everything."""
    if task is Task.SEMANTIC:
        return reference != candidate
    if task is Task.NORMALS:
        return angular_error_deg(candidate, reference, np.ones(reference.shape[:2], bool))
    if spec.depth is not None and spec.depth.gauge is not Gauge.METRIC:
        return ~(np.abs(candidate - reference) <= RELATIVE_WITHIN)
    # Below a millimetre 10 (1/sqrt(1 - v) - 1) is rounding in float32, and a ratio of two roundings says nothing.
    near, far = np.minimum(candidate, reference), np.maximum(candidate, reference)
    return ~(far <= 1.25 * np.maximum(near, NEAREST_M))


def _truth(label: Label, size_hw: tuple[int, int], spec: StudentSpec) -> tuple[ndarray, ndarray] | None:
    """(value, valid) of a label at the prediction's size; None where no score can be had from it."""
    if label.task is Task.DEPTH and label.gauge is not Gauge.METRIC:
        return None  # a relative label has no metres to score against
    if label.task is Task.SEMANTIC and (spec.semantic is None or label.classes not in ((), spec.semantic.classes)):
        return None  # ids of another class list
    if label.size_hw == size_hw:
        return label.value, label.valid
    size_wh = (size_hw[1], size_hw[0])
    value = cv2.resize(label.value, size_wh, interpolation=cv2.INTER_NEAREST)
    return value, cv2.resize(label.valid.astype(np.uint8), size_wh, interpolation=cv2.INTER_NEAREST).astype(bool)


def probe_pictures(spec: StudentSpec, count: int = 6, seed: int = 0) -> Iterator[ParitySample]:
    """Generated pictures of sizes that do and do not match the working size, odd ones and both orientations."""
    random = np.random.default_rng(seed)
    height, width = spec.input.size_hw
    sizes_hw = [(height, width), (width, height), (height * 2 + 1, width * 2 - 1), (height // 2, width // 2 + 1)]
    for index in range(count):
        size_hw = sizes_hw[index % len(sizes_hw)]
        coarse = random.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        smooth = cv2.resize(coarse, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_CUBIC).astype(np.int16)
        noisy = smooth + random.integers(-16, 17, smooth.shape, dtype=np.int16)
        yield ParitySample(f"generated {index}", np.clip(noisy, 0, 255).astype(np.uint8), {})
