"""Input files of a command: folders, globs, photos and videos, with a unique key per file."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from distill.errors import UsageError
from distill.images import SUFFIXES
from distill.shards import MANIFEST
from distill.video import SUFFIXES as VIDEO_SUFFIXES
from distill.video import is_video

_UNREADABLE_SUFFIXES = frozenset({".heic", ".heif", ".raw", ".cr2", ".nef", ".dng", ".arw", ".psd", ".jxl"})
"""Photos that cannot be decoded: listed with a reason instead of ignored."""
PHOTO_SUFFIXES = SUFFIXES | _UNREADABLE_SUFFIXES


@dataclass(frozen=True, slots=True)
class UnreadablePhoto:
    """A photo that cannot be used, and the reason."""

    name: str
    reason: str


@dataclass(slots=True)
class FolderContents:
    """Files below a folder, sorted by relative path.

    Attributes:
        files: (path, relative path) of files with a wanted suffix.
        ignored: Relative paths of the other files.
        unreadable: Folders that cannot be read.
    """

    files: list[tuple[Path, str]] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    unreadable: list[UnreadablePhoto] = field(default_factory=list)


def expand(entry: str) -> list[Path]:
    """The path itself, or the photos and videos that a glob matches.

    Raises:
        UsageError: Neither a path nor a glob with matches.
    """
    if Path(entry).exists():
        return [Path(entry)]
    # Path.glob cannot start from an absolute pattern before Python 3.13.
    matches = [Path(match) for match in sorted(glob.glob(entry, recursive=True))]  # noqa: PTH207
    if not matches:
        raise UsageError(f"{entry}: no such file, folder or glob", hint="check the path")
    return [path for path in matches if path.is_file() and (path.suffix.lower() in PHOTO_SUFFIXES or is_video(path))]


def is_shards(folder: Path) -> bool:
    """Whether a folder contains shards; False if it cannot be read."""
    try:
        return (folder / MANIFEST).is_file()
    except OSError:
        return False


def walk(folder: Path, *, suffixes: Collection[str] = PHOTO_SUFFIXES, leave_out: Sequence[Path] = ()) -> FolderContents:
    """The files below a folder. Hidden files and folders are skipped; links to folders are followed, each folder once.

    Args:
        folder: Where to start.
        suffixes: Wanted suffixes, in lower case with dot.
        leave_out: Folders to skip.
    """
    seen = {path.resolve() for path in leave_out}
    contents = FolderContents()

    def relative(path: Path) -> str:
        return path.relative_to(folder).as_posix()

    def on_error(error: OSError) -> None:
        name = printable(relative(Path(error.filename)))
        contents.unreadable.append(UnreadablePhoto(name, f"cannot be read: {error.strerror}"))

    for place, folders, names in os.walk(folder, onerror=on_error, followlinks=True):
        root = Path(place)
        if root.resolve() in seen:
            folders.clear()
            continue
        seen.add(root.resolve())
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if name.startswith("."):
                continue
            if Path(name).suffix.lower() in suffixes:
                contents.files.append((root / name, relative(root / name)))
            else:
                contents.ignored.append(relative(root / name))
    contents.files.sort(key=lambda item: item[1])
    contents.ignored.sort()
    contents.unreadable.sort(key=lambda item: item.name)
    return contents


def printable(name: str) -> str:
    """A file name as valid UTF-8; other bytes become a question mark."""
    return name.encode(errors="surrogateescape").decode(errors="replace")


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


@dataclass(frozen=True, slots=True)
class FileInput:
    """One input file.

    Attributes:
        path: The file.
        name: Name in messages: relative to the given folder.
        key: Unique among all inputs; without dot and slash; part of the names of its outputs.
        video: Whether it is read as a video.
    """

    path: Path
    name: str
    key: str
    video: bool


def find_inputs(inputs: Sequence[str]) -> list[FileInput]:
    """The photos and videos behind folders, globs and paths, in order, each once.

    A file that is named directly is taken with any suffix; it fails later, with a reason, if it cannot be read.

    Raises:
        UsageError: An input does not exist, or there are no photos and no videos.
    """
    suffixes = SUFFIXES | VIDEO_SUFFIXES
    found: dict[Path, str] = {}
    for entry in inputs:
        for path in expand(entry):
            if path.is_dir():
                for file, name in walk(path, suffixes=suffixes).files:
                    found.setdefault(file, name)
            elif path == Path(entry) or path.suffix.lower() in suffixes:
                found.setdefault(path, path.name)
    if not found:
        raise UsageError(
            f"{', '.join(inputs)}: no photos or videos there", hint="give photos, folders, globs or videos"
        )
    keys = unique_keys(list(found.values()))
    return [FileInput(path, name, key, is_video(path)) for (path, name), key in zip(found.items(), keys, strict=True)]
