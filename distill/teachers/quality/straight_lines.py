"""Straight lines of a generated image that its photo does not show: frames, bars, and parts that were filled or cut.

Objects have few borders that follow a row or a column of pixels exactly, and where one does, so does an edge of the
photo.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from distill.teachers.quality.color_stats import reduce_size
from distill.teachers.registration.align import Registration

# tuned: benchmarks/damaged_answers.py
UNEXPLAINED = 0.25
"""Part of the image's side from which a line is no border of an object: synthetic boxes that the photo hardly shows
reach 0.14, and one with swapped classes 0.27."""
_SMALL_PX = 400
_CANDIDATE = 0.05
_STEP = 24
"""Difference across a line in a channel, in 8-bit levels."""
_MEAN_PX = 4
"""Pixels along a line are averaged by so many, so that noise is no line."""
_NEAR_SHARE = 1 / 200
"""A line is alone in a range of this part of the longer side, and of twice as much where it is not counted."""
_MOST = 8
"""Lines that are looked at, of each direction."""
_PHOTO_STEP, _ACROSS = 24, 0.8
"""Least slope of an edge of the photo along a line, and its least ratio to the slope along the line."""
_OFF_PX = 4
"""A line may be this far from its edge, in px of the small photo."""
_OUTSIDE_PX = 5
"""Lines within this distance of the photo's border are ends of bars."""


@dataclass(frozen=True, slots=True)
class StraightLine:
    """A line along a row or column.

    Attributes:
        axis: 0 for a row, 1 for a column.
        position: Row or column.
        share: Part of the side that it covers without an edge of the photo.
    """

    axis: int
    position: int
    share: float


NO_LINE = StraightLine(0, 0, 0.0)


def longest_unexplained_line(
    rgb: UInt8[ndarray, "h w 3"], photo_rgb: UInt8[ndarray, "h2 w2 3"], registration: Registration
) -> StraightLine:
    """The line that covers most of its side without an edge of the photo, in an image aligned by a registration."""
    share = _SMALL_PX / max(rgb.shape[:2])
    size_wh = max(8, round(rgb.shape[1] * share)), max(8, round(rgb.shape[0] * share))
    small = None
    best = NO_LINE
    for axis in (1, 0):
        steps = _steps(rgb, axis)
        columns = _candidates(steps, max(rgb.shape[:2]))
        if not len(columns):
            continue
        if small is None:
            small = cv2.resize(reduce_size(photo_rgb, _SMALL_PX), size_wh, interpolation=cv2.INTER_AREA)
        edges = _edges(small, axis)
        for column in columns:
            share = _unexplained(steps, int(column), rgb.shape[axis], edges, registration, axis)
            if share > best.share:
                best = StraightLine(axis, int(column) + 1, share)
    return best


def _steps(rgb: UInt8[ndarray, "h w 3"], axis: int) -> UInt8[ndarray, "n m"]:
    """Steps (255, else 0) across columns (axis 1) or rows (axis 0), which become the columns of the result."""
    height, width = rgb.shape[:2]
    along = rgb.shape[1 - axis] // _MEAN_PX
    if not along or min(height, width) < 3:
        return np.zeros((1, 1), np.uint8)
    # A whole number of pixels for each mean: ten times faster.
    if axis == 1:
        mean = cv2.resize(rgb[: along * _MEAN_PX], (width, along), interpolation=cv2.INTER_AREA)
        apart = cv2.absdiff(mean[:, 2:], mean[:, :-2])
    else:
        mean = cv2.resize(rgb[:, : along * _MEAN_PX], (along, height), interpolation=cv2.INTER_AREA)
        apart = cv2.absdiff(mean[2:], mean[:-2])
    red, green, blue = cv2.split(apart)
    steps = cv2.threshold(cv2.max(cv2.max(red, green), blue), _STEP, 255, cv2.THRESH_BINARY)[1]
    return steps if axis == 1 else cv2.transpose(steps)


