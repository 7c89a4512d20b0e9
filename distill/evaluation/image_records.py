"""Records of single images: their errors, and the stated confidence of their pixels against the measured error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from distill.evaluation.scoreboard import TaskScores
from distill.labels import Label
from distill.metrics.base import task_metric

MAX_IMAGES = 2000
"""Rows in ``evaluate.json``; scores are over all images."""
_BINS = 10
_STEP = 3
"""Every third row and column enters the bins: neighbors say nearly the same."""


class ImageRecords:
    """Errors of every image, and bins of confidence of the first predictor."""

    def __init__(self, task_scores: TaskScores) -> None:
        self._task_scores, self._rows = task_scores, list[dict[str, Any]]()
        self._sums = np.zeros((_BINS, 3))  # pixels, sum of confidence, sum of errors

    def add(self, name: str, image_error: Mapping[str, float], truth: Label, answers: Mapping[str, Label]) -> None:
        """Add one scored image; `image_error` is by predictor."""
        if len(self._rows) < MAX_IMAGES:
            self._rows.append({"image": name, "errors": dict(image_error)})
        first = next(iter(self._task_scores.scorers), "")
        if first in answers:
            self._add_confidence(first, answers[first], truth)

    def _add_confidence(self, name: str, answer: Label, truth: Label) -> None:
        scorer, metric = self._task_scores.scorers[name], task_metric(truth.task)
        value, valid = scorer.scored_value(answer, truth)
        counts = scorer.counted(truth, valid)[::_STEP, ::_STEP]
        if not counts.any():
            return
        error = metric.pixel_error(value[::_STEP, ::_STEP], truth.value[::_STEP, ::_STEP], counts)[counts]
        confidence = _resized(answer.confidence, truth.size_hw)[::_STEP, ::_STEP][counts]
        error = np.minimum(np.nan_to_num(error, nan=np.inf, posinf=np.inf), self.limit)
        number = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
        for column, values in enumerate((None, confidence, error)):
            self._sums[:, column] += np.bincount(number, values, minlength=_BINS)[:_BINS]

    @property
    def limit(self) -> float:
        """Larger errors of a pixel count as this one: a single pixel must not decide a bin."""
        limit = task_metric(self._task_scores.task).error_limit
        return limit[0] if limit else 1.0

    def rows(self) -> list[dict[str, Any]]:
        """Images in their order: name, and error by predictor."""
        return self._rows

    def reliability(self) -> list[dict[str, float]]:
        """Bins of stated confidence with their pixels and mean error; empty if all pixels state the same."""
        filled = [(count, stated / count, error / count) for count, stated, error in self._sums.tolist() if count]
        if len(filled) < 2:
            return []
        return [{"confidence": stated, "error": error, "pixels": int(count)} for count, stated, error in filled]


def _resized(confidence: Float[ndarray, "h w"], size_hw: tuple[int, int]) -> Float[ndarray, "h2 w2"]:
    if confidence.shape != size_hw:
        confidence = cv2.resize(confidence, size_hw[::-1], interpolation=cv2.INTER_LINEAR)
    clipped: ndarray = np.clip(np.nan_to_num(confidence), 0, 1)
    return clipped
