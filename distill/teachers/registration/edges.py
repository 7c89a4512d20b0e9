"""What a photo and a generated image have in common: a field of thin edges in the one, an outline of the other."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Complex, Float, Shaped, UInt8
from numpy import ndarray

_BLUR_PX = 1.2
_STEP = 10.0
"""Slopes of an answer below this, in 8-bit levels a pixel, are no borders: they are curved surfaces, noise, or the
staircase of a depth that was stored in 8 bits (4 to 8 levels a stair)."""
_CLEAR_STEP = 20.0
_BAR_LEVELS = 14
"""JPEG and noise move the color of a bar by less."""
_LEAST_CONTENT = 0.5
"""Of height and width: what is smaller than this is a thing on a background, not a picture between bars."""
_NARROWEST_BAR = 0.005
"""Of the longer side. Narrower rows of one color are often the picture's own (void labels of CamVid, 2 px): taken for
bars, they drew answers 13 and 28 px off. What so narrow a bar could say, borders say as well."""

_LONGEST_PX = 3000
"""Borders beyond this length say nothing more: those of a texture are many, and err together."""


@dataclass(frozen=True, slots=True)
class EdgePoints:
    """Points on the borders in a generated image, to a fraction of a pixel.

    Attributes:
        place: (down, right) from the answer's center, in pixels.
        normal: Unit vectors (down, right) across the border.
        weight: How clear the border is, in [0, 1].
    """

    position: Float[ndarray, "n 2"]
    normal: Float[ndarray, "n 2"]
    weight: Float[ndarray, " n"]

    def __len__(self) -> int:
        """How many points."""
        return len(self.weight)

    def subsample(self, count: int) -> EdgePoints:
        """At most this many of the points, evenly along the rows: dice leave gaps."""
        if len(self) <= count:
            return self
        return self.select(np.arange(count) * len(self) // count)

    def select(self, which: Shaped[ndarray, " m"]) -> EdgePoints:
        """Some of the points, by number or by mask."""
        return EdgePoints(self.position[which], self.normal[which], self.weight[which])

    def transform(self, matrix: Float[ndarray, "2 2"]) -> EdgePoints:
        """The outline of the answer turned, sheared or enlarged about its center."""
        normal = self.normal @ np.linalg.inv(matrix)
        return EdgePoints(self.position @ matrix.T, normal / np.linalg.norm(normal, axis=1, keepdims=True), self.weight)

    def flip(self, sign: tuple[int, int]) -> EdgePoints:
        """The outline of the answer turned over: -1 where an axis changes its direction."""
        return EdgePoints(self.position * sign, self.normal * sign, self.weight)

    @property
    def length_px(self) -> float:
        """Length of the borders; clear ones count fully."""
        return float(self.weight.mean()) * min(_LONGEST_PX, len(self))

    @property
    def direction(self) -> Complex[ndarray, " n"]:
        """Of the normals, as `edge_field` says it: twice the angle, so that opposite signs agree."""
        return (self.normal[:, 1] + 1j * self.normal[:, 0]) ** 2


def edge_field(rgb: UInt8[ndarray, "h w 3"]) -> Complex[ndarray, "h w"]:
    """Thin edges as complex numbers: length says how clear, twice the angle says which way, so opposite signs agree."""
    along, across, power = _structure(rgb, _BLUR_PX)
    slope = cv2.sqrt(power)
    # Saturates: a border counts once, however strong. Haze and soft shadows (below the picture's own root mean square
    # slope) count little: without this term horizons in haze drew the answer 6 px off.
    clear = slope + 0.5 * _wide_blur(slope) + np.float32(np.sqrt(float(np.mean(power))) + 2.0)
    # Only the crest of a slope counts; without thinning, 90 % of mended answers were within 4 px, with it within 1.4.
    crest = np.clip(slope / (cv2.GaussianBlur(slope, (0, 0), 3 * _BLUR_PX) + np.float32(1e-3)) - 1, 0, 1)
    gain = crest / (np.sqrt(power + np.float32(1e-6)) * clear)
    field = np.empty(slope.shape, np.complex64)
    field.real, field.imag = along * gain, across * gain
    return field


def edge_points(rgb: UInt8[ndarray, "h w 3"]) -> EdgePoints:
    """The borders in an answer, without those of its bars and its frame."""
    along, across, power = _structure(rgb, 1.0)
    slope = cv2.sqrt(power)
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


def letterbox_edges(answer: UInt8[ndarray, "h w 3"], photo: UInt8[ndarray, "h2 w2 3"]) -> list[tuple[int, float]]:
    """(axis, place) of straight lines between bars and picture, from the answer's center, in its pixels.

    There the photo ends, unless the photo has such bars itself.
    """
    sides = {(line.axis, line.far) for line in _letterbox_lines(photo)}
    narrowest_px = _NARROWEST_BAR * max(answer.shape[:2])
    found = []
    for line in _letterbox_lines(answer):
        if line.share > 0.9 and line.width >= narrowest_px and (line.axis, line.far) not in sides:
            position = line.width + 2 - line.covered - answer.shape[line.axis] / 2
            found.append((line.axis, -position if line.far else position))
    return found


@dataclass(frozen=True, slots=True)
class _LetterboxLine:
    """Where a bar along one side of a picture ends.

    Attributes:
        axis: 0 for bars above and below.
        far: Whether it is the one below, or on the right.
        width: Rows (or columns) of one color.
        share: Of the line's length, where the color changes within three pixels: all of it behind a bar, little of it
            at the top of a thing on a background.
        covered: How many of the four rows around the line (two to each side) show picture, as an average: JPEG blurs
            it, and counted on one side only it lay 1.0 to 1.5 px too far out.
    """

    axis: int
    far: bool
    width: int
    share: float
    covered: float


def _letterbox_lines(rgb: UInt8[ndarray, "h w 3"]) -> list[_LetterboxLine]:
    """Of the four sides, those that have a bar."""
    box = content_box(rgb)
    lines: list[_LetterboxLine] = []
    if min((box[1] - box[0]) / rgb.shape[0], (box[3] - box[2]) / rgb.shape[1]) < _LEAST_CONTENT:
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
        lines.append(_LetterboxLine(axis, far, width, share, covered))
    return lines


def content_box(rgb: UInt8[ndarray, "h w 3"]) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of what lies between bars of one color; bars of one pixel are none.

    A picture of one color has no bars.
    """
    height, width = rgb.shape[:2]
    top, bottom = _bars(rgb, 0)
    if top + bottom < height:
        left, right = _bars(rgb[top : height - bottom], 1)
        if left + right < width:
            # Once more between the side bars, which may have hidden the color of the upper and lower ones.
            top, bottom = _bars(rgb[:, left : width - right], 0)
            if top + bottom < height:
                return top, height - bottom, left, width - right
    return 0, height, 0, width


