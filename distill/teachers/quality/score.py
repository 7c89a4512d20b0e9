"""How good a label is, for the whole picture and for each pixel, from what can be seen without the truth.

Every part lies in [0, 1], 1 is good: `measure_parts` sees what the label and its photo show, `score_label` adds what the other tasks
say, and a calibration turns the parts into the chance that the label is good.
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
from distill.teachers.decoders import teacher_task
from distill.teachers.decoders.grids import LEAST_PX, comparison_size
from distill.teachers.quality.calibration import UNCALIBRATED, TaskCalibration
from distill.teachers.quality.cross_task import borders, compare
from distill.teachers.registration.align import IDENTITY, Registration
from distill.teachers.registration.edges import edge_field

RESIDUAL_PX = 2.0
"""A residual of this many pixels halves the registration part."""
PHOTO_EDGE = 0.08
"""Strength from which the photo counts as having an edge."""


@dataclass(frozen=True, slots=True)
class Quality:
    """How good a label looks.

    Attributes:
        score: For the whole label, in [0, 1].
        parts: What the score is made of; parts that cannot be seen (no other task to compare with) are missing.
        pixels: The label's confidence, lowered where the other tasks disagree; once calibrated, the chance that the
            pixel is right.
    """

    score: float
    parts: Mapping[str, float]
    pixels: Float[ndarray, "h w"]


class PhotoCache:
    """What the labels of one photo share, each measured once: the photo's edges, borders, comparisons of two labels."""

    def __init__(self) -> None:
        self._edges: dict[tuple[int, int], Bool[ndarray, "h w"]] = {}
        self._borders: dict[Task, Bool[ndarray, "h w"]] = {}
        self._compared: dict[frozenset[Task], tuple[float, Float[ndarray, "h w"]] | None] = {}

    def edges(self, photo_rgb: UInt8[ndarray, "h w 3"], size_hw: tuple[int, int]) -> Bool[ndarray, "h2 w2"]:
        """Where the photo has an edge within a pixel, at a size of comparison."""
        if size_hw not in self._edges:
            small = cv2.resize(photo_rgb, size_hw[::-1], interpolation=cv2.INTER_AREA)
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
    registrations: Sequence[Registration] = (IDENTITY,),
    agreement: float | None = None,
    cache: PhotoCache | None = None,
) -> dict[str, float]:
    """What can be seen of a label beside its photo alone: every part but cross_task, each in [0, 1].

    Args:
        label: Placed over the photo.
        photo_rgb: The photo.
        placements: How each of its answers was mended.
        agreement: Of its answers, in [0, 1]; None when there was only one.
        cache: What was measured for the other labels of the same photo already.
    """
    cache, task = cache or PhotoCache(), teacher_task(label.task)
    parts = {
        "color_validity": task.color_validity(label),
        "registration": float(np.mean([_registration(registration) for registration in registrations])),
        "edge_alignment": _edge_alignment(cache.borders(label), cache.edges(photo_rgb, comparison_size(label.size_hw))),
        "content": task.content(label) if label.valid.any() else 0.0,
    }
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
    """The quality of a label, from what was seen of it and from what the other labels say.

    Args:
        label: Placed over the photo.
        parts: As `measure_parts` found them.
        others: Labels of other tasks about the same photo, and how far each can be trusted, in [0, 1]: where two
            contradict each other, the blame is on the label as far as the other one is right.
        calibration: Weights of the parts, and what a pixel's confidence was worth.
        cache: What was measured for the other labels of the same photo already.
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
    return Quality(calibration.score(parts), parts, calibration.calibrate_confidence(pixels) * label.valid)


def describe(label: Label) -> dict[str, Any]:
    """Numbers about a label that tell a good one from a bad one at a glance."""
    share = label.valid_fraction
    confidence = float(label.confidence[label.valid].mean()) if share else 0.0
    values: dict[str, Any] = {"valid_fraction": round(share, 4), "confidence": round(confidence, 4)}
    values["quality"] = round(share * confidence, 4)
    if TASKS[label.task].class_list == "instance_classes":
        values["instances"] = len(label.instance_classes)
    return values


def _registration(registration: Registration) -> float:
    found = registration.score if registration.accepted else 0.0
    return found / (1 + (registration.residual_px / RESIDUAL_PX) ** 2)


def _edge_alignment(border: Bool[ndarray, "h w"], edges: Bool[ndarray, "h w"]) -> float:
    """The share of a label's borders that run along an edge of the photo, within a pixel or two."""
    if border.sum() < LEAST_PX:
        return 0.5  # nothing to compare
    # Chance level is what the photo's edges cover anyway.
    chance, overlap = float(edges.mean()), float(edges[border].mean())
    return float(np.clip((overlap - chance) / max(1 - chance, 1e-6), 0, 1))
