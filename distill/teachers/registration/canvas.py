"""Resize photos to a size that the generator supports.

Generators resize other sizes in their own way, which displaces their images. The photo is never cropped;
`distill.teachers.registration.align.warp_label` with the same resize mode is the inverse.

    size_hw = fit_canvas(photo.size_hw, sizes of the generator)
    image = to_canvas(photo.rgb, size_hw, "fill")      # input of the generator
    label = warp_label(decode(answer), photo.size_hw, "fill")
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from distill.errors import UsageError

RULES = ("fill", "contain")
SAME_SHAPE = 0.01
"""Canvases whose shapes differ by less than this are chosen by size."""


@dataclass(frozen=True, slots=True)
class Grid:
    """All canvas sizes whose sides divide by a number, within bounds.

    Attributes:
        multiple: Both sides divide by this.
        max_pixels: No canvas is larger.
        min_pixels: Smaller photos are enlarged to about this many pixels: generators are bad at small images.
    """

    multiple: int = 16
    max_pixels: int = 1024 * 1024
    min_pixels: int = 0

    def __post_init__(self) -> None:
        """Check the bounds.

        Raises:
            UsageError: No canvas is within the bounds.
        """
        if self.multiple < 1 or self.max_pixels < self.multiple**2 or self.min_pixels > self.max_pixels:
            raise UsageError(
                f"no canvas has sides that divide by {self.multiple} and {self.min_pixels} to {self.max_pixels} pixels",
                hint="give multiple >= 1, max_pixels >= multiple squared, and min_pixels <= max_pixels",
            )


def fit_canvas(size_hw: tuple[int, int], allowed: Sequence[tuple[int, int]] | Grid) -> tuple[int, int]:
    """Best canvas (height, width) for a photo: nearest in shape, then large enough, then small.

    Args:
        size_hw: Size of the photo.
        allowed: Supported sizes (height, width), or their rule.

    Raises:
        UsageError: No sizes, or one without pixels.
    """
    _check(size_hw)
    if isinstance(allowed, Grid):
        return _fit_grid(size_hw, allowed)
    if not allowed:
        raise UsageError("a teacher needs at least one canvas size", hint="list them as (height, width)")
    for canvas_hw in allowed:
        _check(canvas_hw)
    nearest = min(_distortion(size_hw, canvas_hw) for canvas_hw in allowed)
    alike = [canvas_hw for canvas_hw in allowed if _distortion(size_hw, canvas_hw) <= nearest + SAME_SHAPE]
    enough = [canvas_hw for canvas_hw in alike if all(map(int.__ge__, canvas_hw, size_hw))]
    # Ties go to the better shape, so that the result does not depend on the order of the list.
    return (
        min(enough, key=lambda hw: (math.prod(hw), _distortion(size_hw, hw)))
        if enough
        else max(alike, key=lambda hw: (math.prod(hw), -_distortion(size_hw, hw)))
    )


def to_canvas(
    rgb: UInt8[ndarray, "h w 3"],
    size_hw: tuple[int, int],
    rule: str = "fill",
    *,
    bars: tuple[int, int, int] = (0, 0, 0),
) -> UInt8[ndarray, "h2 w2 3"]:
    """The whole photo on a canvas: ``fill`` stretches it, ``contain`` keeps its shape and adds bars.

    Photo and canvas share their centers to a fraction of a pixel, as `warp_label` expects.

    Args:
        rgb: The photo.
        size_hw: Of the canvas.
        rule: ``fill`` or ``contain``.
        bars: Color of the area outside the photo.

    Raises:
        UsageError: Unknown rule (``cover`` would crop), or a canvas without pixels.
    """
    _check(size_hw)
    photo_hw = rgb.shape[:2]
    if rule not in RULES:
        raise UsageError(f"a photo cannot be put on a canvas by {rule!r}", hint=f"one of {', '.join(RULES)}")
    if rule == "fill":
        return _drawn(rgb, size_hw, ((0.0, photo_hw[0]), (0.0, photo_hw[1])))
    scale = min(size_hw[i] / photo_hw[i] for i in (0, 1))
    canvas = np.empty((*size_hw, 3), np.uint8)
    canvas[:] = bars
    spans, boxes = [], []
    for side, photo_side in zip(size_hw, photo_hw, strict=True):
        begin = side / 2 - scale * photo_side / 2
        # Pixels with their center on the photo; rounding errors must not cost a row of a photo that fits exactly.
        first = max(0, math.ceil(begin - 0.5 - 1e-6))
        last = min(side, max(first + 1, math.floor(side - begin - 0.5 + 1e-6) + 1))
        first = min(first, last - 1)
        spans.append(slice(first, last))
        boxes.append(((first - begin) / scale, (last - begin) / scale))
    drawn_hw = spans[0].stop - spans[0].start, spans[1].stop - spans[1].start
    canvas[spans[0], spans[1]] = _drawn(rgb, drawn_hw, (boxes[0], boxes[1]))
    return canvas


def _drawn(
    rgb: UInt8[ndarray, "h w 3"], size_hw: tuple[int, int], box: tuple[tuple[float, float], tuple[float, float]]
) -> UInt8[ndarray, "h2 w2 3"]:
    """Part ((top, bottom), (left, right)) of the photo, resized with averaging; its border is extended outside."""
    pads = [
        (max(0, math.ceil(-low)), max(0, math.ceil(high - side)))
        for (low, high), side in zip(box, rgb.shape, strict=False)
    ]
    wide = np.pad(rgb, (*pads, (0, 0)), mode="edge") if any(map(any, pads)) else rgb
    (top, bottom), (left, right) = box
    region = left + pads[1][0], top + pads[0][0], right + pads[1][0], bottom + pads[0][0]
    if region == (0, 0, size_hw[1], size_hw[0]) and wide.shape[:2] == size_hw:
        return wide.copy()
    # Pillow averages when it shrinks, and takes boxes with fractional bounds.
    return np.array(Image.fromarray(wide).resize(size_hw[::-1], Image.Resampling.LANCZOS, box=region))


def _fit_grid(size_hw: tuple[int, int], grid: Grid) -> tuple[int, int]:
    """Best size on the grid: 1 % of shape is worth 10 % of pixels."""
    pixels = math.prod(size_hw)
    wanted = min(max(pixels, grid.min_pixels), grid.max_pixels)
    shape = size_hw[1] / size_hw[0]
    most = grid.max_pixels // grid.multiple**2
    # Height, in multiples, of a canvas of exactly the wanted size and shape.
    ideal = math.sqrt(wanted / shape) / grid.multiple
    lowest = min(most, max(1, math.floor(0.8 * ideal)))
    best, found = math.inf, (grid.multiple, grid.multiple)
    for tall in range(lowest, min(most, math.ceil(1.25 * ideal)) + 1):
        exact = tall * shape
        for wide in {max(1, math.floor(exact)), max(1, math.ceil(exact)), max(1, most // tall)}:
            if tall * wide > most:
                continue
            canvas_hw = tall * grid.multiple, wide * grid.multiple
            cost = _distortion(size_hw, canvas_hw) + 0.1 * abs(math.log(math.prod(canvas_hw) / wanted))
            if cost < best:
                best, found = cost, canvas_hw
    return found


def _distortion(size_hw: tuple[int, int], canvas_hw: tuple[int, int]) -> float:
    """Stretch of a photo that fills a canvas; 0.01 is 1 %."""
    return abs(math.log(canvas_hw[1] / canvas_hw[0] / (size_hw[1] / size_hw[0])))


def _check(size_hw: tuple[int, int]) -> None:
    if min(size_hw) < 1:
        raise UsageError(f"an image cannot have {size_hw[0]}x{size_hw[1]} pixels", hint="give (height, width) >= 1")
