"""Perceptual hash of a photo, to find frames of one clip and copies of one photo among training photos."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import Int64, UInt8, UInt64
from numpy import ndarray

MAX_COPY_BITS = 10
"""Largest number of different bits of 128 between a photo and a re-saved or resized copy: copies of 52 photos (quality
40, 0.5 and 0.3 of the size) differed by up to 8 bits, different photos by 31 and more, frames of one drive included."""
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


def group_copies(bits: UInt64[ndarray, "n 2"], max_bits: int = MAX_COPY_BITS) -> Int64[ndarray, " n"]:
    """Number of the group of each hash: hashes with at most `max_bits` different bits share one, directly or in chains.

    Two hashes that differ in k bits agree in at least one of k + 1 bands, so only hashes that share a band are
    compared, and those that are in one group already are not: a camera that does not move gives thousands.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    unique, inverse = np.unique(bits, axis=0, return_inverse=True)
    group = np.arange(len(unique))
    flat = np.unpackbits(unique.view(np.uint8), axis=1)
    for band in np.array_split(np.arange(flat.shape[1]), max_bits + 1):
        keys = flat[:, band] @ (1 << np.arange(len(band), dtype=np.int64))
        rows = np.argsort(keys, kind="stable")
        _, starts, sizes = np.unique(keys[rows], return_index=True, return_counts=True)
        bucket, near = np.repeat(np.arange(len(starts)), sizes), np.arange(len(rows))
        for step in range(1, len(rows)):
            if step & (step - 1) == 0:  # buckets that are one group have nothing left to find
                groups = group[rows]
                mixed = np.minimum.reduceat(groups, starts) != np.maximum.reduceat(groups, starts)
                near = near[mixed[bucket[near]]]
            near = near[: np.searchsorted(near, len(rows) - step)]
            near = near[bucket[near] == bucket[near + step]]
            if not near.size:
                break
            one, other = rows[near], rows[near + step]
            apart = group[one] != group[other]
            one, other = one[apart], other[apart]
            alike = different_bits(unique[one], unique[other]) <= max_bits
            if alike.any():
                edges = group[one[alike]], group[other[alike]]
                joined = coo_array((np.ones(len(edges[0]), bool), edges), shape=(len(unique), len(unique)))
                group = connected_components(joined, directed=False)[1][group]
    found: ndarray = group[inverse].astype(np.int64)
    return found


def keep_different(hashes: Sequence[int | str], order: Iterable[int], max_bits: int = MAX_COPY_BITS) -> list[int]:
    """The photo to keep for each photo: itself, or one before it in `order` that looks the same and is kept itself.

    Args:
        hashes: Bits of each photo as a number; a text (a digest, of a photo without a hash) is like the same text only.
        order: All photos, the best first.
        max_bits: Largest number of different bits of two photos that look the same.
    """
    kept_of = list(range(len(hashes)))
    bounds = [round(HASH_BITS * band / (max_bits + 1)) for band in range(max_bits + 2)]
    bands = [(low, (1 << (high - low)) - 1) for low, high in pairwise(bounds)]
    known: dict[tuple[int, int], list[int]] = {}
    texts: dict[str, int] = {}
    for number in order:
        bits = hashes[number]
        if isinstance(bits, str):
            kept_of[number] = texts.setdefault(bits, number)
            continue
        places = [(low, (bits >> low) & mask) for low, mask in bands]
        alike = (
            other
            for place in places
            for other in known.get(place, ())
            if (bits ^ int(hashes[other])).bit_count() <= max_bits
        )
        kept_of[number] = next(alike, number)
        if kept_of[number] == number:
            for place in places:
                known.setdefault(place, []).append(number)
    return kept_of
