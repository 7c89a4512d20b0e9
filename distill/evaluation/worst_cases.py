"""The images on which the first predictor did worst, drawn: photo, truth, answers, error."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.evaluation.protocol import resize_label
from distill.evaluation.scoreboard import TaskScores
from distill.evaluation.scorers import EvalProtocol, SemanticScorer, alignment_used
from distill.labels import Label
from distill.metrics import align_depth
from distill.metrics.normals import angular_error_deg
from distill.report import Gallery, CaptionedImage
from distill.tasks import FAR_DEPTH_M, Task
from distill.visualization import (
    add_class_legend,
    add_depth_bar,
    add_scale_bar,
    draw_depth,
    draw_error,
    draw_instances,
    draw_normals,
    draw_semantic,
)

_WIDTH_PX = 320
_ERROR_LIMITS = {Task.DEPTH: (50.0, " %"), Task.NORMALS: (45.0, "°")}
_MAX_ANSWERS = 3
ERROR_NAMES = {
    Task.DEPTH: "AbsRel",
    Task.NORMALS: "mean error in degrees",
    Task.SEMANTIC: "share of wrong pixels",
    Task.INSTANCE: "share of instances missed or invented",
    Task.REFERRING: "1 - mean IoU",
}


class WorstCases:
    """The worst few of a stream; only what is kept is drawn."""

    def __init__(self, task_scores: TaskScores, protocol: EvalProtocol, num_worst: int) -> None:
        self._task_scores, self._protocol, self._num_worst = task_scores, protocol, num_worst
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
        """Look at one scored image; `image_error` by predictor."""
        self._count += 1
        first = next(iter(self._task_scores.scorers))
        bad = image_error.get(first, float("nan"))
        full = len(self._heap) >= self._num_worst
        if np.isnan(bad) or self._num_worst == 0 or (full and bad <= self._heap[0][0]):
            return
        entry = (bad, -self._count, name, self._draw(name, bad, rgb, truth, answers))
        (heapq.heapreplace if full else heapq.heappush)(self._heap, entry)

    def rows(self) -> list[dict[str, Any]]:
        """Image names and how bad they are, worst first."""
        return [{"image": name, "image_error": bad} for bad, _, name, _ in sorted(self._heap, reverse=True)]

    def gallery(self) -> Gallery | None:
        """The pictures, one row per image, worst first; None when there is nothing to show."""
        entries = sorted(self._heap, key=lambda entry: entry[:2], reverse=True)
        if not entries:
            return None
        first = next(iter(self._task_scores.scorers))
        return Gallery(
            [picture for entry in entries for picture in entry[3]],
            columns=len(entries[0][3]),
            title="Worst first",
            note=f"The {len(entries)} images with the largest {ERROR_NAMES[self._task_scores.task]} of {first}.",
        )

    def _draw(self, name: str, bad: float, rgb: ndarray, truth: Label, answers: Mapping[str, Label]) -> list[CaptionedImage]:
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

    def _values(self, label: Label, truth: Label, one: str | None) -> tuple[ndarray, ndarray]:
        """What was scored: at the truth's size, aligned, in the truth's ids."""
        if one is None:
            return label.value, label.valid
        scorer = self._task_scores.scorers[one]
        value, valid = resize_label(label, truth.size_hw, self._protocol.max_depth_m, alignment_used(scorer))
        if label.task is Task.DEPTH:
            value = align_depth(
                value,
                truth.value,
                truth.valid & valid & (truth.value <= self._protocol.max_depth_m),
                alignment=alignment_used(scorer),
                depth_kind=label.depth_kind or truth.depth_kind,  # type: ignore[arg-type]
                min_depth_m=self._protocol.min_depth_m,
                max_depth_m=self._protocol.max_depth_m,
            ).astype(np.float32)
        elif isinstance(scorer, SemanticScorer):
            value = scorer.in_truth_ids(value)
        return value, valid

    def _draw_label(self, label: Label, truth: Label, size_hw: tuple[int, int], one: str | None) -> ndarray:
        value, valid = self._values(label, truth, one)
        if label.task is Task.DEPTH:
            near_m, far_m = _range_m(truth)
            drawing = _shrink(draw_depth(value, valid, near_m=near_m, far_m=far_m), size_hw)
            return add_depth_bar(drawing, near_m=near_m, far_m=far_m)
        if label.task is Task.NORMALS:
            return _shrink(draw_normals(value, valid), size_hw)
        if label.task is Task.INSTANCE:
            return _shrink(draw_instances(value), size_hw)
        names = truth.classes if label.task is Task.SEMANTIC else label.classes
        drawing = draw_semantic(_shrink(value, size_hw), len(names))
        # The legend of a class list stands once on the page; sentences differ from photo to photo.
        return drawing if label.task is Task.SEMANTIC else add_class_legend(drawing, names)

    def _error(self, label: Label, truth: Label, size_hw: tuple[int, int], one: str) -> ndarray:
        value, valid = self._values(label, truth, one)
        counts = truth.valid & valid
        if label.task is Task.DEPTH:
            counts &= truth.value <= self._protocol.max_depth_m
            error = 100 * np.abs(value - truth.value) / np.maximum(truth.value, self._protocol.min_depth_m)
        elif label.task is Task.NORMALS:
            error = angular_error_deg(value, truth.value, counts)
        elif label.task is Task.SEMANTIC:
            error = (value != truth.value).astype(np.float32)
        else:
            error = ((value > 0) != (truth.value > 0)).astype(np.float32)
        limit, unit = _ERROR_LIMITS.get(label.task, (1.0, ""))
        drawing = _shrink(draw_error(error.astype(np.float32), counts, limit=limit), size_hw)
        return add_scale_bar(drawing, limit=limit, unit=unit) if label.task in _ERROR_LIMITS else drawing


def _range_m(truth: Label) -> tuple[float, float]:
    """One color range for a row: the truth's, without the 2 % at either end."""
    near_m, far_m = np.percentile(truth.value[truth.valid], (2, 98)) if truth.valid.any() else (0.0, FAR_DEPTH_M)
    return float(near_m), min(max(float(far_m), float(near_m) + 0.1), FAR_DEPTH_M)


def _shrink(picture: ndarray, size_hw: tuple[int, int]) -> ndarray:
    return cv2.resize(picture, size_hw[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
