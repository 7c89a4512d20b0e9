"""Mean/majority baseline fitted on training labels."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from distill.errors import DistillError
from distill.labels import Label, is_beyond_range
from distill.tasks import TASKS, DepthKind, Task

BASELINE_TASKS = tuple(task for task, info in TASKS.items() if info.average is not None)
"""Tasks whose labels have a mean or a most frequent class at every pixel."""


class MeanBaseline:
    """Per pixel: mean of valid depths, mean normal, most frequent class of the training labels."""

    def __init__(self, size_hw: tuple[int, int] = (96, 128)) -> None:
        self.size_hw = size_hw
        self._sums: dict[Task, ndarray] = {}
        self._weights: dict[Task, ndarray] = {}
        self.depth_kind: DepthKind | None = None
        self.classes: tuple[str, ...] = ()

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Tasks with at least one label."""
        return tuple(task for task in Task if task in self._sums)

    def update(self, label: Label) -> None:
        """Add one training label; tasks whose values have no average are left out.

        Raises:
            DistillError: Its depth kind or class list differs from that of earlier labels.
        """
        info = TASKS[label.task]
        if info.average is None:
            return
        if info.has_depth_kind:
            self.depth_kind = self._same(self.depth_kind, label.depth_kind, "depth kind")
        if info.average == "vote":
            self.classes = self._same(self.classes or None, label.classes, "class list")
            self._add_votes(label)
        elif info.average == "direction":
            self._add_mean(label, label.value, label.valid)
        else:
            self._add_mean(label, np.where(label.valid, label.value, 0)[..., None], label.valid & ~self._far(label))

    def predict(self, task: Task, size_hw: tuple[int, int]) -> Shaped[ndarray, "h w *c"]:
        """The prediction at this size.

        Raises:
            DistillError: There was no label of the task.
        """
        if task not in self._sums:
            raise DistillError(
                f"the mean baseline has seen no {task} label", hint="fit it on shards that hold the task"
            )
        sums, weights = self._sums[task], self._weights[task]
        if TASKS[task].average == "vote":
            ids = sums.argmax(axis=-1).astype(np.uint8)
            votes: ndarray = cv2.resize(ids, size_hw[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
            return votes
        overall = sums.sum(axis=(0, 1)) / max(float(weights.sum()), 1e-9)
        mean: ndarray = np.where(weights[..., None] > 0, sums / np.maximum(weights, 1e-9)[..., None], overall)
        mean = cv2.resize(mean.astype(np.float32), size_hw[::-1], interpolation=cv2.INTER_LINEAR)
        if TASKS[task].average == "mean":
            return mean.reshape(size_hw)
        unit: ndarray = mean / np.maximum(np.linalg.norm(mean, axis=-1, keepdims=True), 1e-6)
        return unit

    def _far(self, label: Label) -> ndarray:
        return is_beyond_range(label) if label.depth_kind is DepthKind.METRIC else np.zeros_like(label.valid)

    def _same(self, known: Any, found: Any, what: str) -> Any:
        if known is not None and found != known:
            raise DistillError(
                f"the labels for the mean baseline have more than one {what}: {known} and {found}",
                hint="fit it on one set of shards",
            )
        return found

    def _add_mean(self, label: Label, value: ndarray, counts: ndarray) -> None:
        weight = self._shrink(counts.astype(np.float32))
        value = self._shrink(np.where(counts[..., None], value, 0).astype(np.float32)).reshape(*self.size_hw, -1)
        self._sums[label.task] = self._sums.get(label.task, 0.0) + value.astype(np.float64)
        self._weights[label.task] = self._weights.get(label.task, 0.0) + weight.astype(np.float64)

    def _add_votes(self, label: Label) -> None:
        ids: ndarray = np.where(label.valid, label.value, 255).astype(np.uint8)
        ids = cv2.resize(ids, self.size_hw[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        votes = self._sums.setdefault(label.task, np.zeros((*self.size_hw, max(len(label.classes), 1)), np.int64))
        self._weights.setdefault(label.task, np.zeros(self.size_hw))
        rows, columns = np.nonzero(ids < votes.shape[-1])
        votes[rows, columns, ids[rows, columns]] += 1

    def _shrink(self, values: ndarray) -> ndarray:
        smaller = values.shape[0] > self.size_hw[0] or values.shape[1] > self.size_hw[1]
        return cv2.resize(values, self.size_hw[::-1], interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
