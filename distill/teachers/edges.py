"""What a photo and a painted answer have in common: thin edges, drawn on the answer's grid at any size and drift."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Complex, UInt8
from numpy import ndarray

_BLUR_PX = 1.2


@dataclass(frozen=True, slots=True)
class Drift:
    """An axis-aligned map from where the canvas rule puts a point (from the answer's centre) to where it was painted.

    Attributes:
        shift_px: (down, right), in pixels of the answer.
        scale_hw: (vertical, horizontal).
    """

    shift_px: tuple[float, float] = (0.0, 0.0)
    scale_hw: tuple[float, float] = (1.0, 1.0)

    def matrix(self, source_hw: tuple[int, int], size_hw: tuple[int, int], scale_hw: tuple[float, float]) -> ndarray:
        """The 2x3 matrix for `cv2.warpAffine` that draws a picture as drifted, at ``scale_hw`` pixels per pixel."""
        rows = []
        for axis in (1, 0):
            scale = scale_hw[axis] * self.scale_hw[axis]
            middle = size_hw[axis] / 2 + self.shift_px[axis] - scale * source_hw[axis] / 2
            # Half pixels: OpenCV counts from the middle of the first pixel, we count from its edge.
            rows.append([0.0, 0.0, middle + 0.5 * scale - 0.5])
            rows[-1][1 - axis] = scale
        return np.array(rows)

    def then(self, shift_px: tuple[float, float], scale_hw: tuple[float, float]) -> Drift:
        """This drift, followed by another one."""
        return Drift(
            (shift_px[0] + scale_hw[0] * self.shift_px[0], shift_px[1] + scale_hw[1] * self.shift_px[1]),
            (scale_hw[0] * self.scale_hw[0], scale_hw[1] * self.scale_hw[1]),
        )


class Scene:
    """Photo and answer, at any size, as edge fields on the answer's grid."""

    def __init__(
        self, photo: UInt8[ndarray, "h w 3"], answer: UInt8[ndarray, "h2 w2 3"], scale_hw: tuple[float, float]
    ) -> None:
        self.size_hw = answer.shape[:2]
        self._answer = answer
        self._edges: dict[tuple[int, int], ndarray] = {}
        # Brought near the answer's size once, with averaging: drawing a large photo point by point would alias.
        size_hw = [max(8, round(photo.shape[i] * min(1.0, scale_hw[i]))) for i in (0, 1)]
        self._photo = cv2.resize(photo, size_hw[::-1], interpolation=cv2.INTER_AREA)
        self._scale_hw = tuple(scale_hw[i] * photo.shape[i] / size_hw[i] for i in (0, 1))

    def reduced_hw(self, longest_px: int) -> tuple[int, int]:
        """The answer's size, shrunk to this longer side; never enlarged."""
        share = min(1.0, longest_px / max(self.size_hw))
        return max(8, round(self.size_hw[0] * share)), max(8, round(self.size_hw[1] * share))

    def answer_edges(self, longest_px: int) -> Complex[ndarray, "h w"]:
        """The answer's edges; each size is computed once."""
        size_hw = self.reduced_hw(longest_px)
        if size_hw not in self._edges:
            self._edges[size_hw] = edge_field(cv2.resize(self._answer, size_hw[::-1], interpolation=cv2.INTER_AREA))
        return self._edges[size_hw]

    def photo_edges(self, drift: Drift, longest_px: int) -> Complex[ndarray, "h w"]:
        """The photo as the answer would show it after this drift."""
        size_hw = self.reduced_hw(longest_px)
        share = size_hw[0] / self.size_hw[0], size_hw[1] / self.size_hw[1]
        reduced = Drift((drift.shift_px[0] * share[0], drift.shift_px[1] * share[1]), drift.scale_hw)
        scale_hw = self._scale_hw[0] * share[0], self._scale_hw[1] * share[1]
        photo = self._photo
        if min(scale_hw) < 0.5:  # warpAffine does not average
            small_hw = [max(8, round(photo.shape[i] * scale_hw[i])) for i in (0, 1)]
            scale_hw = scale_hw[0] * photo.shape[0] / small_hw[0], scale_hw[1] * photo.shape[1] / small_hw[1]
            photo = cv2.resize(photo, small_hw[::-1], interpolation=cv2.INTER_AREA)
        matrix = reduced.matrix(photo.shape[:2], size_hw, scale_hw)
        drawn = cv2.warpAffine(photo, matrix, size_hw[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return edge_field(drawn)


def edge_field(rgb: UInt8[ndarray, "h w 3"]) -> Complex[ndarray, "h w"]:
    """Thin edges as complex numbers: length says how clear, twice the angle says which way, so opposite signs agree."""
    smooth = cv2.GaussianBlur(rgb.astype(np.float32), (0, 0), _BLUR_PX)
    right = cv2.Scharr(smooth, cv2.CV_32F, 1, 0, scale=1 / 32)
    down = cv2.Scharr(smooth, cv2.CV_32F, 0, 1, scale=1 / 32)
    along = (right * right - down * down).sum(axis=-1)
    across = 2 * (right * down).sum(axis=-1)
    power = cv2.magnitude(along, across)
    slope = cv2.sqrt(power)
    # Saturates: a border counts once, however strong. Haze and soft shadows (below the picture's own root mean square
    # slope) count little: without this term horizons in haze drew the answer 6 px off.
    clear = slope + 0.5 * cv2.GaussianBlur(slope, (0, 0), 16) + np.sqrt(float(np.mean(power))) + 2.0
    # Only the crest of a slope counts; without thinning, 90 % of mended answers were within 4 px, with it within 1.4.
    crest = np.clip(slope / (cv2.GaussianBlur(slope, (0, 0), 3 * _BLUR_PX) + 1e-3) - 1, 0, 1)
    gain = crest / (np.sqrt(power + 1e-6) * clear)
    return (along * gain + 1j * across * gain).astype(np.complex64)
