"""The images on which the first subject did worst, drawn: photo, truth, answers, error."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.evaluation.protocol import fit_label
from distill.evaluation.scoreboard import Board
from distill.evaluation.scorers import Rules, SemanticJudge, alignment_of
from distill.labels import Label
from distill.metrics import align_depth
from distill.metrics.normals import angular_error_deg
from distill.report import Gallery, Picture
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
BADNESS = {
    Task.DEPTH: "AbsRel",
    Task.NORMALS: "mean error in degrees",
    Task.SEMANTIC: "share of wrong pixels",
    Task.INSTANCE: "share of instances missed or invented",
    Task.REFERRING: "1 - mean IoU",
}


class WorstList:
    """The worst few of a stream; only what is kept is drawn."""

    def __init__(self, board: Board, rules: Rules, keep: int) -> None:
        self._board, self._rules, self._keep = board, rules, keep
        self._heap: list[tuple[float, int, str, list[Picture]]] = []
        self._count = 0

    def offer(
        self,
        name: str,
        badness: Mapping[str, float],
        rgb: UInt8[ndarray, "h w 3"],
        truth: Label,
        answers: Mapping[str, Label],
    ) -> None:
        """Look at one scored image; `badness` is the board's, by contestant."""
        self._count += 1
        first = next(iter(self._board.judges))
        bad = badness.get(first, float("nan"))
        full = len(self._heap) >= self._keep
        if np.isnan(bad) or self._keep == 0 or (full and bad <= self._heap[0][0]):
            return
        entry = (bad, -self._count, name, self._draw(name, bad, rgb, truth, answers))
        (heapq.heapreplace if full else heapq.heappush)(self._heap, entry)

    def rows(self) -> list[dict[str, Any]]:
        """Image names and how bad they are, worst first."""
        return [{"image": name, "badness": bad} for bad, _, name, _ in sorted(self._heap, reverse=True)]

    def gallery(self) -> Gallery | None:
        """The pictures, one row per image, worst first; None when there is nothing to show."""
        entries = sorted(self._heap, key=lambda entry: entry[:2], reverse=True)
        if not entries:
            return None
        first = next(iter(self._board.judges))
        return Gallery(
            [picture for entry in entries for picture in entry[3]],
            columns=len(entries[0][3]),
            title="Worst first",
            note=f"The {len(entries)} images with the largest {BADNESS[self._board.task]} of {first}.",
        )

    def _draw(self, name: str, bad: float, rgb: ndarray, truth: Label, answers: Mapping[str, Label]) -> list[Picture]:
        scale = _WIDTH_PX / rgb.shape[1]
        size_hw = (max(1, round(rgb.shape[0] * scale)), _WIDTH_PX)
        small = cv2.resize(rgb, size_hw[::-1], interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        pictures = [Picture(small, name), Picture(self._paint(truth, truth, size_hw, None), "truth")]
        shown = list(self._board.judges)[:_MAX_ANSWERS]
        blank = np.full_like(small, 128)
        for one in shown:
            painted = self._paint(answers[one], truth, size_hw, one) if one in answers else blank
            pictures.append(Picture(painted, one if one in answers else f"{one}: no answer"))
        error = self._error(answers[shown[0]], truth, size_hw, shown[0])
        return [*pictures, Picture(error, f"error of {shown[0]}: {bad:.3g}")]

    def _values(self, label: Label, truth: Label, one: str | None) -> tuple[ndarray, ndarray]:
        """What was scored: at the truth's size, aligned, in the truth's ids."""
        if one is None:
            return label.value, label.valid
        judge = self._board.judges[one]
        value, valid = fit_label(label, truth.size_hw, self._rules.max_depth_m, alignment_of(judge))
        if label.task is Task.DEPTH:
            value = align_depth(
                value,
                truth.value,
                truth.valid & valid & (truth.value <= self._rules.max_depth_m),
                alignment=alignment_of(judge),
                depth_kind=label.depth_kind or truth.depth_kind,  # type: ignore[arg-type]
                min_depth_m=self._rules.min_depth_m,
                max_depth_m=self._rules.max_depth_m,
            ).astype(np.float32)
        elif isinstance(judge, SemanticJudge):
            value = judge.in_truth_ids(value)
        return value, valid

    def _paint(self, label: Label, truth: Label, size_hw: tuple[int, int], one: str | None) -> ndarray:
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
            counts &= truth.value <= self._rules.max_depth_m
            error = 100 * np.abs(value - truth.value) / np.maximum(truth.value, self._rules.min_depth_m)
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
