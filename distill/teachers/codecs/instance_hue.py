"""Instances as hues, for untuned editors, whose masks are shaded and textured.

A histogram of the hues of all saturated pixels is smoothed; its peaks are the instances, and each pixel belongs to the
nearest peak. Source of the numbers: "Video models are zero-shot learners and reasoners", arXiv 2509.20328 (sigma 2,
peaks of at least a tenth of the highest, at least ten hue steps apart).
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from distill.labels import Label
from distill.tasks import BACKGROUND_INSTANCE, IGNORE_INSTANCE, Task
from distill.teachers.base import RGB

HUES = 180
"""OpenCV counts hues in steps of two degrees."""
SIGMA = 2.0
MIN_PEAK = 0.1
MIN_APART = 10
MIN_SATURATION = 96
"""Pixels of lower saturation have no reliable hue: shadows, highlights, remains of the photo."""
MIN_VALUE = 64
TAU_HUE = 8
"""A pixel farther from every peak is ignored."""
CONFIDENCE_SIGMA = 4.0
BACKGROUND_TAU = 60.0
"""Untuned editors miss a background color by tens of levels (L2, of 255)."""


def decode_hues_rgb(generated: UInt8[ndarray, "h w 3"], class_name: str, *, background: RGB = (0, 255, 0)) -> Label:
    """Instances of an uneven image, one per hue, at the image's own size; ids by decreasing area.

    Two objects of one hue are one instance. Pixels that are neither background nor near a peak become *ignore*.
    """
    hue, saturation, value = cv2.split(cv2.cvtColor(generated, cv2.COLOR_RGB2HSV))
    far = generated.astype(np.float32) - np.array(background, np.float32)
    is_background = np.einsum("hwc,hwc->hw", far, far) < BACKGROUND_TAU**2
    colored = ~is_background & (saturation >= MIN_SATURATION) & (value >= MIN_VALUE)
    histogram = np.bincount(hue[colored], minlength=HUES).astype(np.float64)
    peaks = find_hue_peaks(histogram)
    ids = np.where(is_background, BACKGROUND_INSTANCE, IGNORE_INSTANCE).astype(np.uint16)
    confidence = np.where(is_background, np.float32(1), np.float32(0))
    if peaks:
        apart = np.abs(np.arange(HUES)[:, None] - np.array(peaks)[None])
        apart = np.minimum(apart, HUES - apart)
        nearest, distance = apart.argmin(axis=1), apart.min(axis=1)
        own = colored & (distance <= TAU_HUE)[hue]
        areas = np.bincount(nearest[hue[own]], minlength=len(peaks))
        rank = np.empty(len(peaks), np.uint16)
        rank[np.argsort(-areas, kind="stable")] = np.arange(1, len(peaks) + 1)
        ids[own] = rank[nearest[hue[own]]]
        confidence[own] = np.exp(-0.5 * (distance[hue[own]] / CONFIDENCE_SIGMA) ** 2)
    return Label(
        task=Task.INSTANCE,
        value=ids,
        valid=ids != IGNORE_INSTANCE,
        confidence=confidence.astype(np.float32),
        classes=(class_name,),
        instance_classes=dict.fromkeys(range(1, len(peaks) + 1), class_name),
    )


def find_hue_peaks(histogram: Float[ndarray, " n"]) -> list[int]:
    """Peaks of a circular histogram, highest first, at least `MIN_APART` apart."""
    reach = int(4 * SIGMA)
    bell = np.exp(-0.5 * (np.arange(-reach, reach + 1) / SIGMA) ** 2)
    # The hue circle is closed: red is at both ends.
    smooth = np.convolve(np.pad(histogram, reach, mode="wrap"), bell / bell.sum(), mode="valid")
    if smooth.max() <= 0:
        return []
    local = (smooth >= np.roll(smooth, 1)) & (smooth > np.roll(smooth, -1)) & (smooth >= MIN_PEAK * smooth.max())
    peaks: list[int] = []
    for hue in sorted(np.flatnonzero(local).tolist(), key=lambda hue: -smooth[hue]):
        if all(min(abs(hue - other), HUES - abs(hue - other)) >= MIN_APART for other in peaks):
            peaks.append(hue)
    return peaks
