"""Maps at the size of comparison: resampling, gaps, local steps."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy import ndarray

from distill.labels import Label
from distill.labels.conversions import pick_pixels

LONGEST_PX = 384
"""Maps are compared at this size: 10 ms instead of 100, and borders may be a pixel off."""
LEAST_PX = 20
"""Fewer pixels are not compared."""
DEPTH_STEP = 0.03
"""A step of warped (or relative) depth over 3x3 pixels that counts as a border."""
_BRIDGE_PX = 4
"""Values reach this far into invalid areas: a gap of twice the width is a border, a wider one is a hole."""


def comparison_size(size_hw: tuple[int, ...]) -> tuple[int, int]:
    """(height, width) at which maps of this size are compared."""
    share = min(1.0, LONGEST_PX / max(size_hw))
    return max(8, round(size_hw[0] * share)), max(8, round(size_hw[1] * share))


def pick_label(label: Label, size_hw: tuple[int, int]) -> tuple[Shaped[ndarray, "h w *c"], Bool[ndarray, "h w"]]:
    """(values, valid) at another size, nearest neighbor."""
    return pick_pixels(label.value, size_hw), pick_pixels(label.valid, size_hw)


def local_range(values: Float[ndarray, "h w"]) -> Float[ndarray, "h w"]:
    """Largest minus smallest value over 3x3 pixels."""
    return cv2.morphologyEx(values, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))


def bridge_gaps(
    value: Shaped[ndarray, "h w *c"], valid: Bool[ndarray, "h w"]
) -> tuple[Shaped[ndarray, "h w *c"], Bool[ndarray, "h w"]]:
    """(values, valid) with the value of the nearest valid pixel in narrow gaps.

    Blended colors between two areas are invalid, so most borders are in such a gap.
    """
    if valid.all() or not valid.any():
        return value, valid
    distance, nearest = cv2.distanceTransformWithLabels(
        (~valid).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    known, bridged = distance <= _BRIDGE_PX, value.copy()
    gap = known & ~valid
    # The pixels of distance 0 are numbered row by row, from 1.
    bridged[gap] = value[valid][nearest[gap] - 1]
    return bridged, known
