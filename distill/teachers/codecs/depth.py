"""Depth as color, and back.

Metric depth is warped to [0, 1) by `distill.tasks.warp_depth` and encoded along a path through the RGB cube; near is
the low end by default. Relative depth is encoded without a warp, since its values are in [0, 1].
Source: arXiv 2604.20329, equation 1 and figure 5.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np
from jaxtyping import Float, UInt8, UInt16
from numpy import ndarray

from distill.errors import DistillError
from distill.labels import Label
from distill.tasks import DEPTH_C, DEPTH_LAMBDA, FAR_WARP, DepthKind, Task, unwarp_depth, warp_depth
from distill.teachers.codecs.color_lut import HALF_UNITS, ColorLUT, gaussian_weight, residuals_of, values_of
from distill.teachers.codecs.colormaps import CUBE_LEVELS, path, project, split_reversed, walk

TAU = 30.0
"""A color farther than this from the path (of 255) is invalid. Closer ones are unambiguous on the cube path: any edge
that does not touch the nearest one is at least 190 farther away."""
CONFIDENCE_SIGMA = 10.0
"""Width of the Gaussian confidence over the distance to the path, in 8-bit units."""
EDGE_TAU = 8.0
"""Next to a depth step, a color farther than this from the path is a blend of two depths that decodes to a third."""
EDGE_STEP = 0.03
"""A depth step: warped depth changes by more than this over 3x3 pixels; 10 % of the depth at 5 m."""

NOISE = 4.0
"""Expected color error in 8-bit units: twice the noise of a JPEG of quality 75."""

MAX_DEPTH_M = float(unwarp_depth(65534 / 65535))
"""2550 m, the last finite level that a shard can store: sky (`distill.labels.is_sky`)."""

_STEPS = 65534
"""Positions on the other paths are stored in steps of 1/65534; the cube path has 1785 exact levels."""
_STEP_UNIT = 1000.0
"""Local depth steps are stored in thousandths of the path."""


def encode_depth_rgb(
    depth: Float[ndarray, "h w"],
    colormap: str = "cube",
    near_is_low: bool = True,
    depth_kind: DepthKind = DepthKind.METRIC,
    *,
    lam: float = DEPTH_LAMBDA,
    c: float = DEPTH_C,
) -> UInt8[ndarray, "h w 3"]:
    """Generated image of a depth map; infinity is the far end, white on the cube path.

    Raises:
        DistillError: A depth is negative or not a number, or a relative one is outside [0, 1].
    """
    values = np.asarray(depth, np.float64)
    high = np.inf if depth_kind is DepthKind.METRIC else 1.0
    if not bool(np.all((values >= 0) & (values <= high))):
        raise DistillError(
            f"a {depth_kind} depth map has values outside 0 to {high:g}, or NaN",
            hint="fill invalid pixels first",
        )
    if depth_kind is DepthKind.METRIC:
        farness = np.asarray(warp_depth(values, lam, c))
    else:
        farness = 1 - values if depth_kind.near_is_large else values
    colormap, is_reversed = split_reversed(colormap)
    position = farness if near_is_low is not is_reversed else 1 - farness
    encoded: ndarray = np.rint(walk(position, colormap)).astype(np.uint8)
    return encoded


def decode_depth_rgb(
    generated: UInt8[ndarray, "h w 3"],
    colormap: str = "cube",
    near_is_low: bool = True,
    depth_kind: DepthKind = DepthKind.METRIC,
    *,
    lam: float = DEPTH_LAMBDA,
    c: float = DEPTH_C,
    tau: float = TAU,
) -> Label:
    """Depth of a generated image, at the image's own size.

    Sky and infinity (warped depth above `distill.tasks.FAR_WARP`) are valid, with the largest stored depth.
    Invalid: colors farther than ``tau`` from the path, and blends of two depths next to a depth step.
    """
    colormap, is_reversed = split_reversed(colormap)
    codes = _table(colormap).look_up(generated)
    return _label(
        values_of(codes), residuals_of(codes), colormap, near_is_low is not is_reversed, depth_kind, lam, c, tau=tau
    )


def decode_depth_gray16(
    gray: UInt16[ndarray, "h w"],
    colormap: str = "gray",
    near_is_low: bool = True,
    depth_kind: DepthKind = DepthKind.METRIC,
    *,
    lam: float = DEPTH_LAMBDA,
    c: float = DEPTH_C,
) -> Label:
    """`decode_depth_rgb` for a gray image of 16 bits; the colormap is ``gray`` or ``gray_r``."""
    colormap, is_reversed = split_reversed(colormap)
    levels = ((gray.astype(np.uint32) * _STEPS + 32767) // 65535).astype(np.uint16)
    residuals = np.zeros(gray.shape, np.uint8)
    return _label(levels, residuals, colormap, near_is_low is not is_reversed, depth_kind, lam, c, tau=TAU)


def _label(
    levels: UInt16[ndarray, "h w"],
    residuals: UInt8[ndarray, "h w"],
    colormap: str,
    near_is_low: bool,
    depth_kind: DepthKind,
    lam: float,
    c: float,
    *,
    tau: float,
) -> Label:
    """Depth of positions on a path, and distances to it in half units."""
    num_levels = CUBE_LEVELS if colormap == "cube" else _STEPS
    step = _local_step(levels, num_levels)
    # Integers on both sides: a float would convert a megapixel of bytes to doubles, 1 ms each time.
    near = residuals <= int(HALF_UNITS * EDGE_TAU)
    valid = (residuals <= min(255, int(HALF_UNITS * tau))) & (near | (step <= int(EDGE_STEP * _STEP_UNIT)))
    places = levels.astype(np.intp)
    confidence = cv2.multiply(cv2.LUT(residuals, gaussian_weight(CONFIDENCE_SIGMA)), cv2.LUT(step, _step_confidence()))
    if depth_kind is DepthKind.METRIC:
        confidence *= _precision(colormap, num_levels, near_is_low, lam, c).take(places, mode="clip")
    return Label(
        task=Task.DEPTH,
        value=_values(num_levels, near_is_low, depth_kind, lam, c).take(places, mode="clip"),
        valid=valid,
        confidence=np.multiply(confidence, valid, out=confidence),
        depth_kind=depth_kind,
    )


@functools.lru_cache(maxsize=3)
def _table(colormap: str) -> ColorLUT:
    num_levels = CUBE_LEVELS if colormap == "cube" else _STEPS

    def read(colors: UInt8[ndarray, "n 3"]) -> tuple[ndarray, ndarray, ndarray]:
        position, distance = project(colors, colormap)
        return np.rint(position * num_levels), np.zeros(len(colors)), distance

    return ColorLUT(read)


def _local_step(levels: UInt16[ndarray, "h w"], num_levels: int) -> UInt8[ndarray, "h w"]:
    """Range of positions over 3x3 pixels, in thousandths, at most 255."""
    span = cv2.morphologyEx(levels, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    return cv2.convertScaleAbs(span, alpha=_STEP_UNIT / num_levels)


def _step_confidence() -> Float[ndarray, " 256"]:
    """Confidence next to a step: half where the position changes by 0.06 over 3x3 pixels, twice the edge step."""
    step = np.arange(256) / _STEP_UNIT
    return (1 / (1 + (step / (2 * EDGE_STEP)) ** 2)).astype(np.float32)


@functools.lru_cache(maxsize=16)
def _precision(colormap: str, num_levels: int, near_is_low: bool, lam: float, c: float) -> Float[ndarray, " n"]:
    """Confidence in the meters of every position: half where color noise of `NOISE` units changes depth by 10 %.

    On the cube path that is below 0.1 m and from 75 m on, where one level is 2.4 % of the depth.
    """
    values = _values(num_levels, near_is_low, DepthKind.METRIC, lam, c).astype(np.float64)
    length = float(np.linalg.norm(np.diff(path(colormap), axis=0), axis=1).sum())
    shift = NOISE / length * num_levels
    relative = np.abs(np.gradient(values)) * shift / np.maximum(values, 1e-6)
    trust = 1 / (1 + (relative / 0.1) ** 2)
    farness = np.arange(num_levels + 1) / num_levels if near_is_low else 1 - np.arange(num_levels + 1) / num_levels
    # Sky has no wrong meters; the low confidence at its border rises toward the end of the path.
    certain = np.clip((farness - FAR_WARP) / (1 - FAR_WARP), 0, 1)
    border = float(trust[np.argmin(np.abs(farness - (FAR_WARP - 0.005)))])
    return np.where(farness > FAR_WARP - 0.002, border + (1 - border) * certain, trust).astype(np.float32)


@functools.lru_cache(maxsize=16)
def _values(num_levels: int, near_is_low: bool, depth_kind: DepthKind, lam: float, c: float) -> Float[ndarray, " n"]:
    """Value of every position."""
    position = np.arange(num_levels + 1) / num_levels
    farness = position if near_is_low else 1 - position
    if depth_kind is not DepthKind.METRIC:
        return (1 - farness if depth_kind.near_is_large else farness).astype(np.float32)
    with np.errstate(divide="ignore"):
        meters = np.asarray(unwarp_depth(farness, lam, c))
    return np.where(farness > FAR_WARP, MAX_DEPTH_M, meters).astype(np.float32)
