"""Was a photo of the test in the training set? By perceptual hash, so that a re-saved or resized copy is found too."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8, UInt64
from numpy import ndarray
from PIL import Image, ImageOps

from distill.images import MAX_PIXELS
from distill.shards import Sample

MAX_BITS = 10
"""Of 128 bits that may differ. Copies of 52 photos (quality 40, 0.5 and 0.3 of the size) differed by up to 8
bits, different photos by 31 and more, frames of one drive among them."""
_SIDE = 8
_FLAT = 0.01
"""Of the largest level: a picture whose cells differ by less shows nothing that it could be known by."""


@dataclass(frozen=True, slots=True)
class Twin:
    """Two photos that look the same.

    Attributes:
        photo: In the test.
        other: In the training set.
        bits: Of 128 that differ.
    """

    photo: str
    other: str
    bits: int


def photo_hash(data: bytes) -> UInt64[ndarray, " 2"] | None:
    """128 bits: is each of 8x8 cells brighter than its right neighbor, than its lower one?

    None for a broken photo, and for one of a single color.
    """
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                return None
            picture.draft("L", (8 * _SIDE, 8 * _SIDE))
            upright = ImageOps.exif_transpose(picture)
            deep = upright.mode.startswith(("I", "F"))
            # Pillow cuts levels of 16 bits off at 255 when it converts them.
            gray = Image.fromarray(np.asarray(upright, np.float32)) if deep else upright.convert("L")
            cells = np.asarray(gray.resize((_SIDE + 1, _SIDE + 1), Image.Resampling.BOX), np.float32)
    except Exception:  # Pillow's plug-ins raise nearly anything on broken bytes
        return None
    if np.ptp(cells) < _FLAT * max(1.0, float(np.abs(cells).max())):
        return None
    across, down = cells[:-1, :-1] > cells[:-1, 1:], cells[:-1, :-1] > cells[1:, :-1]
    return np.packbits(np.stack([across, down])).view(np.uint64)


class TwinFinder:
    """Photos of a training set, to be asked for look-alikes."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        names, hashes = [], []
        for sample in samples:
            found = photo_hash(sample.photo)
            if found is not None:
                names.append(str(sample.meta.get("name", sample.key)))
                hashes.append(found)
        self._names, self._hashes = names, np.array(hashes, np.uint64).reshape(-1, 2)

    def __len__(self) -> int:
        """How many photos it knows."""
        return len(self._names)

    def find(self, name: str, data: bytes) -> Twin | None:
        """The photo of the training set that looks like this one, if there is one."""
        wanted = photo_hash(data)
        if wanted is None or not self._names:
            return None
        bits = _count_bits(self._hashes ^ wanted)
        nearest = int(bits.argmin())
        return Twin(name, self._names[nearest], int(bits[nearest])) if bits[nearest] <= MAX_BITS else None


def _count_bits(values: UInt64[ndarray, "n 2"]) -> UInt8[ndarray, " n"]:
    return np.bitwise_count(values).sum(axis=1, dtype=np.uint8)
