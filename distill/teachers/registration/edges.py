"""Edges for registration: a dense field of thin edges of the photo, edge points of the generated image."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Complex, Float, Shaped, UInt8
from numpy import ndarray

from distill.teachers.registration.letterbox import letterbox_lines

# tuned: benchmarks/registration.py; reasons: docs/registration.md
_BLUR_PX = 1.2
_STEP = 10.0
_CLEAR_STEP = 20.0
_LONGEST_PX = 3000


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

    def transform(self, matrix: Float[ndarray, "2 2"]) -> EdgePoints:
        """Edge points of the image rotated, sheared or zoomed about its center."""
        normal = self.normal @ np.linalg.inv(matrix)
        return EdgePoints(self.position @ matrix.T, normal / np.linalg.norm(normal, axis=1, keepdims=True), self.weight)

    def flip(self, sign: tuple[int, int]) -> EdgePoints:
        """Edge points of the flipped image: -1 where an axis changes its direction."""
        return EdgePoints(self.position * sign, self.normal * sign, self.weight)

    @property
    def length_px(self) -> float:
        """Weighted length of the borders, at most 3000: textures have many, with correlated errors."""
        return float(self.weight.mean()) * min(_LONGEST_PX, len(self))

    @property
    def direction(self) -> Complex[ndarray, " n"]:
        """Direction of the normals as in `edge_field`: twice the angle, so that opposite signs agree."""
        return (self.normal[:, 1] + 1j * self.normal[:, 0]) ** 2


def edge_field(rgb: UInt8[ndarray, "h w 3"]) -> Complex[ndarray, "h w"]:
    """Thin edges as complex numbers: contrast as length, twice the direction as angle, so that opposite signs agree."""
    along, across, power = _structure(rgb, _BLUR_PX)
    slope = cv2.sqrt(power)
    # Saturates: a border counts once, however strong. Haze and soft shadows (below the image's root mean square slope)
    # count little: without this term, horizons in haze moved the result by 6 px.
    clear = slope + 0.5 * _wide_blur(slope) + np.float32(np.sqrt(float(np.mean(power))) + 2.0)
    # Non-maximum suppression: without it, 90 % of corrected images were within 4 px, with it within 1.4.
    crest = np.clip(slope / (cv2.GaussianBlur(slope, (0, 0), 3 * _BLUR_PX) + np.float32(1e-3)) - 1, 0, 1)
    gain = crest / (np.sqrt(power + np.float32(1e-6)) * clear)
    field = np.empty(slope.shape, np.complex64)
    field.real, field.imag = along * gain, across * gain
    return field


def edge_points(rgb: UInt8[ndarray, "h w 3"]) -> EdgePoints:
    """Edge points of a generated image, without those of its bars and its frame."""
    along, across, power = _structure(rgb, 1.0)
    slope = cv2.sqrt(power)
    rows: ndarray
    columns: ndarray
    rows, columns = np.nonzero((slope > _STEP) & _inside(rgb))
    if not len(rows):
        return EdgePoints(np.empty((0, 2)), np.empty((0, 2)), np.empty(0))
    angle = 0.5 * np.arctan2(across[rows, columns], along[rows, columns])
    normal = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    middle = slope[rows, columns]
    before, after = (_read(slope, rows + side * normal[:, 0], columns + side * normal[:, 1]) for side in (-1, 1))
    crest = (middle >= before) & (middle > after)
    rows, columns, normal, middle, before, after = (
        values[crest] for values in (rows, columns, normal, middle, before, after)
    )
    # The top of the parabola through three samples across the border.
    beyond = np.clip(0.5 * (before - after) / (before - 2 * middle + after - 1e-9), -0.7, 0.7)
    position = np.stack([rows, columns], axis=1) + 0.5 + beyond[:, None] * normal - np.array(rgb.shape[:2]) / 2
    return EdgePoints(position, normal.astype(np.float64), (middle / (middle + _CLEAR_STEP)).astype(np.float64))


def _inside(rgb: UInt8[ndarray, "h w 3"]) -> Bool[ndarray, "h w"]:
    """Pixels away from the frame and from the ends of bars, whose edges no photo shows."""
    kept = np.zeros(rgb.shape[:2], bool)
    kept[2:-2, 2:-2] = True
    for line in letterbox_lines(rgb):
        if line.share > 0.6:
            turned = kept if line.axis == 0 else kept.T
            edge = line.width + 4
            turned[-edge:] &= not line.far
            turned[:edge] &= line.far
    return kept


def _structure(
    rgb: UInt8[ndarray, "h w 3"], blur_px: float
) -> tuple[Float[ndarray, "h w"], Float[ndarray, "h w"], Float[ndarray, "h w"]]:
    """(cosine, sine, length) of the structure tensor's direction, over all three colors."""
    smooth = cv2.GaussianBlur(rgb.astype(np.float32), (0, 0), blur_px)
    right = cv2.Scharr(smooth, cv2.CV_32F, 1, 0, scale=1 / 32)
    down = cv2.Scharr(smooth, cv2.CV_32F, 0, 1, scale=1 / 32)
    # cv2.transform sums over colors several times faster than numpy does.
    ones = np.ones((1, 3), np.float32)
    along = cv2.transform(right * right - down * down, ones)
    across = cv2.transform(right * down, 2 * ones)
    # The last bits of cv2.magnitude differ between processes, and labels must be reproducible.
    return along, across, np.sqrt(along * along + across * across)


def _wide_blur(image: Float[ndarray, "h w"]) -> Float[ndarray, "h w"]:
    """Gaussian of 16 px, computed at a quarter of the size for a tenth of the time."""
    small = cv2.resize(image, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    return cv2.resize(cv2.GaussianBlur(small, (0, 0), 4), image.shape[::-1], interpolation=cv2.INTER_LINEAR)


def _read(image: Float[ndarray, "h w"], rows: ndarray, columns: ndarray) -> Float[ndarray, " n"]:
    """Bilinear samples; `cv2.remap` takes at most 32767 columns."""
    wide = 16384
    pad = -len(rows) % wide
    tables = [np.pad(values.astype(np.float32), (0, pad)).reshape(-1, wide) for values in (columns, rows)]
    samples: ndarray = cv2.remap(image, tables[0], tables[1], cv2.INTER_LINEAR).ravel()[: len(rows)]
    return samples
