"""Edges for registration: a dense field of thin edges of the photo, edge points of the generated image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Complex, Float, Shaped, UInt8
from numpy import ndarray

from distill.teachers.registration.letterbox import LetterboxLine, letterbox_lines

# tuned: benchmarks/registration.py; reasons: docs/registration.md
_BLUR_PX = 1.2
_STEP = 10.0
_CLEAR_STEP = 20.0
_ENOUGH = 30000
_STRIP = 32
"""Rows that are computed at once, and stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class EdgePoints:
    """Points on the borders of a generated image, at sub-pixel accuracy.

    Attributes:
        position: (down, right) from the image's center, in pixels.
        normal: Unit vectors (down, right) across the border.
        weight: Contrast of the border, in [0, 1].
    """

    position: Float[ndarray, "n 2"]
    normal: Float[ndarray, "n 2"]
    weight: Float[ndarray, " n"]

    def __len__(self) -> int:
        """Number of points."""
        return len(self.weight)

    def subsample(self, count: int) -> EdgePoints:
        """At most this many of the points, evenly along the rows; random ones leave gaps."""
        if len(self) <= count:
            return self
        return self.select(np.arange(count) * len(self) // count)

    def select(self, which: Shaped[ndarray, " m"]) -> EdgePoints:
        """The points with these indices, or where a mask is true."""
        return EdgePoints(self.position[which], self.normal[which], self.weight[which])

    def flip(self, sign: tuple[int, int]) -> EdgePoints:
        """Edge points of the flipped image: -1 where an axis changes its direction."""
        return EdgePoints(self.position * sign, self.normal * sign, self.weight)

    @property
    def direction(self) -> Complex[ndarray, " n"]:
        """Direction of the normals as in `edge_field`: twice the angle, so that opposite signs agree."""
        return (self.normal[:, 1] + 1j * self.normal[:, 0]) ** 2


def edge_field(photo: UInt8[ndarray, "h w *colors"]) -> Complex[ndarray, "h w"]:
    """Thin edges as complex numbers: contrast as length, twice the direction as angle, so that opposite signs agree.

    Args:
        photo: Color or gray.
    """
    along, across, power = _structure(photo, _BLUR_PX)
    slope = cv2.sqrt(power)
    around, near = _wide_blur(slope, 4, 4), _wide_blur(slope, 2, 1.5 * _BLUR_PX)
    typical = np.float32(np.sqrt(cv2.mean(power)[0]) + 2.0)
    field = np.empty((*slope.shape, 2), np.float32)
    for rows in _strips(len(slope)):
        # Saturates: a border counts once, however strong. Haze and soft shadows (below the image's root mean square
        # slope) count little: without this term, horizons in haze moved the result by 6 px.
        clear = around[rows] * np.float32(0.5)
        clear += slope[rows]
        clear += typical
        clear *= slope[rows] + np.float32(1e-3)
        # Non-maximum suppression: without it, 90 % of corrected images were within 4 px, with it within 1.4.
        crest = slope[rows] / (near[rows] + np.float32(1e-3))
        crest -= 1
        np.clip(crest, 0, 1, out=crest)
        crest /= clear
        cv2.merge([along[rows] * crest, across[rows] * crest], dst=field[rows])
    return field.view(np.complex64)[..., 0]


def edge_points(
    rgb: UInt8[ndarray, "h w 3"], lines: Sequence[LetterboxLine] | None = None, share: float = 1.0
) -> EdgePoints:
    """Edge points of a generated image, without those of its bars and its frame.

    Args:
        rgb: The image.
        lines: Ends of its bars; by default they are searched for.
        share: Pixels of this image per pixel of the one with the bars.
    """
    along, across, power = _structure(rgb, 1.0)
    candidates = np.flatnonzero(
        (power > _STEP**2) & _inside(rgb.shape[:2], letterbox_lines(rgb) if lines is None else lines, share)
    )
    if len(candidates) > _ENOUGH:
        candidates = candidates[np.arange(_ENOUGH) * len(candidates) // _ENOUGH]
    if not len(candidates):
        return EdgePoints(np.empty((0, 2)), np.empty((0, 2)), np.empty(0))
    rows, columns = np.divmod(candidates.astype(np.int32), np.int32(rgb.shape[1]))
    length = power.ravel()[candidates]
    # Half of the doubled angle, by its cosine.
    cosine = np.sqrt(np.clip(0.5 + 0.5 * along.ravel()[candidates] / length, 0, 1))
    sine = np.copysign(np.sqrt(1 - cosine * cosine), across.ravel()[candidates])
    slope = cv2.sqrt(power)
    middle = np.sqrt(length)
    before, after = (_read(slope, rows + side * sine, columns + side * cosine) for side in (-1, 1))
    crest = np.flatnonzero((middle >= before) & (middle > after))
    rows, columns, sine, cosine, middle, before, after = (
        values[crest].astype(np.float64) for values in (rows, columns, sine, cosine, middle, before, after)
    )
    normal = np.stack([sine, cosine], axis=1)
    # The top of the parabola through three samples across the border.
    beyond = np.clip(0.5 * (before - after) / (before - 2 * middle + after - 1e-9), -0.7, 0.7)
    position = np.stack([rows, columns], axis=1) + 0.5 + beyond[:, None] * normal - np.array(rgb.shape[:2]) / 2
    return EdgePoints(position, normal, middle / (middle + _CLEAR_STEP))


def _inside(size_hw: tuple[int, int], lines: Sequence[LetterboxLine], share: float) -> Bool[ndarray, "h w"]:
    """Pixels away from the frame and from the ends of bars, whose edges no photo shows."""
    kept = np.zeros(size_hw, bool)
    kept[2:-2, 2:-2] = True
    for line in lines:
        if line.share > 0.6:
            turned = kept if line.axis == 0 else kept.T
            edge = math.ceil(line.width * share) + 4
            turned[-edge:] &= not line.far
            turned[:edge] &= line.far
    return kept


def _structure(
    image: UInt8[ndarray, "h w *colors"], blur_px: float
) -> tuple[Float[ndarray, "h w"], Float[ndarray, "h w"], Float[ndarray, "h w"]]:
    """(cosine, sine, length) of the structure tensor's direction, over all colors."""
    smooth = cv2.GaussianBlur(image, (7, 7), blur_px)
    along, across, power = (np.empty(image.shape[:2], np.float32) for _ in range(3))
    # The filter's factors sum to 32; cv2.transform sums over colors several times faster than numpy does.
    ones, unit = np.ones((1, 3), np.float32), 1 / 32**2
    for rows in _strips(len(smooth)):
        first = max(0, rows.start - 1)
        inner = slice(rows.start - first, rows.stop - first)
        strip = smooth[first : rows.stop + 1]
        right, down = cv2.Scharr(strip, cv2.CV_16S, 1, 0)[inner], cv2.Scharr(strip, cv2.CV_16S, 0, 1)[inner]
        cosine = cv2.multiply(cv2.add(right, down), cv2.subtract(right, down), scale=unit, dtype=cv2.CV_32F)
        sine = cv2.multiply(right, down, scale=2 * unit, dtype=cv2.CV_32F)
        if image.ndim == 3:
            cosine, sine = cv2.transform(cosine, ones), cv2.transform(sine, ones)
        along[rows], across[rows] = cosine, sine
        # The last bits of cv2.magnitude differ between processes, and labels must be reproducible.
        power[rows] = cv2.sqrt(along[rows] * along[rows] + across[rows] * across[rows])
    return along, across, power


def _strips(height: int) -> Iterator[slice]:
    """All rows, a few at a time."""
    return (slice(top, min(height, top + _STRIP)) for top in range(0, height, _STRIP))


def _wide_blur(image: Float[ndarray, "h w"], shrink: int, sigma_px: float) -> Float[ndarray, "h w"]:
    """Gaussian of ``shrink * sigma_px``, computed at a reduced size."""
    small = cv2.resize(image, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA)
    return cv2.resize(cv2.GaussianBlur(small, (0, 0), sigma_px), image.shape[::-1], interpolation=cv2.INTER_LINEAR)


def _read(image: Float[ndarray, "h w"], rows: ndarray, columns: ndarray) -> Float[ndarray, " n"]:
    """Bilinear samples; `cv2.remap` takes at most 32767 columns."""
    wide = 16384
    pad = -len(rows) % wide
    tables = [np.pad(values.astype(np.float32), (0, pad)).reshape(-1, wide) for values in (columns, rows)]
    samples: ndarray = cv2.remap(image, tables[0], tables[1], cv2.INTER_LINEAR).ravel()[: len(rows)]
    return samples
