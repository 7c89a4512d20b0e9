"""How the picture moved since the frame before: dense flow at a small size, where it can be believed, and cuts."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, Shaped, UInt8
from numpy import ndarray

_WIDTH_PX = 320
"""Flow is computed at this width: DIS takes 2 ms, and motion is smooth."""
_BLUR_PX = 5
"""Differences of pictures are averaged over this window: noise is not motion."""
_CUT_LEVELS = 24.0
_CUT_SHARE = 0.55
"""A cut: the moved picture before still differs by this many gray levels, and flow explains less than the rest."""


@dataclass(frozen=True, slots=True)
class Motion:
    """From one frame back to the one before it.

    Attributes:
        flow: Where each pixel was, as an offset in pixels of the small size.
        residual: Gray levels by which the picture differs from what was there, smoothed.
        noise: Median of the residual.
        cut: Whether the frames show different scenes.
    """

    flow: Float32[ndarray, "h w 2"]
    residual: Float32[ndarray, "h w"]
    noise: float
    cut: bool

    def reliability(self, size_hw: tuple[int, int]) -> Float32[ndarray, "h2 w2"]:
        """How surely each pixel shows the same thing as where it came from, in [0, 1]; 0 if it came from outside."""
        sigma = max(6.0, 3.0 * self.noise)
        small = np.exp(-np.square(self.residual / np.float32(sigma)))
        height, width = small.shape
        columns, rows = _grid(height, width)
        x, y = columns + self.flow[..., 0], rows + self.flow[..., 1]
        small[(x < -0.5) | (y < -0.5) | (x > width - 0.5) | (y > height - 0.5)] = 0
        return cv2.resize(small, size_hw[::-1], interpolation=cv2.INTER_LINEAR)

    def positions(self, size_hw: tuple[int, int]) -> Float32[ndarray, "h2 w2 2"]:
        """Where each pixel of a larger map was, in its own pixels (x, y)."""
        height, width = size_hw
        scale = np.array([width / self.flow.shape[1], height / self.flow.shape[0]], np.float32)
        positions = cv2.resize(self.flow * scale, (width, height), interpolation=cv2.INTER_LINEAR)
        columns, rows = _grid(height, width)
        positions[..., 0] += columns
        positions[..., 1] += rows
        return positions


class MotionTracker:
    """Motion of a stream, frame after frame.

    Attributes:
        previous: The frame before, small and gray; None at the beginning.
    """

    def __init__(self) -> None:
        self.previous: UInt8[ndarray, "h w"] | None = None
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def update(self, rgb: UInt8[ndarray, "h w 3"]) -> Motion | None:
        """The motion from this frame to the one before; None for the first, and when the size changed."""
        now, previous = _small_gray(rgb), self.previous
        self.previous = now
        if previous is None or previous.shape != now.shape:
            return None
        flow = self._dis.calc(now, previous, None)
        moved = warp_by_flow(previous, _positions_of(flow))
        residual = _difference(now, moved)
        raw, left = float(_difference(now, previous).mean()), float(residual.mean())
        cut = left > _CUT_LEVELS and left > _CUT_SHARE * raw
        return Motion(flow, residual, float(np.median(residual)), cut)


def warp_by_flow(
    values: Shaped[ndarray, "h w *c"], positions: Float32[ndarray, "h w 2"], *, ids: bool = False
) -> Shaped[ndarray, "h w *c"]:
    """The values that were at these places, bilinear (or nearest for ids); outside, those of the border."""
    method = cv2.INTER_NEAREST if ids else cv2.INTER_LINEAR
    return cv2.remap(values, positions, None, method, borderMode=cv2.BORDER_REPLICATE)


def _positions_of(flow: ndarray) -> ndarray:
    columns, rows = _grid(*flow.shape[:2])
    return np.stack([columns + flow[..., 0], rows + flow[..., 1]], axis=-1)


def _grid(height: int, width: int) -> tuple[ndarray, ndarray]:
    return np.arange(width, dtype=np.float32)[None], np.arange(height, dtype=np.float32)[:, None]


def _difference(a: ndarray, b: ndarray) -> ndarray:
    return cv2.blur(cv2.absdiff(a, b).astype(np.float32), (_BLUR_PX, _BLUR_PX))


def _small_gray(rgb: ndarray) -> ndarray:
    height, width = rgb.shape[:2]
    scale = min(1.0, _WIDTH_PX / width)
    size_wh = (max(16, round(width * scale)), max(16, round(height * scale)))
    return cv2.cvtColor(cv2.resize(rgb, size_wh, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