def _candidates(steps: UInt8[ndarray, "n m"], longest_px: int) -> ndarray:
    """Columns with many more steps than those nearby, best first."""
    share = cv2.reduce(steps, 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F) / 255
    reach = _reach(longest_px)
    kernel = np.ones((1, 4 * reach + 1), np.uint8)
    kernel[0, reach + 1 : 3 * reach] = 0
    alone = (share - cv2.dilate(share, kernel))[0]
    order = np.argsort(-alone, kind="stable")[:_MOST]
    found: ndarray = order[alone[order] > _CANDIDATE]
    return found


def _reach(longest_px: int) -> int:
    return max(2, round(_NEAR_SHARE * longest_px))


def _edges(photo_small: UInt8[ndarray, "h w 3"], axis: int) -> Bool[ndarray, "n m"]:
    """Thin edges of the photo along columns (axis 1) or rows (axis 0), which become the columns of the result."""
    smooth = cv2.GaussianBlur(photo_small, (3, 3), 0.8)
    across = _slope(smooth, (1, 0) if axis == 1 else (0, 1))
    along = _slope(smooth, (0, 1) if axis == 1 else (1, 0))
    kernel = np.ones((1, 3) if axis == 1 else (3, 1), np.uint8)
    # Saturated: both may be 255, and the edge counts.
    clear = cv2.max(cv2.convertScaleAbs(along, alpha=_ACROSS), np.full_like(along, _PHOTO_STEP))
    crest = cv2.compare(across, cv2.dilate(across, kernel), cv2.CMP_GE)
    crest = cv2.bitwise_and(crest, cv2.compare(across, clear, cv2.CMP_GT))
    near: ndarray = cv2.dilate(crest, kernel) > 0
    return near if axis == 1 else near.T


def _slope(smooth: UInt8[ndarray, "h w 3"], order: tuple[int, int]) -> UInt8[ndarray, "h w"]:
    """Slope in a direction, in the channel where it is largest."""
    red, green, blue = cv2.split(cv2.convertScaleAbs(cv2.Sobel(smooth, cv2.CV_16S, *order)))
    return cv2.max(cv2.max(red, green), blue)


def _unexplained(
    steps: UInt8[ndarray, "n m"],
    column: int,
    width: int,
    edges: Bool[ndarray, "h w"],
    registration: Registration,
    axis: int,
) -> float:
    """Part of a line without an edge of the photo; 0 outside the photo."""
    reach = _reach(max(width, steps.shape[0] * _MEAN_PX))
    nearby = [column + side * away for away in range(max(2, reach - 1), reach + 2) for side in (-1, 1)]
    others = steps[:, [i for i in nearby if 0 <= i < steps.shape[1]]].any(axis=1)
    rows = np.flatnonzero((steps[:, column] > 0) & ~others)
    along = _in_photo((rows + 0.5) / len(steps), steps.shape[0] * _MEAN_PX, registration, 1 - axis) * edges.shape[0]
    place = float(_in_photo(np.array((column + 1.5) / width), width, registration, axis)) * edges.shape[1]
    if not _OUTSIDE_PX <= place <= edges.shape[1] - _OUTSIDE_PX:
        return 0.0
    inside = along[(along >= 0) & (along < edges.shape[0])].astype(int)
    if not len(inside):
        return 0.0
    first, last = max(0, int(place) - _OFF_PX), int(place) + _OFF_PX + 1
    explained = float(edges[inside, first:last].mean(axis=0).max())
    return len(inside) / len(steps) * (1 - explained)


def _in_photo(position: Float[ndarray, "*n"], length: int, registration: Registration, axis: int) -> ndarray:
    """Positions on the photo, as parts of its side, of those on the image."""
    centered = position - 0.5 - registration.shift_px[axis] / length
    found: ndarray = centered / registration.scale_hw[axis] + 0.5
    return found
