"""Instances as colors, and back: one class per answer, each instance in a color of the generator's own choice.

The paper's five steps (arXiv 2604.20329, appendix A), with its five constants. Where its text leaves a choice open:
the 16 neighbors are the 8 nearest pixels and the 8 knight's moves; seeds are taken in raster order; areas in step 5
are those of bounding boxes; merging goes from the largest component down, with means and boxes kept up to date. Pixels
without a kept component that are not background become *ignore*, not background: a missing instance must not be learned
as background.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8, UInt16
from numpy import ndarray

from distill.errors import DistillError
from distill.labels import Label
from distill.tasks import BACKGROUND_INSTANCE, IGNORE_INSTANCE, Task
from distill.teachers.base import RGB
from distill.teachers.codecs.compression import NOISY, color_noise, restore_flat_colors
from distill.teachers.codecs.flood_fill import FloodFill

TAU = 14.0
"""Colors closer than this (L2, of 255) are the same: to the background, to a seed, between merged means."""
MIN_SHARE = 2e-4
"""Smaller components (fraction of the image) are dropped."""
MIN_CORE = 0.1
"""Components with a smaller remaining fraction after a 3x3 erosion are thin halos, and dropped."""
MAX_SPREAD = 5.0
"""Two components merge only if their common box is at most this many times the sum of their boxes."""
TAU_PER_NOISE = 2.0
"""In an image that was compressed with losses, `TAU` grows by this much per unit of its noise."""
MAX_TAU = 40.0
"""Half of the distance between two colors of a legible image."""
LOST_MARGIN_PX = 3
"""Pixels without an instance that are closer to one belong to its outline; farther ones may be a lost instance."""
MIN_LOST = 0.25
"""Lost regions smaller than this fraction of the smallest instance do not count."""
MIN_LOST_FRACTION = 0.01
"""A smaller fraction of the foreground in lost regions is no loss: specks and remains of outlines."""
ALIKE = 0.5
"""Lost regions of this fraction of the smallest instance, in the mean, are instances; 0.33 at most in real images."""
LARGE_PART = 0.1
"""Of the foreground; smaller separate regions are parts that something in front cuts off."""
MAX_PIXELS = 16_000_000
"""A noisy image costs about 3 s per megapixel; no known generator makes larger ones."""

_ONES = np.ones((1, 3), np.float32)


@dataclass(slots=True)
class _Region:
    """A component, or several that were merged: pixels (flat indices), color sum, box (top, left, bottom, right)."""

    pixels: ndarray
    color_sum: Float[ndarray, " 3"]
    box: tuple[int, int, int, int]

    @property
    def mean(self) -> Float[ndarray, " 3"]:
        return self.color_sum / self.pixels.size


def decode_instances_rgb(
    generated: UInt8[ndarray, "h w 3"], class_name: str, *, background: RGB = (0, 0, 0), tau: float = TAU
) -> Label:
    """Instances of a generated image, at the image's own size; ids from 1, largest first.

    An image that was compressed with losses is restored first, and its noise is added to ``tau``: JPEG blurs small
    instances until their pixels no longer have one color. All confidences fall by the fraction of the foreground that
    became no instance (`lost_instances`).

    Raises:
        DistillError: The image is larger than any generator's.
    """
    height, width = generated.shape[:2]
    if height * width > MAX_PIXELS:
        raise DistillError(
            f"an instance image of {width}x{height} px is too large to be decoded",
            hint=f"use at most {MAX_PIXELS // 1_000_000} million pixels",
        )
    noise = color_noise(generated)
    restored, reach = generated, tau
    if noise >= NOISY:
        restored, reach = restore_flat_colors(generated), max(tau, min(MAX_TAU, tau + TAU_PER_NOISE * noise))
    is_background = _distance_2(restored, background) < reach**2
    min_pixels = MIN_SHARE * height * width
    flood = FloodFill(restored, is_background, reach)
    parts = [
        _Region(*_measured(restored, top_left, mask))
        for top_left, mask in flood.components(min_pixels)
        if _has_core(mask)
    ]
    groups = _merged(parts, reach)
    value = np.where(is_background, BACKGROUND_INSTANCE, IGNORE_INSTANCE).astype(np.uint16)
    means = np.zeros((len(groups) + 1, 3), np.float32)
    means[0] = background
    for number, group in enumerate(groups, start=1):
        value.reshape(-1)[group.pixels] = number
        means[number] = group.mean
    valid = value != IGNORE_INSTANCE
    confidence = _confidence(generated, value, valid, means, reach)
    confidence *= np.float32(1 - lost_instances(value)[1])
    return Label(
        task=Task.INSTANCE,
        value=value,
        valid=valid,
        confidence=confidence,
        classes=(class_name,),
        instance_classes=dict.fromkeys(range(1, len(groups) + 1), class_name),
    )


def lost_regions(value: UInt16[ndarray, "h w"]) -> tuple[int, float]:
    """(number, fraction of the foreground) of regions that are neither background nor an instance.

    Thin outlines and blends next to an instance do not count.
    """
    kept = ((value != IGNORE_INSTANCE) & (value != BACKGROUND_INSTANCE)).astype(np.uint8)
    if kept.size == cv2.countNonZero(kept) or not (value == IGNORE_INSTANCE).any():
        return 0, 0.0
    side = 2 * LOST_MARGIN_PX + 1
    ignored = (value == IGNORE_INSTANCE) & (cv2.dilate(kept, np.ones((side, side), np.uint8)) == 0)
    if not ignored.any():
        return 0, 0.0
    solid = cv2.erode(ignored.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0)
    if not cv2.countNonZero(solid):
        return 0, 0.0
    _, parts, stats, _ = cv2.connectedComponentsWithStats(ignored.astype(np.uint8), connectivity=8)
    has_core = np.zeros(len(stats), bool)
    has_core[parts[solid > 0]] = True
    areas = stats[has_core, cv2.CC_STAT_AREA]
    areas = areas[areas >= MIN_LOST * MIN_SHARE * value.size]
    lost_px = int(areas.sum())
    return len(areas), lost_px / (lost_px + int(cv2.countNonZero(kept))) if lost_px else 0.0


def lost_instances(value: UInt16[ndarray, "h w"]) -> tuple[int, float]:
    """(number of lost regions, fraction that is lost); (0, 0.0) if the regions are specks.

    The fraction is that of the foreground, or of the instances if the lost regions are as large as the smallest of
    them: JPEG loses small instances, which are a small fraction of the foreground.
    """
    count, fraction = lost_regions(value)
    areas = np.bincount(value[(value != IGNORE_INSTANCE) & (value != BACKGROUND_INSTANCE)])
    areas = areas[areas > 0]
    if count and areas.size and fraction / (1 - fraction) * areas.sum() / count >= ALIKE * areas.min():
        return count, max(fraction, count / (count + areas.size))
    return (count, fraction) if fraction >= MIN_LOST_FRACTION else (0, 0.0)


def parts_of_only_instance(value: UInt16[ndarray, "h w"]) -> int:
    """Number of large separate regions of the only instance; 0 if there are several instances or none.

    An image in which all instances have the same color shows how many there are by its regions only.
    """
    mask = ((value != IGNORE_INSTANCE) & (value != BACKGROUND_INSTANCE)).astype(np.uint8)
    if not mask.any() or value[mask > 0].min() != value[mask > 0].max():
        return 0
    areas = cv2.connectedComponentsWithStats(mask, connectivity=8)[2][1:, cv2.CC_STAT_AREA]
    return int((areas >= LARGE_PART * areas.sum()).sum())


def encode_instances_rgb(
    ids: UInt16[ndarray, "h w"], colors: tuple[RGB, ...], *, background: RGB = (0, 0, 0)
) -> UInt8[ndarray, "h w 3"]:
    """Generated image of instances, instance ``i`` in ``colors[i - 1]``; ignore becomes background.

    Raises:
        DistillError: There are more instances than colors.
    """
    kept = np.where(ids == IGNORE_INSTANCE, BACKGROUND_INSTANCE, ids)
    if int(kept.max(initial=0)) > len(colors):
        raise DistillError(f"{int(kept.max())} instances need more than {len(colors)} colors")
    return np.array([background, *colors], np.uint8)[kept]


def _distance_2(generated: UInt8[ndarray, "h w 3"], color: RGB) -> ndarray:
    # Sums of three squares of 8 bits are exact as 32-bit floats.
    difference = cv2.absdiff(generated, np.array([*color, 0], np.float64))
    distance_2: ndarray = cv2.transform(cv2.multiply(difference, difference, dtype=cv2.CV_32F), _ONES)
    return distance_2


def _has_core(mask: UInt8[ndarray, "h w"]) -> bool:
    core = cv2.erode(mask, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return cv2.countNonZero(core) >= MIN_CORE * cv2.countNonZero(mask)


def _measured(
    generated: UInt8[ndarray, "h w 3"], top_left: tuple[int, int], mask: UInt8[ndarray, "h2 w2"]
) -> tuple[ndarray, ndarray, tuple[int, int, int, int]]:
    rows, columns = np.nonzero(mask)
    rows += top_left[0]
    columns += top_left[1]
    box = (int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1)
    return rows * generated.shape[1] + columns, generated[rows, columns].sum(axis=0, dtype=np.float64), box


def _merged(parts: list[_Region], tau: float) -> list[_Region]:
    """Step 5: merge components of one color that are close enough, until there is no change."""
    groups = sorted(parts, key=lambda part: (-part.pixels.size, part.box))
    changed = True
    while changed:
        changed = False
        kept: list[_Region] = []
        for part in groups:
            for group in kept:
                if _same_instance(group, part, tau):
                    group.pixels = np.concatenate([group.pixels, part.pixels])
                    group.color_sum = group.color_sum + part.color_sum
                    group.box = _union(group.box, part.box)
                    changed = True
                    break
            else:
                kept.append(part)
        groups = sorted(kept, key=lambda part: (-part.pixels.size, part.box))
    return groups


def _same_instance(one: _Region, other: _Region, tau: float) -> bool:
    if float(((one.mean - other.mean) ** 2).sum()) > tau**2:
        return False
    return _area(_union(one.box, other.box)) <= MAX_SPREAD * (_area(one.box) + _area(other.box))


def _union(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


def _area(box: tuple[int, int, int, int]) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _confidence(
    generated: UInt8[ndarray, "h w 3"],
    value: UInt16[ndarray, "h w"],
    valid: Bool[ndarray, "h w"],
    means: Float[ndarray, "n 3"],
    tau: float,
) -> Float[ndarray, "h w"]:
    """Gaussian over the distance of a pixel's color to its instance's mean (or the background's color)."""
    expected = means.take(np.where(valid, value, 0), axis=0)
    difference = cv2.subtract(expected, generated.astype(np.float32))
    distance_2 = np.einsum("hwc,hwc->hw", difference, difference)
    distance_2 *= np.float32(-0.5 / tau**2)
    confidence: ndarray = np.multiply(cv2.exp(distance_2), valid)
    return confidence
