"""Perceptual hash of a photo, to find frames of one clip and copies of one photo among training photos."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from jaxtyping import UInt8, UInt64
from numpy import ndarray

MAX_COPY_BITS = 10
"""Largest number of different bits of 128 between a photo and a re-saved or resized copy; different photos differ by 31
and more (see `distill.evaluation.near_duplicates`)."""
_SIDE = 8
HASH_BITS = 2 * _SIDE**2
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
    counts = np.bitwise_count(first ^ second)
    total: ndarray = counts[..., 0] + counts[..., 1]  # several times faster than a sum over an axis of two
    return total


def find_copies(bits: UInt64[ndarray, "n 2"], max_bits: int = MAX_COPY_BITS) -> Iterator[tuple[int, int]]:
    """Pairs (row, later row) of hashes with at most `max_bits` different bits; equal hashes form a chain.

    Two hashes that differ in k bits agree in at least one of k + 1 bands, so only hashes that share a band are
    compared. A pair may come more than once.
    """
    unique, first, inverse = np.unique(bits, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    same = inverse[order][1:] == inverse[order][:-1]
    yield from zip(order[:-1][same].tolist(), order[1:][same].tolist(), strict=True)
    flat = np.unpackbits(unique.view(np.uint8), axis=1)
    for band in np.array_split(np.arange(flat.shape[1]), max_bits + 1):
        keys = flat[:, band] @ (1 << np.arange(len(band), dtype=np.int64))
        rows = np.argsort(keys, kind="stable")
        keys, near = keys[rows], np.arange(len(rows))
        for step in range(1, len(rows)):
            near = near[: np.searchsorted(near, len(rows) - step)]
            near = near[keys[near] == keys[near + step]]
            if not near.size:
                break
            alike = near[different_bits(unique[rows[near]], unique[rows[near + step]]) <= max_bits]
            pairs = np.sort(first[np.stack([rows[alike], rows[alike + step]], 1)], axis=1)
            yield from map(tuple, pairs.tolist())
