"""Metric description of a task: report columns, parity score, errors, temporal consistency."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray

from distill.tasks import DepthKind, Task, task_module

Values = ndarray | float
"""Scores of one or many sets: an array, or a NumPy scalar, which is a float."""
HIGHER, LOWER = "↑", "↓"
"""Direction in which a score is better."""


def _unchanged(value: ndarray, metric_depth: bool) -> ndarray:
    return value


def _difference(now: ndarray, moved: ndarray) -> ndarray:
    difference: ndarray = now - moved
    return difference


@dataclass(frozen=True, slots=True)
class TemporalMetric:
    """Change between a map and the previous map, which was moved along the optical flow.

    Attributes:
        key: Name of the score.
        title: Column of the report.
        scale: Factor of the mean absolute change.
        is_ids: Whether the map holds ids, which may not be interpolated.
        prepare: (map, whether depth is metric) to the values that are compared.
        change: (now, moved) to the change of each pixel.
        beyond: (change, change of the truth) to the part that is not the truth's.
        jitter_key: Score of the deviation over time of the frame-wise median change; empty: none.
        jitter_title: Its column.
        marks_invalid: Whether invalid pixels of a true label become NaN.
    """

    key: str
    title: str
    scale: float = 1.0
    is_ids: bool = False
    prepare: Callable[[ndarray, bool], ndarray] = _unchanged
    change: Callable[[ndarray, ndarray], ndarray] = _difference
    beyond: Callable[[ndarray, ndarray], ndarray] = np.subtract
    jitter_key: str = ""
    jitter_title: str = ""
    marks_invalid: bool = False


@dataclass(frozen=True, slots=True)
class MetricFacts:
    """Facts that metrics of single tasks are built from."""

    depth_kind: DepthKind = DepthKind.METRIC
    num_classes: int = 0


def foreground_error(value: ndarray, truth: ndarray, counts: ndarray) -> ndarray:
    """1 where one map has an object and the other background."""
    error: ndarray = ((value > 0) != (truth > 0)).astype(np.float32)
    return error


def _wrong_ids(value: ndarray, truth: ndarray, counts: ndarray) -> ndarray:
    error: ndarray = (value != truth).astype(np.float32)
    return error


@dataclass(frozen=True, slots=True)
class TaskMetric:
    """Scores of a task, for reports, worst-case galleries and parity checks.

    Attributes:
        build: New accumulator whose ``update(value, truth, valid)`` takes one image.
        measure: Score that a parity check compares; empty: the task has no exported output.
        columns: Score to (title, `HIGHER`, `LOWER` or none).
        note: Sentence under the table.
        image_error: Name of the error by which images are ordered, worst first.
        error_of: Result of ``update`` to that error.
        pixel_error: (value, truth, valid) to the error map.
        error_limit: End of the color range of the error map, and its unit; None: errors are 0 or 1.
        temporal: None where change over time is not measured.
        band_title: Heading of the scores by distance; empty: there are none.
        group_title: Unit of the scores by true class; empty: there are none.
        undefined: When the task's main score is undefined although pixels were scored.
    """

    build: Callable[[MetricFacts], Any]
    measure: str
    columns: Mapping[str, tuple[str, str]]
    note: str
    image_error: str
    error_of: Callable[[Mapping[str, float]], float]
    pixel_error: Callable[[ndarray, ndarray, ndarray], ndarray] = _wrong_ids
    error_limit: tuple[float, str] | None = None
    temporal: TemporalMetric | None = None
    band_title: str = ""
    group_title: str = ""
    undefined: str = ""


def task_metric(task: Task) -> TaskMetric:
    """`TASK` of ``distill.metrics.<task>``."""
    metric: TaskMetric = task_module("distill.metrics", task).TASK
    return metric


def temporal_metrics() -> Mapping[Task, TemporalMetric]:
    """Tasks whose change over time is measured."""
    found: dict[Task, Any] = {task: task_metric(task).temporal for task in Task}
    return {task: metric for task, metric in found.items() if metric is not None}
