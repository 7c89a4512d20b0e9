"""Depth, normals, confidence and errors as colors, by lookup tables: a 1080p frame in a few milliseconds."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from distill.tasks import FAR_WARP, DepthKind, warp_depth

INVALID_RGB = (58, 58, 62)
SKY_RGB = (176, 206, 232)
NORMAL_COLORS = {"faces left": (255, 128, 128), "faces up": (128, 255, 128), "faces the camera": (128, 128, 255)}
"""Colors of `draw_normals` for a legend."""
# Level 0 is invalid and 255 sky; the rest is color.
_FIRST, _LAST = 1, 254
# 64 rows of 1080p are 0.5 MB of float32: every step of a strip stays in the cache (3 times faster than whole frames).
_STRIP_PX = 64


def draw_depth(
    depth: Float[ndarray, "h w"],
    valid: Bool[ndarray, "h w"] | None = None,
    *,
    near_m: float | None = None,
    far_m: float | None = None,
    depth_kind: DepthKind = DepthKind.METRIC,
) -> UInt8[ndarray, "h w 3"]:
    """Depth from bright (near) to dark (far); sky light blue, invalid gray.

    Metric depth is spaced by `distill.tasks.warp_depth`, which gives near distances more of the colors; by default
    it covers 0 m to the sky, so that one color is one distance in every image. Relative depth is drawn
    from 0 to 1.
    """
    levels = np.empty(depth.shape, np.uint8)
    if depth_kind is DepthKind.METRIC:
        low = float(warp_depth(near_m or 0.0))
        high = FAR_WARP if far_m is None else float(warp_depth(far_m))
        for rows in _strips(depth):
            _metric_levels(depth[rows], levels[rows], low, high)
    else:
        for rows in _strips(depth):
            _relative_levels(depth[rows], levels[rows], reverse=depth_kind.near_is_large)
    if valid is not None:
        levels *= valid
    return cv2.applyColorMap(levels, _DEPTH_COLORS)


def _metric_levels(depth_m: ndarray, levels: ndarray, low: float, high: float) -> None:
    # fmax turns NaN into -1, which marks invalid below; an infinity warps to 1, which is sky.
    warped = np.fmax(depth_m, np.float32(-1.0), dtype=np.float32)
    invalid = warped < 0
    warped = np.maximum(warped, 0, out=warped)
    warped *= np.float32(0.1)
    warped += np.float32(1.0)
    np.multiply(warped, warped, out=warped)
    np.divide(np.float32(-1.0), warped, out=warped)
    warped += np.float32(1.0)
    sky = warped > FAR_WARP
    _spread(warped, low, high, levels)
    levels[sky] = 255
    levels[invalid] = 0


def _relative_levels(depth: ndarray, levels: ndarray, *, reverse: bool) -> None:
    values = np.fmax(depth, np.float32(-1.0), dtype=np.float32)
    invalid = values < 0
    if reverse:
        np.subtract(np.float32(1.0), values, out=values)
    _spread(values, 0.0, 1.0, levels)
    levels[invalid] = 0


def _spread(values: ndarray, low: float, high: float, levels: ndarray) -> None:
    """Values in [low, high] to the color levels, in place."""
    values *= np.float32((_LAST - _FIRST) / (high - low))
    values += np.float32(_FIRST + 0.5 - low * (_LAST - _FIRST) / (high - low))
    np.clip(values, _FIRST, _LAST, out=values)
    levels[...] = values


def draw_normals(
    normals: Float[ndarray, "h w 3"], valid: Bool[ndarray, "h w"] | None = None
) -> UInt8[ndarray, "h w 3"]:
    """Normals in the colors of generated images: R = (1-x)/2, G = (1+y)/2, B = (1+z)/2; invalid gray."""
    # convertScaleAbs rounds and clamps to 255; its absolute value only touches vectors longer than one.
    drawn: ndarray = cv2.convertScaleAbs(cv2.transform(normals.astype(np.float32, copy=False), _NORMALS_TO_RGB))
    if valid is not None:
        drawn[~valid] = INVALID_RGB
    return drawn


def draw_confidence(confidence: Float[ndarray, "h w"]) -> UInt8[ndarray, "h w 3"]:
    """Confidence in [0, 1] from dark blue (none) to yellow (sure)."""
    levels = np.empty(confidence.shape, np.uint8)
    for rows in _strips(confidence):
        levels[rows] = np.fmin(np.fmax(confidence[rows], 0), 1) * np.float32(255)
    return cv2.applyColorMap(levels, _CONFIDENCE_COLORS)


def draw_error(
    error: Float[ndarray, "h w"], valid: Bool[ndarray, "h w"] | None = None, *, limit: float
) -> UInt8[ndarray, "h w 3"]:
    """Errors from black (none) over red to pale yellow (`limit` and more); invalid gray."""
    levels = np.empty(error.shape, np.uint8)
    for rows in _strips(error):
        # A NaN counts as the largest error.
        _spread(np.fmin(np.where(np.isnan(error[rows]), limit, error[rows]), limit), 0.0, limit, levels[rows])
    if valid is not None:
        levels *= valid
    return cv2.applyColorMap(levels, _ERROR_COLORS)


def overlay(
    rgb: UInt8[ndarray, "h w 3"], drawing: UInt8[ndarray, "h w 3"], alpha: float = 0.6
) -> UInt8[ndarray, "h w 3"]:
    """The drawing over the photo; `alpha` is the drawing's share."""
    return cv2.addWeighted(drawing, alpha, rgb, 1.0 - alpha, 0.0)


def depth_colors() -> UInt8[ndarray, "n 3"]:
    """The colors of depth, near to far, without sky and invalid."""
    return _DEPTH_COLORS[_FIRST : _LAST + 1, 0]


def error_colors() -> UInt8[ndarray, "n 3"]:
    """The colors of errors, none to worst, without invalid."""
    return _ERROR_COLORS[_FIRST : _LAST + 1, 0]


def _strips(values: ndarray) -> Iterator[slice]:
    for top in range(0, values.shape[0], _STRIP_PX):
        yield slice(top, top + _STRIP_PX)


def _ramp(colormap: int, start: float, stop: float) -> ndarray:
    """256 RGB entries between two points of one of OpenCV's maps."""
    full = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], colormap)[:, 0, ::-1].astype(np.float32)
    at = np.linspace(start, stop, 256) * 255
    return np.stack([np.interp(at, np.arange(256), full[:, c]) for c in range(3)], 1).round().astype(np.uint8)


def _table(ramp: ndarray, first: tuple[int, int, int] | None, last: tuple[int, int, int] | None) -> ndarray:
    table = ramp.copy()
    if first:
        table[0] = first
    if last:
        table[255] = last
    return table[:, None, :]


# Inferno is perceptually even; its black end is cut off, so that far is not mistaken for missing.
_DEPTH_COLORS = _table(_ramp(cv2.COLORMAP_INFERNO, 0.97, 0.13), INVALID_RGB, SKY_RGB)
_CONFIDENCE_COLORS = _table(_ramp(cv2.COLORMAP_CIVIDIS, 0.0, 1.0), None, None)
_ERROR_COLORS = _table(_ramp(cv2.COLORMAP_INFERNO, 0.0, 1.0), INVALID_RGB, None)
_NORMALS_TO_RGB = np.array([[-127.5, 0, 0, 127.5], [0, 127.5, 0, 127.5], [0, 0, 127.5, 127.5]], np.float32)
