"""Worst-case gallery: photo, truth, predictions and error map of the worst images."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.evaluation.scoreboard import TaskScores
from distill.files import write_atomic
from distill.images import encode_jpeg
from distill.labels import Label
from distill.metrics.base import task_metric
from distill.report import CaptionedImage, Gallery
from distill.tasks import TASKS
from distill.visualization import draw_error
from distill.visualization.label_drawers import drawer_of

_WIDTH_PX = 400
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
        pictures = [
            CaptionedImage(small, name),
            CaptionedImage(self._draw_label(truth, truth, size_hw, None), self._truth_caption(truth)),
        ]
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
        # Legends are on the page once, where they follow its colors; phrases differ from photo to photo.
        return drawer.add_legend(drawing, facts) if TASKS[label.task].class_list == "referring" else drawing

    def _truth_caption(self, truth: Label) -> str:
        """With the range of the colors, which is one for all pictures of an image."""
        facts = next(iter(self._task_scores.scorers.values())).drawing_facts(truth, truth)
        return "truth" if facts.far_m is None else f"truth, {facts.near_m or 0:.1f} to {facts.far_m:.1f} m"

    def _error(self, label: Label, truth: Label, size_hw: tuple[int, int], one: str) -> ndarray:
        scorer, metric = self._task_scores.scorers[one], task_metric(label.task)
        value, valid = scorer.scored_value(label, truth)
        counts = scorer.counted(truth, valid)
        error = metric.pixel_error(value, truth.value, counts)
        limit, _ = metric.error_limit or (1.0, "")
        return _shrink(draw_error(error.astype(np.float32), counts, limit=limit), size_hw)


def _shrink(picture: ndarray, size_hw: tuple[int, int]) -> ndarray:
    return cv2.resize(picture, size_hw[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


def write_worst_pictures(out: Path, values: Mapping[str, Any], galleries: Mapping[str, Gallery | None]) -> None:
    """Write the pictures of the galleries into ``worst/``; each row of ``worst`` names its files and captions."""
    folder = out / "worst"
    for path in folder.glob("*.jpg"):
        path.unlink()
    for task, gallery in galleries.items():
        if gallery is None:
            continue
        folder.mkdir(exist_ok=True)
        for rank, row in enumerate(values["tasks"][task]["worst"]):
            row["pictures"] = []
            for column, picture in enumerate(gallery.images[rank * gallery.columns : (rank + 1) * gallery.columns]):
                path = folder / f"{task}-{rank:03d}-{column}.jpg"
                write_atomic(path, encode_jpeg(picture.rgb, quality=88))
                row["pictures"].append([f"worst/{path.name}", picture.caption])
