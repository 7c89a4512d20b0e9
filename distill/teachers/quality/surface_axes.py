"""Axes of normals from the normals alone: those of a surface have no curl, those with other axes have.

The slopes p, q of log depth along x and y are derivatives of one function, so dp/dy = dq/dx, at creases and on curved
surfaces alike. With x and y swapped, or one of them negated, that does not hold. Borders between objects contradict it
too, but equally for all axes.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

# tuned: benchmarks/damaged_answers.py
_LONGEST_PX = 240
_FOCAL = 1.0
"""Focal length, in longer sides of the image."""
_FACING = 0.15
"""Smallest cosine to the line of sight; slopes of surfaces that are seen from the side are uncertain."""
_CURL_MOST = 0.3
"""A pixel's curl counts up to this: borders between objects have any."""
_CHANGE_LEAST, _PIXELS_LEAST = 0.02, 0.03
"""Change of the slopes from which a pixel shows a curl, and part of the image that must have such pixels."""
_CURL_LEAST, _BETTER = 0.15, 0.85
"""Curl by change of the given normals, and its ratio with other axes, from which these are the right ones. Good real
and synthetic normals with a curl of more than 0.15 have at least 1.28 times as much with any other axes; with swapped
or negated axes, real ones have at least 0.2, and at most 0.78 of that with the right axes."""
_SWAPPED, _TURNED, _NEGATED = "x and y are swapped", "x and y are swapped, and one is negated", "x or y is negated"
_AXES = {
    (True, 1, 1): _SWAPPED,
    (True, -1, -1): _SWAPPED,
    (True, 1, -1): _TURNED,
    (True, -1, 1): _TURNED,
    (False, -1, 1): _NEGATED,
    (False, 1, -1): _NEGATED,
}
"""What is wrong if the normals with these changes (swapped, signs of x and y) are those of a surface. Both signs at
once turn every bulge into a dent, which is a surface too, so that two changes each cannot be told apart."""


def explain_axes(normals: Float[ndarray, "h w 3"], valid: Bool[ndarray, "h w"]) -> str:
    """What is wrong with the axes of normals that are of no surface, but would be with other axes; else empty."""
    small, known = _reduced(normals, valid)
    if min(known.shape) < 3:
        return ""
    given = _curl(small, known, (False, 1, 1))
    if given <= _CURL_LEAST:
        return ""
    best, reason = min((_curl(small, known, axes), reason) for axes, reason in _AXES.items())
    return reason if best < _BETTER * given else ""


def _reduced(
    normals: Float[ndarray, "h w 3"], valid: Bool[ndarray, "h w"]
) -> tuple[Float[ndarray, "h2 w2 3"], Bool[ndarray, "h2 w2"]]:
    """(mean normals at a small size, pixels of which all are valid)."""
    factor = max(1, round(max(valid.shape) / _LONGEST_PX))
    height, width = (side // factor for side in valid.shape)
    cut, kept = normals[: height * factor, : width * factor], valid[: height * factor, : width * factor]
    if not height or not width:
        return np.zeros((0, 0, 3), np.float32), np.zeros((0, 0), bool)
    size_wh, filled = (width, height), np.where(kept[..., None], cut, 0).astype(np.float32)
    small: ndarray = cv2.resize(filled, size_wh, interpolation=cv2.INTER_AREA)
    known: ndarray = cv2.resize(kept.astype(np.float32), size_wh, interpolation=cv2.INTER_AREA) > 0.99
    return small, known


def _curl(small: Float[ndarray, "h w 3"], known: Bool[ndarray, "h w"], axes: tuple[bool, int, int]) -> float:
    """Curl of the slopes by their change, with x and y swapped or negated; 0 if too few pixels show it."""
    swapped, right_sign, up_sign = axes
    right, up, toward = np.moveaxis(small, -1, 0)
    if swapped:
        right, up = up, right
    right, up = right * right_sign, up * up_sign
    height, width = known.shape
    reach = _FOCAL * max(height, width)
    x = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / reach
    y = (height / 2 - 0.5 - np.arange(height, dtype=np.float32)) / reach
    facing = toward - right * x - up * y[:, None]
    seen = known & (facing > _FACING)
    p, q = (slope / np.where(seen, facing, 1) for slope in (right, up))
    inner = cv2.erode(seen.astype(np.uint8), np.ones((3, 3), np.uint8))[1:-1, 1:-1] > 0
    (p_y, p_x), (q_y, q_x) = (((v[:-2, 1:-1] - v[2:, 1:-1]) / 2, (v[1:-1, 2:] - v[1:-1, :-2]) / 2) for v in (p, q))
    change = np.abs(p_x) + np.abs(p_y) + np.abs(q_x) + np.abs(q_y)
    inner &= change > _CHANGE_LEAST
    if np.count_nonzero(inner) < _PIXELS_LEAST * known.size:
        return 0.0
    return float(np.minimum(np.abs(p_y - q_x), _CURL_MOST)[inner].sum() / change[inner].sum())
