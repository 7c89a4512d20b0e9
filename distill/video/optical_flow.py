"""Dense optical flow between consecutive frames at a small size, its reliability, and scene cuts."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, Shaped, UInt8
from numpy import ndarray

_WIDTH_PX = 320
"""Flow is computed at this width: DIS takes 2 ms, and motion is smooth."""
_BLUR_PX = 5
"""Window over which image differences are averaged, against noise."""
_CUT_LEVELS = 24.0
_CUT_SHARE = 0.55
"""A cut: the warped previous frame differs by more gray levels than `_CUT_LEVELS` and more than this part of the raw
difference."""


@dataclass(frozen=True, slots=True)
class Motion:
    """Motion from a frame back to the previous one.

    Attributes:
        flow: Offset of each pixel to its previous position, in pixels of the small size.
        residual: Smoothed difference to the warped previous frame, in gray levels.
        noise: Median of the residual.
        cut: Whether the frames show different scenes.
    """

    flow: Float32[ndarray, "h w 2"]
    residual: Float32[ndarray, "h w"]
    noise: float
    cut: bool

    def reliability(self, size_hw: tuple[int, int]) -> Float32[ndarray, "h2 w2"]:
        """Confidence in [0, 1] that each pixel shows the same point as before; 0 outside the previous frame."""
        sigma = max(6.0, 3.0 * self.noise)
        small = np.exp(-np.square(self.residual / np.float32(sigma)))
        height, width = small.shape
        columns, rows = _grid(height, width)
        x, y = columns + self.flow[..., 0], rows + self.flow[..., 1]
        small[(x < -0.5) | (y < -0.5) | (x > width - 0.5) | (y > height - 0.5)] = 0
        return cv2.resize(small, size_hw[::-1], interpolation=cv2.INTER_LINEAR)

    def positions(self, size_hw: tuple[int, int]) -> Float32[ndarray, "h2 w2 2"]:
        """Previous position (x, y) of each pixel, in pixels of a map of this size."""
        height, width = size_hw
        scale = np.array([width / self.flow.shape[1], height / self.flow.shape[0]], np.float32)
        positions: ndarray = cv2.resize(self.flow * scale, (width, height), interpolation=cv2.INTER_LINEAR)
        columns, rows = _grid(height, width)
        positions[..., 0] += columns
        positions[..., 1] += rows
        return positions


class MotionTracker:
    """Motion between consecutive frames of a stream.

    Attributes:
        previous: Previous frame, small and gray; None at the start.
    """

    def __init__(self) -> None:
        self.previous: UInt8[ndarray, "h w"] | None = None
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def update(self, rgb: UInt8[ndarray, "h w 3"]) -> Motion | None:
        """Motion from this frame to the previous one; None for the first and after a change of size."""
        now, previous = _small_gray(rgb), self.previous
        self.previous = now
        if previous is None or previous.shape != now.shape:
            return None
        flow = self._dis.calc(now, previous, None)  # type: ignore[call-overload]  # the stubs of OpenCV require a flow
        moved = warp_by_flow(previous, _positions_of(flow))
        residual = _difference(now, moved)
        raw, left = float(_difference(now, previous).mean()), float(residual.mean())
        cut = left > _CUT_LEVELS and left > _CUT_SHARE * raw
        return Motion(flow, residual, float(np.median(residual)), cut)


def warp_by_flow(
    values: Shaped[ndarray, "h w *c"], positions: Float32[ndarray, "h w 2"], *, ids: bool = False
) -> Shaped[ndarray, "h w *c"]:
    """Sample values at positions, bilinear or (for ids) nearest; border values outside."""
    method = cv2.INTER_NEAREST if ids else cv2.INTER_LINEAR
    # The stubs of OpenCV require a second map.
    warped: ndarray = cv2.remap(values, positions, None, method, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    return warped


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
