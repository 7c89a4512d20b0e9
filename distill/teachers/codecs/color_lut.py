"""Codes of colors, computed once per color and remembered: how every decoder is exact and fast at the same time.

An answer of a million pixels holds some ten thousand different colors, nearly all of which earlier answers held too.
So a decoder is written as an exact function of colors, however slow, and is asked for each color only once.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Float, UInt8, UInt16, UInt32
from numpy import ndarray

_CHUNK = 1 << 16
"""Colors per call of the exact function: keeps its temporaries in the tens of megabytes."""

HALF_UNITS = 2
"""Distances are kept in half units of 8-bit color, 0 to 127.5."""


class ColorLUT:
    """A table of 2^24 codes (64 MiB, touched page by page), filled as colors are met.

    A code is ``(answer + 1) << 16 | second << 8 | residual``; 0 means not yet computed.
    """

    def __init__(self, read: Callable[[UInt8[ndarray, "n 3"]], tuple[ndarray, ndarray, ndarray]]) -> None:
        """Take the exact function: colors to (answer in 0..65534, a second byte, distance in 8-bit units)."""
        self._read = read
        self._codes = np.zeros(1 << 24, np.uint32)

    def look_up(self, generated: UInt8[ndarray, "h w 3"]) -> UInt32[ndarray, "h w"]:
        """The code of every pixel."""
        # Four channels read as one little-endian integer: 0.3 ms per megapixel, against 6 ms for shifts and sums.
        index = cv2.cvtColor(generated, cv2.COLOR_RGB2RGBA).view(np.uint32)[..., 0] & 0xFFFFFF
        index = index.astype(np.intp)
        codes = self._codes.take(index, mode="clip")
        if not codes.all():
            self._fill(np.unique(index[codes == 0]))
            codes = self._codes.take(index, mode="clip")
        return codes

    def _fill(self, index: ndarray) -> None:
        for start in range(0, index.size, _CHUNK):
            part = index[start : start + _CHUNK]
            colors = np.stack([part & 255, part >> 8 & 255, part >> 16], axis=-1).astype(np.uint8)
            answer, second, distance = self._read(colors)
            # Rounded up, so that "at most tau" stays exact for every tau in half units.
            residual = np.minimum(np.ceil(distance * HALF_UNITS - 1e-6), 255).astype(np.uint32)
            self._codes[part] = (answer.astype(np.uint32) + 1) << 16 | second.astype(np.uint32) << 8 | residual


def values_of(codes: UInt32[ndarray, "h w"]) -> UInt16[ndarray, "h w"]:
    """The answers in these codes."""
    return cv2.extractChannel(codes.view(np.uint16).reshape(*codes.shape, 2), 1) - np.uint16(1)


def second_values_of(codes: UInt32[ndarray, "h w"]) -> UInt8[ndarray, "h w"]:
    """The second bytes of these codes."""
    return cv2.extractChannel(codes.view(np.uint8).reshape(*codes.shape, 4), 1)


def residuals_of(codes: UInt32[ndarray, "h w"]) -> UInt8[ndarray, "h w"]:
    """The distances in these codes, in half units of 8-bit color, capped at 255."""
    return cv2.extractChannel(codes.view(np.uint8).reshape(*codes.shape, 4), 0)


def gaussian_weight(sigma: float) -> Float[ndarray, " 256"]:
    """Trust in a residual of 0 to 127.5 units: 1 at 0, a bell of this width; for `cv2.LUT`."""
    distance = np.arange(256) / HALF_UNITS
    return np.exp(-0.5 * (distance / sigma) ** 2).astype(np.float32)
