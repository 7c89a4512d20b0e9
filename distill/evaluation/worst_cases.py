"""Worst-case gallery: photo, truth, predictions and error map of the worst images."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.evaluation.scoreboard import TaskScores
from distill.labels import Label
from distill.metrics.base import task_metric
from distill.report import CaptionedImage, Gallery
from distill.tasks import TASKS
from distill.visualization import add_scale_bar, draw_error
from distill.visualization.label_drawers import drawer_of

_WIDTH_PX = 320
_MAX_ANSWERS = 3


class WorstCases:
    """Collects the worst images of a stream; only collected images are drawn."""

    def __init__(self, task_scores: TaskScores, num_worst: int) -> None:
        self._task_scores, self._num_worst = task_scores, num_worst
        self._heap: list[tuple[float, int, str, list[CaptionedImage]]] = []
        self._count = 0

    def add(
        self,
        name: str,
        image_error: Mapping[str, float],
        rgb: UInt8[ndarray, "h w 3"],
        truth: Label,
        answers: Mapping[str, Label],
    ) -> None:
        """Add one scored image; `image_error` is by predictor."""
        self._count += 1
        first = next(iter(self._task_scores.scorers))
        bad = image_error.get(first, float("nan"))
        full = len(self._heap) >= self._num_worst
        if np.isnan(bad) or self._num_worst == 0 or (full and bad <= self._heap[0][0]):
            return
        entry = (bad, -self._count, name, self._draw(name, bad, rgb, truth, answers))
        (heapq.heapreplace if full else heapq.heappush)(self._heap, entry)

    def rows(self) -> list[dict[str, Any]]:
        """Image names and errors, worst first."""
        return [{"image": name, "image_error": bad} for bad, _, name, _ in sorted(self._heap, reverse=True)]

    def gallery(self) -> Gallery | None:
        """One row per image, worst first; None without images."""
        entries = sorted(self._heap, key=lambda entry: entry[:2], reverse=True)
        if not entries:
            return None
        first, metric = next(iter(self._task_scores.scorers)), task_metric(self._task_scores.task)
        return Gallery(
            [picture for entry in entries for picture in entry[3]],
            columns=len(entries[0][3]),
            title="Worst first",
            note=f"The {len(entries)} images with the largest {metric.image_error} of {first}.",
        )

    def _draw(
        self, name: str, bad: float, rgb: ndarray, truth: Label, answers: Mapping[str, Label]
    ) -> list[CaptionedImage]:
        scale = _WIDTH_PX / rgb.shape[1]
        size_hw = (max(1, round(rgb.shape[0] * scale)), _WIDTH_PX)
        small = cv2.resize(rgb, size_hw[::-1], interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        pictures = [CaptionedImage(small, name), CaptionedImage(self._draw_label(truth, truth, size_hw, None), "truth")]
        shown = list(self._task_scores.scorers)[:_MAX_ANSWERS]
        blank = np.full_like(small, 128)
        for one in shown:
            drawn = self._draw_label(answers[one], truth, size_hw, one) if one in answers else blank
            pictures.append(CaptionedImage(drawn, one if one in answers else f"{one}: no answer"))
        error = self._error(answers[shown[0]], truth, size_hw, shown[0])
        return [*pictures, CaptionedImage(error, f"error of {shown[0]}: {bad:.3g}")]

    def _draw_label(self, label: Label, truth: Label, size_hw: tuple[int, int], one: str | None) -> ndarray:
        """Drawing of a label in the truth's colors; `one` names its predictor, None is the truth itself."""
        scorers = self._task_scores.scorers
        scorer = scorers[one] if one is not None else next(iter(scorers.values()))
        value, valid = (label.value, label.valid) if one is None else scorer.scored_value(label, truth)
        drawer, facts = drawer_of(label.task), scorer.drawing_facts(label, truth)
        if drawer.draws_after_resize:
            drawing = drawer.draw(_shrink(value, size_hw), None, facts)
        else:
            drawing = _shrink(drawer.draw(value, valid, facts), size_hw)
        # The legend of a class list is on the page once; phrases differ from photo to photo.
        return drawing if TASKS[label.task].class_list == "classes" else drawer.add_legend(drawing, facts)

    def _error(self, label: Label, truth: Label, size_hw: tuple[int, int], one: str) -> ndarray:
        scorer, metric = self._task_scores.scorers[one], task_metric(label.task)
        value, valid = scorer.scored_value(label, truth)
        counts = scorer.counted(truth, valid)
        error = metric.pixel_error(value, truth.value, counts)
        limit, unit = metric.error_limit or (1.0, "")
        drawing = _shrink(draw_error(error.astype(np.float32), counts, limit=limit), size_hw)
        return add_scale_bar(drawing, limit=limit, unit=unit) if metric.error_limit else drawing


def _shrink(picture: ndarray, size_hw: tuple[int, int]) -> ndarray:
    return cv2.resize(picture, size_hw[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
