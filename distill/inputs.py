"""What lies behind the words that a user gave: photos in folders and globs, and folders that cannot be read."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from distill.errors import UsageError
from distill.images import SUFFIXES
from distill.shards import MANIFEST
from distill.video import is_video

_UNREADABLE_SUFFIXES = frozenset({".heic", ".heif", ".raw", ".cr2", ".nef", ".dng", ".arw", ".psd", ".jxl"})
"""Photos all the same: listed with a reason rather than passed over."""
_PHOTO_SUFFIXES = SUFFIXES | _UNREADABLE_SUFFIXES


@dataclass(frozen=True, slots=True)
class UnreadablePhoto:
    """A photo that cannot be used, and why."""

    name: str
    reason: str


def expand(entry: str) -> list[Path]:
    """The path itself, or what a glob matches; of a glob, folders and files that are no pictures are left out."""
    if Path(entry).exists():
        return [Path(entry)]
    # Path.glob cannot start from an absolute pattern before Python 3.13.
    matches = [Path(match) for match in sorted(glob.glob(entry, recursive=True))]  # noqa: PTH207
    if not matches:
        raise UsageError(f"{entry}: no such file, folder or glob", hint="check the path")
    return [path for path in matches if path.is_file() and (path.suffix.lower() in _PHOTO_SUFFIXES or is_video(path))]


def is_shards(folder: Path) -> bool:
    """Whether a folder holds shards; one that cannot be looked into does not."""
    try:
        return (folder / MANIFEST).is_file()
    except OSError:
        return False


def walk(folder: Path, leave_out: Sequence[Path]) -> tuple[list[tuple[Path, str]], list[str], list[UnreadablePhoto]]:
    """(photos, other files, folders that cannot be read) below a folder, sorted by relative path.

    Hidden files and folders are left out. Links to folders are followed, each folder once.
    """
    seen = {path.resolve() for path in leave_out}
    photos: list[tuple[Path, str]] = []
    others: list[str] = []
    closed: list[UnreadablePhoto] = []

    def relative(path: Path) -> str:
        return path.relative_to(folder).as_posix()

    def refuse(error: OSError) -> None:
        closed.append(UnreadablePhoto(printable(relative(Path(error.filename))), f"cannot be read: {error.strerror}"))

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


@dataclass(frozen=True, slots=True)
class FileInput:
    """One file to work on.

    Attributes:
        path: The file.
        name: As the user would say it: relative to the folder that was given.
        key: Unique among all inputs; holds no dot and no slash; names what is written for it.
        video: Whether it is read as a video.
    """

    path: Path
    name: str
    key: str
    video: bool


def find_inputs(inputs: Sequence[str]) -> list[FileInput]:
    """The photos and videos that these words name, in order, each once; folders are walked, hidden files left out.

    A file that is named outright is taken whatever its suffix; it fails later, with a reason, if it is neither.

    Raises:
        UsageError: A word names nothing, or nothing in all of them is a photo or a video.
    """
    from distill.inputs import unique_keys
    from distill.video import SUFFIXES as VIDEO_SUFFIXES
    from distill.video import is_video

    found: dict[Path, str] = {}
    for entry in inputs:
        path = Path(entry)
        if path.is_dir():
            inside = (file for file in sorted(path.rglob("*")) if file.is_file() and not _hidden(file, path))
            wanted = [(file, file.relative_to(path).as_posix()) for file in inside]
        elif path.is_file():
            found.setdefault(path, path.name)
            continue
        else:
            # Path.glob cannot start from an absolute pattern before Python 3.13.
            matches = [Path(match) for match in sorted(glob.glob(entry, recursive=True))]  # noqa: PTH207
            if not matches:
                raise UsageError(f"{entry}: no such file, folder or glob", hint="check the path")
            wanted = [(file, file.name) for file in matches if file.is_file()]
        for file, name in wanted:
            if file.suffix.lower() in SUFFIXES | VIDEO_SUFFIXES:
                found.setdefault(file, name)
    if not found:
        raise UsageError(
            f"{', '.join(inputs)}: no photos or videos there", hint="give photos, folders, globs or videos"
        )
    keys = unique_keys(list(found.values()))
    return [FileInput(path, name, key, is_video(path)) for (path, name), key in zip(found.items(), keys, strict=True)]


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)
