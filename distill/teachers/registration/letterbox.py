"""Letterbox bars of generated images and photos: areas of one color along the sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

# tuned: benchmarks/registration.py; reasons: docs/registration.md
_BAR_LEVELS = 14
_MIN_CONTENT = 0.5
_MIN_BAR = 0.005
_CROP_LEVELS, _CROP_SHARE, _BLURRED = 12, 0.98, 0.1


def letterbox_edges(
    lines: Sequence[LetterboxLine], size_hw: tuple[int, int], photo: UInt8[ndarray, "h w 3"]
) -> list[tuple[int, float]]:
    """(axis, position) of straight lines between bars and content, from the answer's center, in its pixels.

    The photo ends there, unless the photo has such bars itself.

    Args:
        lines: Of the answer.
        size_hw: Size of the answer.
        photo: Any size.
    """
    narrowest_px = _MIN_BAR * max(size_hw)
    lines = [line for line in lines if line.share > 0.9 and line.width >= narrowest_px]
    sides = {(line.axis, line.far) for line in letterbox_lines(photo)} if lines else set()
    found = []
    for line in lines:
        if (line.axis, line.far) not in sides:
            position = line.width + 2 - line.covered - size_hw[line.axis] / 2
            found.append((line.axis, -position if line.far else position))
    return found


@dataclass(frozen=True, slots=True)
class LetterboxLine:
    """End of a bar along one side of an image.

    Attributes:
        axis: 0 for bars above and below.
        far: Whether the bar is below or on the right.
        width: Rows (or columns) of one color.
        share: Fraction of the line's length where the color changes within three pixels: 1 behind a bar, little at the
            top of an object on a background.
        covered: Mean number of the four rows around the line (two on each side) that show content: JPEG blurs the line,
            and counted on one side only it was 1.0 to 1.5 px too far out.
    """

    axis: int
    far: bool
    width: int
    share: float
    covered: float


def letterbox_lines(rgb: UInt8[ndarray, "h w 3"]) -> list[LetterboxLine]:
    """The sides with a bar."""
    box = content_box(rgb)
    lines: list[LetterboxLine] = []
    if min((box[1] - box[0]) / rgb.shape[0], (box[3] - box[2]) / rgb.shape[1]) < _MIN_CONTENT:
        return lines
    for number in range(4):
        axis, far = number // 2, bool(number % 2)
        width = rgb.shape[axis] - box[number] if far else box[number]
        if not width or width + 4 > rgb.shape[axis]:
            continue
        others = slice(*box[2:]) if axis == 0 else slice(*box[:2])
        rows = (rgb if axis == 0 else rgb.swapaxes(0, 1))[:: -1 if far else 1, others]
        apart = np.abs(rows[width - 2 : width + 3] - np.median(rows[:2].reshape(-1, 3), axis=0)).max(axis=-1)
        covered = float(np.clip(apart[:4].mean(axis=1) / max(1.0, float(apart[4].mean())), 0, 1).sum())
        share = float((apart[-1] > _BAR_LEVELS).mean())
        lines.append(LetterboxLine(axis, far, width, share, covered))
    return lines


def content_box(rgb: UInt8[ndarray, "h w 3"]) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of the content between bars of one color; one row or column is not a bar.

    An image of one color has no bars.
    """
    height, width = rgb.shape[:2]
    top, bottom = _bars(rgb, 0)
    if top + bottom < height:
        left, right = _bars(rgb[top : height - bottom], 1)
        if left + right < width:
            # Again between the side bars, which may have hidden the color of the upper and lower ones.
            top, bottom = _bars(rgb[:, left : width - right], 0)
            if top + bottom < height:
                return top, height - bottom, left, width - right
    return 0, height, 0, width


def _bars(rgb: UInt8[ndarray, "h w 3"], axis: int) -> tuple[int, int]:
    """Numbers of rows (or columns) of one color at the beginning and at the end."""
    counts = []
    for far in (False, True):
        edge = np.s_[-2:] if far else np.s_[:2]
        color = np.median((rgb[edge] if axis == 0 else rgb[:, edge]).reshape(-1, 3), axis=0)
        count = length = rgb.shape[axis]
        # Most images have no bars: a look at the outermost rows saves one at the others.
        for start, stop in pairwise((0, 2, 16, 64, 256, max(length, 256))):
            part = slice(max(0, length - stop), length - start) if far else slice(start, stop)
            rows = rgb[part] if axis == 0 else np.ascontiguousarray(rgb[:, part])
            if not rows.size:
                break
            alike = cv2.inRange(rows, color - _BAR_LEVELS, color + _BAR_LEVELS)
            share = cv2.reduce(alike, 1 - axis, cv2.REDUCE_AVG, dtype=cv2.CV_32F).ravel() / 255
            other = np.flatnonzero((share[::-1] if far else share) < 0.985)
            if len(other):
                count = start + int(other[0])
                break
        counts.append(count if count > 1 else 0)
    return counts[0], counts[1]


def centered_content(rgb: UInt8[ndarray, "h w 3"], photo_hw: tuple[int, int]) -> tuple[slice, slice] | None:
    """Rows and columns of the whole photo at the canvas's center, if everything around it has one color."""
    size_hw = rgb.shape[:2]
    scale = min(size_hw[0] / photo_hw[0], size_hw[1] / photo_hw[1])
    bars = [(size_hw[i] - scale * photo_hw[i]) / 2 for i in (0, 1)]
    # The tenth of a bar next to the content may be blurred.
    sure = [int(bar * (1 - _BLURRED)) for bar in bars]
    outside = np.ones(size_hw, bool)
    outside[sure[0] : size_hw[0] - sure[0], sure[1] : size_hw[1] - sure[1]] = False
    colors = rgb[outside].astype(np.int16)
    if not len(colors):
        return None
    apart = np.abs(colors - np.median(colors, axis=0)).max(axis=1)
    if (apart <= _CROP_LEVELS).mean() < _CROP_SHARE:
        return None
    rows, columns = (slice(round(bars[i]), size_hw[i] - round(bars[i])) for i in (0, 1))
    return rows, columns
