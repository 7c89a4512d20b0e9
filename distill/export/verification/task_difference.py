"""Difference of two runners' outputs of one task, per pixel and in scores against labels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from distill.export.runners import Outputs
from distill.export.tensorrt_kit import check
from distill.labels import Label
from distill.metrics.base import MetricFacts, task_metric
from distill.metrics.normals import angular_error_deg
from distill.spec import StudentSpec
from distill.tasks import TASKS, DepthKind, Task

RELATIVE_DEPTH_TOLERANCE = 0.05
"""Relative depth agrees within this fraction of its [0, 1] range; metric depth within the 25 % of delta1."""

MIN_DEPTH_M = 1e-3
"""Smaller depths are clipped to this value, as in the metrics."""


class TaskDifference:
    """Accumulates the difference of one task; call `update` with each image, then read the results.

    Attributes:
        measure: Name of the score.
        max_abs_difference: Largest absolute difference of any output value so far; infinite for NaN or infinity.
    """

    def __init__(self, task: Task, spec: StudentSpec) -> None:
        self._task, self._spec = task, spec
        self._metrics = (_metrics(task, spec), _metrics(task, spec))
        self._scored = False
        self._disagreement = self._pixels = 0.0
        self.measure, self.max_abs_difference = task_metric(task).measure, 0.0

    def update(self, reference: Outputs, candidate: Outputs, label: Label | None) -> None:
        """Add the outputs of one image, and its label if it has one."""
        pair = reference[self._task], candidate[self._task]
        self._disagreement += float(disagreement(self._task, self._spec, *pair).sum(dtype=np.float64))
        self._pixels += math.prod(pair[0].shape[:2])
        self.max_abs_difference = max(
            self.max_abs_difference, *(_difference(reference[name], candidate[name]) for name in self._names)
        )
        if label is not None and (truth := _truth(label, pair[0].shape[:2], self._spec)) is not None:
            for metrics, prediction in zip(self._metrics, pair, strict=True):
                metrics.update(prediction, *truth)
            self._scored = True

    @property
    def pixel_difference(self) -> float:
        """Fraction of differing pixels, or mean difference; NaN before the first image."""
        return self._disagreement / self._pixels if self._pixels else math.nan

    def scores(self) -> tuple[float | None, float | None]:
        """(reference's, candidate's) score; None if no label had a valid pixel."""
        scores = [metrics.compute()[self.measure] if self._scored else math.nan for metrics in self._metrics]
        return (None, None) if all(math.isnan(score) for score in scores) else (scores[0], scores[1])

    @property
    def _names(self) -> tuple[str, ...]:
        confidence = f"{self._task}_confidence"
        return (self._task, confidence) if TASKS[self._task].compares_values else (confidence,)


def difference_name(task: Task, spec: StudentSpec) -> str:
    """Key of `DIFFERENCES` for a task's outputs."""
    info = TASKS[task]
    relative = info.relative_difference and spec.depth is not None and spec.depth.depth_kind is not DepthKind.METRIC
    return info.relative_difference if relative else info.difference


def disagreement(task: Task, spec: StudentSpec, reference: ndarray, candidate: ndarray) -> Shaped[ndarray, "h w"]:
    """Difference of two outputs per pixel; NaN differs from every value."""
    return DIFFERENCES[difference_name(task, spec)](reference, candidate)


def _angle_deg(reference: ndarray, candidate: ndarray) -> ndarray:
    angle_deg: ndarray = angular_error_deg(candidate, reference, np.ones(reference.shape[:2], bool))
    return angle_deg


def _relative(reference: ndarray, candidate: ndarray) -> ndarray:
    differs: ndarray = ~(np.abs(candidate - reference) <= RELATIVE_DEPTH_TOLERANCE)
    return differs


def _ratio(reference: ndarray, candidate: ndarray) -> ndarray:
    # Below a millimeter, 10 (1/sqrt(1 - v) - 1) is dominated by float32 rounding, and ratios are meaningless.
    near, far = np.minimum(candidate, reference), np.maximum(candidate, reference)
    differs: ndarray = ~(far <= 1.25 * np.maximum(near, MIN_DEPTH_M))
    return differs


DIFFERENCES: dict[str, Callable[[ndarray, ndarray], ndarray]] = {
    **check.DIFFERENCES,
    "angle_deg": _angle_deg,
    "relative": _relative,
    "ratio": _ratio,
}
"""Differences of the kit's checker; those that could accept NaN are replaced."""


def _metrics(task: Task, spec: StudentSpec) -> Any:
    depth_kind = spec.depth.depth_kind if spec.depth else DepthKind.METRIC
    return task_metric(task).build(MetricFacts(depth_kind, len(spec.semantic.classes) if spec.semantic else 0))


def _difference(reference: ndarray, candidate: ndarray) -> float:
    difference = np.abs(reference.astype(np.float64) - candidate)
    return float(difference.max()) if np.isfinite(difference).all() else math.inf


def _truth(label: Label, size_hw: tuple[int, int], spec: StudentSpec) -> tuple[ndarray, ndarray] | None:
    """(value, valid) of a label at the prediction's size; None if it cannot be scored."""
    info = TASKS[label.task]
    if info.has_depth_kind and label.depth_kind is not DepthKind.METRIC:
        return None  # a relative label has no meters to score against
    if info.class_list == "classes" and (spec.semantic is None or label.classes not in ((), spec.semantic.classes)):
        return None  # ids of another class list
    value, valid = label.value, label.valid
    if info.class_list == "instance_classes" and spec.instance is not None:
        others = [number for number, name in label.instance_classes.items() if name not in spec.instance.classes]
        valid = valid & ~np.isin(value, others)
    if label.size_hw == size_hw:
        return value, valid
    size_wh = (size_hw[1], size_hw[0])
    value = cv2.resize(value, size_wh, interpolation=cv2.INTER_NEAREST)
    return value, cv2.resize(valid.astype(np.uint8), size_wh, interpolation=cv2.INTER_NEAREST).astype(bool)
