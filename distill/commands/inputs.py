"""The files behind the words on a command line: photos and videos, files, folders and globs, each with a key."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distill.errors import UsageError
from distill.images import SUFFIXES


@dataclass(frozen=True, slots=True)
class Input:
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


def find_inputs(words: Sequence[str]) -> list[Input]:
    """The photos and videos that these words name, in order, each once; folders are walked, hidden files left out.

    A file that is named outright is taken whatever its suffix; it fails later, with a reason, if it is neither.

    Raises:
        UsageError: A word names nothing, or nothing in all of them is a photo or a video.
    """
    from distill.inputs import unique_keys
    from distill.video import SUFFIXES as VIDEO_SUFFIXES
    from distill.video import is_video

    found: dict[Path, str] = {}
    for word in words:
        path = Path(word)
        if path.is_dir():
            inside = (file for file in sorted(path.rglob("*")) if file.is_file() and not _hidden(file, path))
            wanted = [(file, file.relative_to(path).as_posix()) for file in inside]
        elif path.is_file():
            found.setdefault(path, path.name)
            continue
        else:
            # Path.glob cannot start from an absolute pattern before Python 3.13.
            matches = [Path(match) for match in sorted(glob.glob(word, recursive=True))]  # noqa: PTH207
            if not matches:
                raise UsageError(f"{word}: no such file, folder or glob", hint="check the path")
            wanted = [(file, file.name) for file in matches if file.is_file()]
        for file, name in wanted:
            if file.suffix.lower() in SUFFIXES | VIDEO_SUFFIXES:
                found.setdefault(file, name)
    if not found:
        raise UsageError(f"{', '.join(words)}: no photos or videos there", hint="give photos, folders, globs or videos")
    keys = unique_keys(list(found.values()))
    return [Input(path, name, key, is_video(path)) for (path, name), key in zip(found.items(), keys, strict=True)]


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)
