"""What lies behind the words that a user gave: photos in folders and globs, and folders that cannot be read."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distill.errors import UsageError
from distill.images import SUFFIXES
from distill.shards import MANIFEST
from distill.video import is_video

_UNREADABLE_SUFFIXES = frozenset({".heic", ".heif", ".raw", ".cr2", ".nef", ".dng", ".arw", ".psd", ".jxl"})
"""Photos all the same: listed with a reason rather than passed over."""
_PHOTO_SUFFIXES = SUFFIXES | _UNREADABLE_SUFFIXES


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A photo that cannot be used, and why."""

    name: str
    reason: str


def expand(word: str) -> list[Path]:
    """The path itself, or what a glob matches; of a glob, folders and files that are no pictures are left out."""
    if Path(word).exists():
        return [Path(word)]
    # Path.glob cannot start from an absolute pattern before Python 3.13.
    matches = [Path(match) for match in sorted(glob.glob(word, recursive=True))]  # noqa: PTH207
    if not matches:
        raise UsageError(f"{word}: no such file, folder or glob", hint="check the path")
    return [path for path in matches if path.is_file() and (path.suffix.lower() in _PHOTO_SUFFIXES or is_video(path))]


def is_shards(folder: Path) -> bool:
    """Whether a folder holds shards; one that cannot be looked into does not."""
    try:
        return (folder / MANIFEST).is_file()
    except OSError:
        return False


def walk(folder: Path, leave_out: Sequence[Path]) -> tuple[list[tuple[Path, str]], list[str], list[Unreadable]]:
    """(photos, other files, folders that cannot be read) below a folder, sorted by relative path.

    Hidden files and folders are left out. Links to folders are followed, each folder once.
    """
    seen = {path.resolve() for path in leave_out}
    photos: list[tuple[Path, str]] = []
    others: list[str] = []
    closed: list[Unreadable] = []

    def relative(path: Path) -> str:
        return path.relative_to(folder).as_posix()

    def refuse(error: OSError) -> None:
        closed.append(Unreadable(printable(relative(Path(error.filename))), f"cannot be read: {error.strerror}"))

    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        root = Path(place)
        if root.resolve() in seen:
            folders.clear()
            continue
        seen.add(root.resolve())
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if name.startswith("."):
                continue
            if Path(name).suffix.lower() in _PHOTO_SUFFIXES:
                photos.append((root / name, relative(root / name)))
            else:
                others.append(relative(root / name))
    closed.sort(key=lambda item: item.name)
    return sorted(photos, key=lambda item: item[1]), sorted(others), closed


def printable(name: str) -> str:
    """A file name that can be written as UTF-8; bytes that are none become a question mark."""
    return name.encode(errors="surrogateescape").decode(errors="replace")
