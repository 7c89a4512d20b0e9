"""How good a label is, for the whole picture and for each pixel, from what can be seen without the truth.

Every part lies in [0, 1], 1 is good; `assess` measures them, `Calibration` turns them into the chance that the label is
good, with weights learned on a small set with truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import scipy.optimize
from jaxtyping import Float, UInt8
from numpy import ndarray

from distill.errors import DistillError
from distill.labels import Label, is_far
from distill.tasks import Gauge, Task
from distill.teachers.consistency import borders, compare, comparison_size
from distill.teachers.edges import edge_field
from distill.teachers.register import EXACT, Placement

PARTS = ("manifold", "registration", "structure", "geometry", "sanity")
"""Share of colours that mean something and how clearly; place over the photo; borders shared with the photo; agreement
with the other tasks; whether the answer holds anything at all."""
RESIDUAL_PX = 2.0
"""A residual of this many pixels halves the registration part."""


@dataclass(frozen=True, slots=True)
class Quality:
    """How good a label looks.

    Attributes:
        score: For the whole label, in [0, 1].
        parts: What the score is made of; parts that cannot be seen (no other task to compare with) are missing.
        pixels: The label's confidence, lowered where the other tasks disagree.
    """

    score: float
    parts: Mapping[str, float]
    pixels: Float[ndarray, "h w"]


@dataclass(frozen=True)
class Calibration:
    """Weights that turn parts into the chance that a label is good: a logistic curve over the parts.

    Attributes:
        weights: Per part, never negative; those of missing parts count as if the part had its `typical` value.
        offset: Of the curve.
        typical: Mean of each part over the labels that the weights were learned on.
    """

    weights: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 4.0))
    offset: float = -14.0
    typical: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.8))

    def score(self, parts: Mapping[str, float]) -> float:
        """The chance that a label with these parts is good."""
        total = self.offset + sum(w * parts.get(name, self.typical[name]) for name, w in self.weights.items())
        return float(1 / (1 + np.exp(-total)))


UNCALIBRATED = Calibration()
"""Equal weights: ranks labels; its scores are no probabilities."""


def assess(
    label: Label,
    photo_rgb: UInt8[ndarray, "h w 3"],
    *,
    placement: Placement = EXACT,
    others: Sequence[Label] = (),
    calibration: Calibration = UNCALIBRATED,
) -> Quality:
    """The quality of a label that lies over its photo.

    Args:
        label: Placed over the photo.
        photo_rgb: The photo.
        placement: How the answer was mended.
        others: Labels of other tasks about the same photo, for comparison.
        calibration: Weights of the parts.
    """
    parts = {
        "manifold": _manifold(label),
        "registration": (placement.score if placement.accepted else 0.0)
        / (1 + (placement.residual_px / RESIDUAL_PX) ** 2),
        "structure": _structure(label, photo_rgb),
        "sanity": _sanity(label),
    }
    pixels = label.confidence
    agreement = [found for other in others if (found := compare(label, other)) is not None]
    if agreement:
        parts["geometry"] = float(np.mean([part for part, _ in agreement]))
        for _, pixel in agreement:
            pixels = pixels * cv2.resize(pixel, label.size_hw[::-1], interpolation=cv2.INTER_LINEAR)
    return Quality(calibration.score(parts), parts, pixels.astype(np.float32))


def calibrate(parts: Sequence[Mapping[str, float]], good: Sequence[bool]) -> Calibration:
    """Weights learned on labels whose truth is known: logistic regression with weights that are not negative.

    Args:
        parts: Of each label.
        good: Whether its error was acceptable.

    Raises:
        DistillError: All labels are good, or all are bad.
    """
    truth = np.array(good, np.float64)
    if truth.size == 0 or truth.min() == truth.max():
        raise DistillError(
            f"quality cannot be calibrated on {truth.size} labels that are all alike",
            hint="give a set with truth that has both good and bad labels",
        )
    names = [name for name in PARTS if any(name in one for one in parts)]
    typical = {name: float(np.mean([one[name] for one in parts if name in one])) for name in names}
    table = np.array([[one.get(name, typical[name]) for name in names] for one in parts])

    def loss(solution: ndarray) -> float:
        signed = (table @ solution[:-1] + solution[-1]) * (2 * truth - 1)
        # A weak pull toward equal weights of 4: forty labels cannot tell five weights apart.
        return float(np.logaddexp(0, -signed).mean() + 0.002 * ((solution[:-1] - 4) ** 2).mean())

    start = np.array([4.0] * len(names) + [-14.0])
    bounds = [(0.0, 50.0)] * len(names) + [(-200.0, 200.0)]
    found = scipy.optimize.minimize(loss, start, bounds=bounds, method="L-BFGS-B").x
    return Calibration(dict(zip(names, found[:-1].tolist(), strict=True)), float(found[-1]), typical)


def _manifold(label: Label) -> float:
    """Share of pixels that say something, times how clearly they do."""
    return label.share_valid * float(label.confidence[label.valid].mean()) if label.valid.any() else 0.0


def _sanity(label: Label) -> float:
    """0 for an answer that says nothing, or the same everywhere; else 1 for a plausible amount of content."""
    if not label.valid.any():
        return 0.0
    if label.task is Task.DEPTH:
        values = label.value[label.valid & ~is_far(label)] if label.gauge is Gauge.METRIC else label.value[label.valid]
        return 0.0 if values.size == 0 else float(np.clip(np.ptp(np.percentile(values, (2, 98))) / 0.05, 0, 1))
    if label.task is Task.NORMALS:
        spread = 1 - float(np.linalg.norm(label.value[label.valid].mean(axis=0)))
        return float(np.clip(spread / 0.05, 0, 1))
    counts = np.bincount(label.value[label.valid].astype(np.int64))
    return 1.0 if np.count_nonzero(counts > 1e-4 * label.valid.size) > 1 else 0.3


def _structure(label: Label, photo_rgb: UInt8[ndarray, "h w 3"]) -> float:
    """The share of the label's borders that run along an edge of the photo, within a pixel or two."""
    size_wh = comparison_size(label.size_hw)[::-1]
    photo = np.abs(edge_field(cv2.resize(photo_rgb, size_wh, interpolation=cv2.INTER_AREA)))
    nearby = cv2.dilate(photo, np.ones((3, 3), np.uint8))
    border = borders(label)
    if border.sum() < 20:
        return 0.5  # nothing to compare
    # Chance level is what the photo's edges cover anyway.
    chance = float((nearby > 0.08).mean())
    shared = float((nearby[border] > 0.08).mean())
    return float(np.clip((shared - chance) / max(1 - chance, 1e-6), 0, 1))
