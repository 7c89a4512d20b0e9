"""Files of data sets that others made: bounded, inside of their folder, with the file in every error."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from distill.errors import DistillError, UsageError
from distill.files import MAX_FILE_BYTES, read_file, read_json
from distill.images import Photo, read_photo
from distill.images.file_format import SUFFIXES
from distill.inputs.keys import unique_keys

MAX_ANNOTATION_BYTES = 1024 * 1024 * 1024
"""Of one annotation file: that of COCO's training photos has 450 MB."""


def read_annotations(path: Path) -> Any:
    """Parse a JSON file of annotations.

    Raises:
        DistillError: It cannot be read.
    """
    try:
        return read_json(path, MAX_ANNOTATION_BYTES)
    except OSError as error:
        raise DistillError(
            f"{path}: cannot be read: {error.strerror}", hint="give the folder of the data set"
        ) from error
    except (ValueError, MemoryError) as error:
        raise DistillError(f"{path}: is no JSON: {error}", hint="export or copy it again") from error


def read_bytes(path: Path, limit: int = MAX_FILE_BYTES) -> bytes:
    """The bytes of a file of the data set.

    Raises:
        DistillError: It is missing, no regular file, or too large.
    """
    try:
        return read_file(path, limit)
    except OSError as error:
        raise DistillError(f"{path}: cannot be read: {error.strerror}", hint="copy the data set again") from error


def inside(folder: Path, name: str, where: str) -> Path:
    """A file that annotations name, in the folder of the photos or below it.

    Raises:
        DistillError: The name leads out of the folder.
    """
    path = folder / name.replace("\\", "/")
    if not name or "\0" in name or not path.resolve().is_relative_to(folder.resolve()):
        raise DistillError(f"{where}: the file name {name!r} leads out of {folder}", hint="correct the annotations")
    return path


def load_photo(path: Path, key: str, name: str) -> Photo:
    """Decode the photo of a sample.

    Raises:
        DistillError: It cannot be read.
    """
    return read_photo(read_bytes(path), key=key, name=name)


def photo_files(folder: Path) -> dict[str, Path]:
    """Photos in and below a folder by relative name without suffix, in order.

    Raises:
        UsageError: There is none.
        DistillError: Two photos differ in their suffix only.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder", hint="give the folder of the data set, or --images DIR")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.is_file():
            stem = path.relative_to(folder).with_suffix("").as_posix()
            if stem in found:
                raise DistillError(f"{path}: {found[stem].name} has the same name", hint="rename one of them")
            found[stem] = path
    if not found:
        raise UsageError(f"{folder}: has no photos", hint="give the folder of the data set, or --images DIR")
    return found


def sample_keys(names: Sequence[str]) -> dict[str, str]:
    """Sample key of each photo name."""
    return dict(zip(names, unique_keys(list(names)), strict=True))


def read_names(path: Path) -> tuple[str, ...]:
    """Class names, one a line; the first is that of id 0.

    Raises:
        UsageError: Missing, empty, or a name comes twice.
    """
    if not path.is_file():
        raise UsageError(
            f"{path}: missing", hint="write one class name a line, that of id 0 first, or give --classes FILE"
        )
    try:
        names = tuple(line.strip() for line in read_bytes(path).decode("utf-8-sig").rstrip().splitlines())
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is no UTF-8 text", hint="save it as UTF-8") from error
    for number, name in enumerate(names):
        if not name or name in names[:number]:
            raise UsageError(f"{path}, line {number + 1}: {name!r} is empty or comes twice", hint="give each id a name")
    if not 0 < len(names) <= 255:
        raise UsageError(f"{path}: has {len(names)} classes", hint="a map holds 1 to 255")
    return names


def certain(valid: Bool[ndarray, "h w"]) -> ndarray:
    """Confidence of labels whose format has none: 1 where valid."""
    return valid.astype(np.float32)
