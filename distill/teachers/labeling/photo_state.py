"""State of a photo and of the files that decide its labels, so that a resumed job labels again what has changed.

As in version control: a file whose size and times are the same is unchanged; with other times, its digest decides.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from distill.errors import DistillError
from distill.files import MAX_FILE_BYTES
from distill.shards import file_sha256
from distill.teachers.base import Dependencies, PhotoRef, Teacher, dependencies_of
from distill.teachers.labeling.photo_sources import Source


class FileState(NamedTuple):
    """Size, times of last change, and digest of a file; size -1 if there is none, no digest if it is not known."""

    size: int
    mtime_ns: int
    ctime_ns: int
    sha256: str = ""


class PhotoState(BaseModel):
    """State of one photo when it was labeled.

    Attributes:
        name: Of the photo.
        text: Digest of what is not in files, such as rows of a manifest.
        files: The photo, its label maps, its generated images, in a fixed order.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    text: str
    files: tuple[FileState, ...]


def find_dependencies(source: Source, position: int, name: str, teacher: Teacher) -> tuple[PhotoRef, Dependencies]:
    """(the photo; what its labels depend on, the photo itself first)."""
    photo, own = source.photo(position), source.dependencies(position)
    try:
        other = dependencies_of(teacher, photo)
    except DistillError as error:  # such as a missing map: the photo is labeled when it is there
        other = Dependencies(error.message)
    return PhotoRef(name, photo.origin), Dependencies(f"{own.text}\n{other.text}", own.files + other.files)


def state_before(photo: PhotoRef, found: Dependencies) -> PhotoState:
    """State before the photo is labeled, without digests."""
    return PhotoState(name=photo.name, text=_digest(found.text), files=tuple(map(_stat, found.files)))


def with_digests(state: PhotoState, found: Dependencies, known: Mapping[Path, str]) -> PhotoState:
    """The state with digests, for later comparisons; `known` holds those of files that were read already.

    A file that changed since `state` was taken gets no digest: the label may be of the old one.
    """
    files = []
    for before, path in zip(state.files, found.files, strict=True):
        digest = known.get(path) or (_sha256(path) if before.size >= 0 else "")
        files.append(before._replace(sha256=digest if _stat(path)[:3] == before[:3] else ""))
    return state.model_copy(update={"files": tuple(files)})


def describe_change(before: PhotoState, photo: PhotoRef, found: Dependencies) -> str:
    """What has changed since the photo was labeled, such as ``maps/a.png has changed``; empty if nothing has."""
    if before.text != _digest(found.text) or len(before.files) != len(found.files):
        return f"the files or rows for {photo.name} have changed"
    for old, path in zip(before.files, found.files, strict=True):
        now = _stat(path)
        if now[:3] == old[:3]:
            continue
        if now.size != old.size or not old.sha256 or _sha256(path) != old.sha256:
            what = "is missing" if now.size < 0 else "is new" if old.size < 0 else "has changed"
            return f"{os.path.normpath(path)} {what}"
    return ""


def _stat(path: Path) -> FileState:
    try:
        info = path.stat()
    except OSError:
        return FileState(-1, 0, 0)
    return FileState(info.st_size, info.st_mtime_ns, info.st_ctime_ns)


def _sha256(path: Path) -> str:
    try:
        info = path.stat()
        return file_sha256(path) if stat.S_ISREG(info.st_mode) and info.st_size <= MAX_FILE_BYTES else ""
    except OSError:
        return ""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest() if text.strip() else ""
