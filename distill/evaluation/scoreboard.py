"""Scores of all predictors on one task."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from distill.evaluation.predictors import Predictor
from distill.evaluation.protocol import crop_mask
from distill.evaluation.scorers import EvalProtocol, scorer_type
from distill.labels import Label
from distill.metrics import Difference, compare, intervals
from distill.shards import Manifest
from distill.tasks import TASKS, Task

MIN_IMAGES = 10
"""Scores over fewer images are marked: a single odd image decides them."""
MIN_PIXELS = 10_000
"""Scores over fewer pixels are marked."""


class TaskScores:
    """All predictors on one task."""

    def __init__(self, task: Task, predictors: Sequence[Predictor], truth: Manifest, protocol: EvalProtocol) -> None:
        self.task, self._protocol = task, protocol
        self.scorers = {
            one.name: scorer_type(task)(task, one, truth, protocol) for one in predictors if task in one.tasks
        }
        self._asked = dict.fromkeys(self.scorers, 0)
        self._answered = dict.fromkeys(self.scorers, 0)
        self._missing = dict.fromkeys(self.scorers, 0)
        self._owners: dict[str, list[int]] = {name: [] for name in self.scorers}
        self._classes: tuple[str, ...] = getattr(truth, TASKS[task].class_list, ()) if TASKS[task].class_list else ()
        self._seen_classes: set[str] = set()
        self.images = 0

    def update(
        self, truth: Label, answers: Mapping[str, Label], groups: UInt8[ndarray, "h w"] | None = None
    ) -> dict[str, float]:
        """Error of this image by predictor, larger is worse; predictors without a prediction are left out.

        `groups` are the true class ids, if they have the size of the truth.
        """
        self.images += 1
        wanted = truth.valid & crop_mask(self._protocol.crop, truth.size_hw)
        self._seen_classes |= _classes_in(truth, wanted)
        image_error = {}
        for name, scorer in self.scorers.items():
            if name not in answers:
                self._missing[name] += 1
                continue
            value, valid = scorer.resize(answers[name], truth.size_hw)
            counts = wanted & valid
            self._asked[name] += int(wanted.sum())
            self._answered[name] += int(counts.sum())
            before = len(scorer.metrics)
            image_error[name] = scorer.update(answers[name], value, counts, truth, groups)
            self._owners[name] += [self.images - 1] * (len(scorer.metrics) - before)
        return image_error

    @property
    def classes_without_truth(self) -> tuple[str, ...]:
        """Classes of the truth's list of which no pixel (or instance) is in the truth that was scored."""
        return tuple(name for name in self._classes if name not in self._seen_classes)

    def scored(self, name: str) -> tuple[int, int]:
        """(images, pixels) that the scores of a predictor are over."""
        images = len(set(self._owners[name]))
        return images, int(self.scorers[name].compute().get("pixels", self._answered[name])) if images else 0

    def few(self) -> dict[str, dict[str, int]]:
        """Predictors whose scores are over few images or pixels, with the numbers of both."""
        scored = {name: self.scored(name) for name in self.scorers}
        return {
            name: {"images": images, "pixels": pixels, "min_images": MIN_IMAGES, "min_pixels": MIN_PIXELS}
            for name, (images, pixels) in scored.items()
            if images < MIN_IMAGES or pixels < MIN_PIXELS
        }

    def rows_by_image(self, name: str) -> tuple[Float[ndarray, "n k"], Bool[ndarray, " n"]]:
        """(sums of every image of the task, images that have any) of one predictor."""
        rows, owners = self.scorers[name].metrics.rows(), np.array(self._owners[name], int)
        total = np.zeros((self.images, rows.shape[1]))
        np.add.at(total, owners, rows)
        scored = np.zeros(self.images, bool)
        scored[owners] = True
        return total, scored

    def intervals(self) -> dict[str, dict[str, tuple[float, float]]]:
        """95 % interval over photos, by predictor and score."""
        found = {}
        for name, scorer in self.scorers.items():
            rows, scored = self.rows_by_image(name)
            found[name] = intervals(rows[scored], scorer.metrics.pool)
        return found

    def differences(self) -> dict[str, dict[str, Difference]]:
        """Difference between the first predictor and each other one, on photos that both have a score for."""
        if not self.scorers:
            return {}
        first, *others = self.scorers
        rows, scored = self.rows_by_image(first)
        found = {}
        for name in others:
            theirs, their_scored = self.rows_by_image(name)
            both = scored & their_scored
            found[name] = compare(rows[both], theirs[both], self.scorers[first].metrics.pool)
        return found

    def compute(self) -> dict[str, dict[str, Any]]:
        """Scores by predictor, with ``coverage`` (fraction of the truth's pixels) and ``missing`` (photos)."""
        return {
            name: {
                **scorer.compute(),
                "coverage": self._answered[name] / self._asked[name] if self._asked[name] else math.nan,
                "missing": self._missing[name],
                **scorer.facts,
            }
            for name, scorer in self.scorers.items()
        }


def _classes_in(truth: Label, wanted: Bool[ndarray, "h w"]) -> set[str]:
    """Names of the classes of a true label's scored pixels."""
    if truth.instance_classes:
        return set(truth.instance_classes.values())
    if not truth.classes:
        return set()
    ids = np.flatnonzero(np.bincount(truth.value[wanted].ravel(), minlength=1))
    return {truth.classes[index] for index in ids.tolist() if index < len(truth.classes)}


_WIDTH_PX = 320
_THIRDS = {"brightness": ("dark", "medium", "bright"), "sharpness": ("blurred", "medium", "sharp")}


def describe_photo(rgb: UInt8[ndarray, "h w 3"]) -> dict[str, float]:
    """Brightness in 0..255 and sharpness: variance of the Laplacian at a width of 320 px, whatever the size."""
    height = max(1, round(rgb.shape[0] * _WIDTH_PX / rgb.shape[1]))
    gray = cv2.cvtColor(cv2.resize(rgb, (_WIDTH_PX, height), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    return {"brightness": float(gray.mean()), "sharpness": float(cv2.Laplacian(gray, cv2.CV_32F).var())}


def slice_scores(
    task_scores: TaskScores, photos: list[dict[str, float]], metric: str, classes: tuple[str, ...]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Scores of parts of the set: by kind, part and predictor.

    Args:
        task_scores: Scores after the last photo.
        photos: `describe_photo` of every photo of the task, in order.
        metric: Score of the parts by photo.
        classes: Classes of the truth.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name, scorer in task_scores.scorers.items():
        for heading, errors in scorer.breakdowns(classes).items():
            for row_name, error in errors.items():
                found.setdefault(heading, {}).setdefault(row_name, {})[name] = error
    for kind, labels in _THIRDS.items():
        values = np.array([photo[kind] for photo in photos])
        if len(values) < 3 * len(labels):
            continue  # too few photos for thirds
        third = np.searchsorted(np.quantile(values, (1 / 3, 2 / 3)), values)
        for index, label in enumerate(labels):
            row = {name: _score(task_scores, name, third == index, metric) for name in task_scores.scorers}
            found.setdefault(f"{kind} of the photo ({TASKS[task_scores.task].headline_title})", {})[label] = row
    return found


def _score(task_scores: TaskScores, name: str, chosen: ndarray, metric: str) -> float:
    rows, scored = task_scores.rows_by_image(name)
    return float(task_scores.scorers[name].metrics.pool(rows[chosen & scored].sum(axis=0))[metric])
