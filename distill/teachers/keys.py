"""Sample keys from photo names: readable, stable, no two alike."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import PurePosixPath


def unique_keys(names: Sequence[str]) -> list[str]:
    """A sample key for each photo name: readable, without dots, and no two equal even where case does not count.

    A name that had to be changed, or that would collide (``a.jpg`` with ``a.png`` or ``A.jpg``), carries eight hex
    digits of its hash, so that a key never depends on the order of the photos.
    """
    stems = [str(PurePosixPath(name).with_suffix("")) for name in names]
    safe = [safe_key(stem) for stem in stems]
    seen: dict[str, int] = {}
    for key in safe:
        seen[key.casefold()] = seen.get(key.casefold(), 0) + 1
    keys = []
    for name, stem, key in zip(names, stems, safe, strict=True):
        # A key that ends in --2 is the second lesson about a photo.
        plain = seen[key.casefold()] == 1 and key == stem.replace("/", "_") and not re.search(r"--\d+$", key)
        digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()
        keys.append(key if plain else f"{key}-{digest[:8]}")
    return _apart(keys)


def _apart(keys: list[str]) -> list[str]:
    """Number what still collides: the same file name given twice from two folders."""
    seen: dict[str, int] = {}
    result = []
    for key in keys:
        count = seen[key.casefold()] = seen.get(key.casefold(), 0) + 1
        result.append(key if count == 1 else f"{key}-{count}")
    return result


def safe_key(stem: str) -> str:
    """Letters, digits, dash and underscore; at most 80 characters."""
    return re.sub(r"[^\w-]", "_", stem.replace("/", "_"), flags=re.ASCII)[:80] or "photo"
