"""Quality of a label and of its pixels, without ground truth.

Every part is in [0, 1], 1 is good: `measure_parts` uses the label and its photo, `score_label` adds the comparison with
other tasks, and a calibration turns the parts into the probability that the label is good.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from distill.labels import Label
from distill.tasks import TASKS, Task
from distill.teachers.quality.calibration import UNCALIBRATED, TaskCalibration
from distill.teachers.quality.color_stats import reduce_size
from distill.teachers.quality.cross_task import borders, compare
from distill.teachers.quality.off_code import NO_FLAWS, Flaws
from distill.teachers.quality.wrong_image import shows_scene
from distill.teachers.registration.align import Registration
from distill.teachers.registration.edges import edge_field
from distill.teachers.tasks import teacher_task
from distill.teachers.tasks.comparison_size import LEAST_PX, comparison_size

RESIDUAL_PX = 2.0
"""A residual of this many pixels halves the registration part."""
PHOTO_EDGE = 0.08
"""Edge strength of the photo that counts as an edge."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Quality of a label.

    Attributes:
        score: Of the whole label, in [0, 1].
        parts: Parts of the score; unknown parts (no other task to compare with) are missing.
        pixels: The label's confidence, lowered where the other tasks disagree; after calibration, the probability that
            the pixel is right.
    """

    score: float
    parts: Mapping[str, float]
    pixels: Float[ndarray, "h w"]


class PhotoCache:
    """Cache of one photo: its edges, borders of its labels, comparisons of two labels."""

    def __init__(self) -> None:
        self._edges: dict[tuple[int, int], Bool[ndarray, "h w"]] = {}
        self._borders: dict[Task, Bool[ndarray, "h w"]] = {}
        self._compared: dict[frozenset[Task], tuple[float, Float[ndarray, "h w"]] | None] = {}
        self._scene: bool | None = None

    def shows_scene(self, photo_rgb: UInt8[ndarray, "h w 3"]) -> bool:
        """As `distill.teachers.quality.wrong_image.shows_scene`."""
        if self._scene is None:
            self._scene = shows_scene(photo_rgb)
        return self._scene

    def edges(self, photo_rgb: UInt8[ndarray, "h w 3"], size_hw: tuple[int, int]) -> Bool[ndarray, "h2 w2"]:
        """Pixels with a photo edge within one pixel, at a size of comparison."""
        if size_hw not in self._edges:
            reduced = reduce_size(photo_rgb, max(size_hw))
            small = cv2.resize(reduced, size_hw[::-1], interpolation=cv2.INTER_AREA)
            nearby = cv2.dilate(np.abs(edge_field(small)), np.ones((3, 3), np.uint8))
            self._edges[size_hw] = nearby > PHOTO_EDGE
        return self._edges[size_hw]

    def borders(self, label: Label) -> Bool[ndarray, "h w"]:
        """As `distill.teachers.quality.cross_task.borders`."""
        if label.task not in self._borders:
            self._borders[label.task] = borders(label)
        return self._borders[label.task]

    def compare(self, label: Label, other: Label) -> tuple[float, Float[ndarray, "h w"]] | None:
        """As `distill.teachers.quality.cross_task.compare`, in either order."""
        pair = frozenset({label.task, other.task})
        if pair not in self._compared:
            self._compared[pair] = compare(label, other, self.borders)
        return self._compared[pair]


def measure_parts(
    label: Label,
    photo_rgb: UInt8[ndarray, "h w 3"],
    *,
    generated: bool = True,
    registrations: Sequence[Registration] = (),
    flaws: Flaws = NO_FLAWS,
    agreement: float | None = None,
    cache: PhotoCache | None = None,
) -> dict[str, float]:
    """Every part except cross_task, each in [0, 1]; parts that do not apply are missing.

    A label of a photo without borders (one wall, the sky) need not have any.

    Args:
        label: Aligned with the photo.
        photo_rgb: The photo.
        generated: Whether it was decoded from colors.
        registrations: Registration of each of its images; empty: not registered.
        flaws: Of its images.
        agreement: Of its images, in [0, 1]; None for a single one.
        cache: Cache of the photo.
    """
    cache, task = cache or PhotoCache(), teacher_task(label.task)
    border, parts = cache.borders(label), {}
    content = task.content(label) if label.valid.any() else 0.0
    if generated:
        parts["color_validity"] = task.color_validity(label) * flaws.validity_factor
    if registrations:
        parts["registration"] = float(np.mean([_registration(registration) for registration in registrations]))
    if border.sum() >= LEAST_PX or content >= 1 or cache.shows_scene(photo_rgb) or not label.valid.any():
        parts["edge_alignment"] = _edge_alignment(border, cache.edges(photo_rgb, comparison_size(label.size_hw)))
        parts["content"] = content
    elif registrations and all(registration.reason for registration in registrations):
        del parts["registration"]  # no borders to register
    if agreement is not None:
        parts["agreement"] = agreement
    return parts


def score_label(
    label: Label,
    parts: Mapping[str, float],
    *,
    others: Sequence[tuple[Label, float]] = (),
    calibration: TaskCalibration = UNCALIBRATED,
    cache: PhotoCache | None = None,
) -> Quality:
    """Quality of a label from its parts and the labels of other tasks.

    Args:
        label: Aligned with the photo.
        parts: Result of `measure_parts`.
        others: Labels of other tasks of the same photo, and their reliability in [0, 1]: a contradiction counts against
            this label in proportion to the reliability of the other one.
        calibration: Weights of the parts, and calibration of pixel confidence.
        cache: Cache of the photo.
    """
    cache = cache or PhotoCache()
    pixels = label.confidence
    agreed: list[float] = []
    for other, trust in others:
        found = cache.compare(label, other)
        if found is not None:
            agreed.append(1 - trust * (1 - found[0]))
            pixel = cv2.resize(found[1], label.size_hw[::-1], interpolation=cv2.INTER_LINEAR)
            pixels = pixels * (1 - np.float32(trust) * (1 - pixel))
    parts = {**parts, "cross_task": float(np.mean(agreed))} if agreed else parts
    if calibration.pixels.at:
        pixels = calibration.calibrate_confidence(pixels) * label.valid
    return Quality(calibration.score(parts), parts, pixels)


def describe(label: Label) -> dict[str, Any]:
    """Summary of a label for its record."""
    share = label.valid_fraction
    confidence = float(label.confidence.mean()) / share if share else 0.0
    values: dict[str, Any] = {"valid_fraction": round(share, 4), "confidence": round(confidence, 4)}
    if TASKS[label.task].class_list == "instance_classes":
        values["instances"] = len(label.instance_classes)
    return values


def _registration(registration: Registration) -> float:
    found = registration.score if registration.accepted else 0.0
    return found / (1 + (registration.residual_px / RESIDUAL_PX) ** 2)


def _edge_alignment(border: Bool[ndarray, "h w"], edges: Bool[ndarray, "h w"]) -> float:
    """Fraction of a label's borders on photo edges, within a pixel or two, above chance."""
    if border.sum() < LEAST_PX:
        return 0.5  # no borders to compare
    # Chance level: the fraction of the photo covered by edges.
    chance, overlap = float(edges.mean()), float(edges[border].mean())
    return float(np.clip((overlap - chance) / max(1 - chance, 1e-6), 0, 1))
