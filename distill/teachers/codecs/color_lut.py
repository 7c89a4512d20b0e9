"""Lookup table of decoded colors, filled as colors appear.

An image of a million pixels has about ten thousand different colors, nearly all of which appeared in earlier images.
A decoder is an exact, possibly slow function of colors that is evaluated once per color.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Float, UInt8, UInt16, UInt32
from numpy import ndarray

_CHUNK = 1 << 16
"""Colors per call of the exact function, which limits its temporaries to tens of megabytes."""

HALF_UNITS = 2
"""Distances are stored in half units of 8-bit color, 0 to 127.5."""


class ColorLUT:
    """Table of 2^24 codes (64 MiB, allocated page by page).

    A code is ``(value + 1) << 16 | second << 8 | residual``; 0 means not yet computed.
    """

    def __init__(self, read: Callable[[UInt8[ndarray, "n 3"]], tuple[ndarray, ndarray, ndarray]]) -> None:
        """Set the exact function: colors to (value in 0..65534, a second byte, distance in 8-bit units)."""
        self._read = read
        self._codes = np.zeros(1 << 24, np.uint32)

    def look_up(self, generated: UInt8[ndarray, "h w 3"]) -> UInt32[ndarray, "h w"]:
        """Code of every pixel."""
        # Four channels read as one little-endian integer: 0.3 ms per megapixel, against 6 ms for shifts and sums.
        index = cv2.cvtColor(generated, cv2.COLOR_RGB2RGBA).view(np.uint32)[..., 0] & 0xFFFFFF
        index = index.astype(np.intp)
        codes: ndarray = self._codes.take(index, mode="clip")
        if not codes.all():
            self._fill(np.unique(index[codes == 0]))
            codes = self._codes.take(index, mode="clip")
        return codes

    def _fill(self, index: ndarray) -> None:
        for start in range(0, index.size, _CHUNK):
            part = index[start : start + _CHUNK]
            colors = np.stack([part & 255, part >> 8 & 255, part >> 16], axis=-1).astype(np.uint8)
            value, second, distance = self._read(colors)
            # Rounded up, so that "at most tau" stays exact for every tau in half units.
            residual = np.minimum(np.ceil(distance * HALF_UNITS - 1e-6), 255).astype(np.uint32)
            self._codes[part] = (value.astype(np.uint32) + 1) << 16 | second.astype(np.uint32) << 8 | residual


def values_of(codes: UInt32[ndarray, "h w"]) -> UInt16[ndarray, "h w"]:
    """Values of codes."""
    values: ndarray = cv2.extractChannel(codes.view(np.uint16).reshape(*codes.shape, 2), 1) - np.uint16(1)
    return values


def second_values_of(codes: UInt32[ndarray, "h w"]) -> UInt8[ndarray, "h w"]:
    """Second bytes of codes."""
    return cv2.extractChannel(codes.view(np.uint8).reshape(*codes.shape, 4), 1)


def residuals_of(codes: UInt32[ndarray, "h w"]) -> UInt8[ndarray, "h w"]:
    """Distances of codes, in half units of 8-bit color, at most 255."""
    return cv2.extractChannel(codes.view(np.uint8).reshape(*codes.shape, 4), 0)


def gaussian_weight(sigma: float) -> Float[ndarray, " 256"]:
    """Confidence for residuals of 0 to 127.5 units: Gaussian of this width, 1 at 0; for `cv2.LUT`."""
    distance = np.arange(256) / HALF_UNITS
    return np.exp(-0.5 * (distance / sigma) ** 2).astype(np.float32)