def _bars(rgb: UInt8[ndarray, "h w 3"], axis: int) -> tuple[int, int]:
    """How many rows (or columns) of one color there are at the beginning and at the end."""
    counts = []
    for far in (False, True):
        edge = np.s_[-2:] if far else np.s_[:2]
        color = np.median((rgb[edge] if axis == 0 else rgb[:, edge]).reshape(-1, 3), axis=0)
        alike = cv2.inRange(rgb, color - _BAR_LEVELS, color + _BAR_LEVELS)
        share = cv2.reduce(alike, 1 - axis, cv2.REDUCE_AVG, dtype=cv2.CV_32F).ravel() / 255
        other = np.flatnonzero((share[::-1] if far else share) < 0.985)
        count = int(other[0]) if len(other) else len(share)
        counts.append(count if count > 1 else 0)
    return counts[0], counts[1]


def _inside(rgb: UInt8[ndarray, "h w 3"]) -> Bool[ndarray, "h w"]:
    """Pixels away from the frame and from lines between bars and picture, whose edges no photo shows."""
    kept = np.zeros(rgb.shape[:2], bool)
    kept[2:-2, 2:-2] = True
    for line in _letterbox_lines(rgb):
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
    # cv2.magnitude's last bits differ from one process to the next, and labels have to be the same again.
    return along, across, np.sqrt(along * along + across * across)


def _wide_blur(picture: Float[ndarray, "h w"]) -> Float[ndarray, "h w"]:
    """A Gaussian of 16 px; computed on a quarter of the size, where it costs a tenth."""
    small = cv2.resize(picture, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    return cv2.resize(cv2.GaussianBlur(small, (0, 0), 4), picture.shape[::-1], interpolation=cv2.INTER_LINEAR)


def _read(picture: Float[ndarray, "h w"], rows: ndarray, columns: ndarray) -> Float[ndarray, " n"]:
    """Values between pixels; `cv2.remap` takes at most 32767 columns."""
    wide = 16384
    pad = -len(rows) % wide
    tables = [np.pad(values.astype(np.float32), (0, pad)).reshape(-1, wide) for values in (columns, rows)]
    return cv2.remap(picture, tables[0], tables[1], cv2.INTER_LINEAR).ravel()[: len(rows)]
