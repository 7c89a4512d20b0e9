"""Compression noise of generated images in flat colors: how strong it is, and the flat colors without it.

JPEG rings around every border of two colors, and halves the resolution of color: an object of 15 px loses a third of
its pixels to colors that are neither its own nor the background's.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

NOISY = 2.0
"""Noise from which an image counts as compressed with losses. Measured on 13 real images: PNG 1 at most, JPEG of
quality 95 and 4:2:0 at least 3, 75 at least 5; very small objects at quality 95 have 2."""
_MAX_NOISE = 16.0
"""More is texture or shading: JPEG of quality 60 has 10 on flat colors."""
_FLAT_STEP, _MIN_FLAT = 6, 0.98
"""Away from borders, this fraction of the pixels of an image of flat colors changes by at most this much over 3x3
pixels: 0.985 or more after JPEG of quality 60; photos have 0.3 to 0.97."""
_BORDER_STEP = 40
"""Change over 3x3 pixels, in any channel, of a border between two colors."""
_NEAR_PX, _FAR_PX = 2, 7
"""Noise is measured this far from a border: blends are nearer, and JPEG's blocks end farther away."""
_BAND_PX, _ENOUGH = 64, 4000
"""Height of a band, and number of pixels next to borders in half of an image from which that half is enough."""
_ROUNDS = 3
_REACH = 2
"""Side of the filter's windows minus 1."""


def color_noise(generated: UInt8[ndarray, "h w 3"]) -> float:
    """90th percentile of the distance to the local median, next to borders, in 8-bit units.

    0 for an image without borders, and for one that is not of flat colors, such as a photo. Of a large image, every
    other band is measured if that has enough borders.
    """
    if generated.shape[0] > 4 * _BAND_PX:
        bands = [generated[top : top + _BAND_PX] for top in range(0, generated.shape[0] - _BAND_PX, 2 * _BAND_PX)]
        counts, is_flat = _deviations(np.concatenate(bands))
        if not is_flat or counts.sum() > _ENOUGH:
            return _percentile(counts) if is_flat else 0.0
    counts, is_flat = _deviations(generated)
    return _percentile(counts) if is_flat else 0.0


def _deviations(generated: UInt8[ndarray, "h w 3"]) -> tuple[Float[ndarray, " 256"], bool]:
    """(histogram of distances to the local median next to borders, whether the image is of flat colors)."""
    middle = cv2.medianBlur(generated, 5)
    border = (_steps(middle) > _BORDER_STEP).astype(np.uint8)
    near, far = _grown(border, _NEAR_PX), _grown(border, _FAR_PX)
    away = far == 0
    num_flat = np.count_nonzero(away & (_steps(generated) <= _FLAT_STEP))
    is_flat = bool(away.any() and num_flat >= _MIN_FLAT * np.count_nonzero(away))
    deviation = _largest(cv2.absdiff(generated, middle))
    return cv2.calcHist([deviation], [0], cv2.subtract(far, near), [256], [0, 256]).ravel(), is_flat


def _percentile(counts: Float[ndarray, " 256"]) -> float:
    """90th percentile of a histogram; 0 for an empty one, and for texture."""
    total = float(counts.sum())
    noise = float(np.searchsorted(np.cumsum(counts), 0.9 * total)) if total else 0.0
    return noise if noise <= _MAX_NOISE else 0.0


def restore_flat_colors(generated: UInt8[ndarray, "h w 3"]) -> UInt8[ndarray, "h w 3"]:
    """The image with sharp borders between flat colors: a Kuwahara filter in rounds.

    Each pixel becomes the mean of that one of four 3x3 windows, of which it is a corner, that varies least. Pixels with
    equal neighbors stay as they are.
    """
    restored = generated
    for _ in range(_ROUNDS):
        restored = _kuwahara(restored)
    return restored


def _kuwahara(image: UInt8[ndarray, "h w 3"]) -> UInt8[ndarray, "h w 3"]:
    height, width = image.shape[:2]
    padded = cv2.copyMakeBorder(image, _REACH, _REACH, _REACH, _REACH, cv2.BORDER_REPLICATE).astype(np.float32)
    size = (_REACH + 1, _REACH + 1)
    mean = cv2.blur(padded, size, anchor=(0, 0))
    spread = cv2.subtract(cv2.blur(cv2.multiply(padded, padded), size, anchor=(0, 0)), cv2.multiply(mean, mean))
    variance = cv2.transform(spread, np.ones((1, 3), np.float32))
    least = chosen = None
    for top in (0, _REACH):
        for left in (0, _REACH):
            window = (slice(top, top + height), slice(left, left + width))
            if least is None or chosen is None:
                least, chosen = variance[window].copy(), mean[window].copy()
                continue
            nearer = (variance[window] < least).astype(np.uint8)
            cv2.copyTo(mean[window], nearer, chosen)
            least = cv2.min(least, variance[window])
    assert chosen is not None
    rounded: ndarray = np.rint(chosen).astype(np.uint8)
    return rounded


def _steps(image: UInt8[ndarray, "h w 3"]) -> UInt8[ndarray, "h w"]:
    """Range over 3x3 pixels, in the channel where it is largest."""
    return _largest(cv2.morphologyEx(image, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)))


def _largest(image: UInt8[ndarray, "h w 3"]) -> UInt8[ndarray, "h w"]:
    red, green, blue = cv2.split(image)
    return cv2.max(cv2.max(red, green), blue)


def _grown(mask: UInt8[ndarray, "h w"], reach: int) -> UInt8[ndarray, "h w"]:
    return cv2.dilate(mask, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
