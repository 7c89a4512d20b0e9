"""Perceptual hash of a photo, to find frames of one clip and copies of one photo among training photos."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import UInt8, UInt64
from numpy import ndarray

MAX_COPY_BITS = 10
"""Largest number of different bits of 128 between a photo and a re-saved or resized copy; different photos differ by 31
and more (see `distill.evaluation.near_duplicates`)."""
_SIDE = 8
_SHRUNK_PX = 72
_FLAT_LEVELS = 2.5
"""A photo whose cells differ by less has no hash."""


def hash_photo(rgb: UInt8[ndarray, "h w 3"]) -> str:
    """128 bits in hex: whether each of 8x8 cells is brighter than its right and its lower neighbor; "" if flat."""
    gray = cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), (_SHRUNK_PX, _SHRUNK_PX), interpolation=cv2.INTER_AREA)
    cells = cv2.resize(gray.astype(np.float32), (_SIDE + 1, _SIDE + 1), interpolation=cv2.INTER_AREA)
    if np.ptp(cells) < _FLAT_LEVELS:
        return ""
    across, down = cells[:-1, :-1] > cells[:-1, 1:], cells[:-1, :-1] > cells[1:, :-1]
    return np.packbits(np.stack([across, down])).tobytes().hex()


def read_hash(text: str) -> UInt64[ndarray, " 2"] | None:
    """The bits of a stored hash; None for photos without one."""
    try:
        data = bytes.fromhex(text)
    except ValueError:
        return None
    return np.frombuffer(data, np.uint64) if len(data) == 2 * _SIDE**2 // 8 else None


def different_bits(first: UInt64[ndarray, "*n 2"], second: UInt64[ndarray, "*m 2"]) -> UInt8[ndarray, "*k"]:
    """Number of different bits of each pair."""
    counts: ndarray = np.bitwise_count(first ^ second).sum(axis=-1, dtype=np.uint8)
    return counts
