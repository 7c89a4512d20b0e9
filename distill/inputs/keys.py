"""Sample keys of photos: unique, readable, without dots."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import PurePosixPath


def unique_keys(names: Sequence[str]) -> list[str]:
    """One sample key per photo name: readable, without dots, unique also where case is ignored.

    A name that had to be changed, or that would collide (``a.jpg`` with ``a.png`` or ``A.jpg``), gets eight hex digits
    of its hash, so that a key never depends on the order of the photos.
    """
    stems = [str(PurePosixPath(name).with_suffix("")) for name in names]
    safe = [safe_key(stem) for stem in stems]
    seen: dict[str, int] = {}
    for key in safe:
        seen[key.casefold()] = seen.get(key.casefold(), 0) + 1
    keys = []
    for name, stem, key in zip(names, stems, safe, strict=True):
        # A key that ends in --2 belongs to the second result of a photo.
        plain = seen[key.casefold()] == 1 and key == stem.replace("/", "_") and not re.search(r"--\d+$", key)
        digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()
        keys.append(key if plain else f"{key}-{digest[:8]}")
    return _numbered(keys)


def _numbered(keys: list[str]) -> list[str]:
    """Number the keys that still collide: the same file name from two folders."""
    seen: dict[str, int] = {}
    result = []
    for key in keys:
        count = seen[key.casefold()] = seen.get(key.casefold(), 0) + 1
        result.append(key if count == 1 else f"{key}-{count}")
    return result


def safe_key(stem: str) -> str:
    """Letters, digits, dash and underscore; at most 80 characters."""
    return re.sub(r"[^\w-]", "_", stem.replace("/", "_"), flags=re.ASCII)[:80] or "photo"
