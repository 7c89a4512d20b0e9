"""Files: bounded reads of files that may come from others, and writes that are complete or absent."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

from distill.errors import DistillError, UsageError

MAX_FILE_BYTES = 512 * 1024 * 1024
"""Larger files and shard members are refused before reading."""
MAX_JSON_BYTES = 64 * 1024 * 1024
_GROWTH_BYTES = 1024 * 1024
_PART = re.compile(r"\.\d+\.part$")


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading.

    Raises:
        OSError: Unreadable, or a pipe or a device; ``strerror`` holds the reason.
    """
    # Opening a pipe without a writer would wait forever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return os.fdopen(descriptor, "rb")


def read_file(path: Path, limit: int = MAX_FILE_BYTES) -> bytes:
    """Read a regular file of at most `limit` bytes.

    Raises:
        OSError: Unreadable, a pipe or a device, or too large; ``strerror`` holds the reason.
    """
    with open_regular(path) as file:
        size_bytes = os.fstat(file.fileno()).st_size
        if size_bytes > limit:
            raise OSError(errno.EFBIG, f"{size_bytes / 1e6:.0f} MB is over the limit of {limit / 1e6:.0f} MB")
        # Not `limit`, since that many bytes would be allocated; a little more, since logs grow.
        return file.read(min(limit, size_bytes + _GROWTH_BYTES))


def read_head(path: Path, size: int) -> bytes:
    """The first `size` bytes of a regular file, or all of them.

    Raises:
        OSError: Unreadable, or a pipe or a device.
    """
    with open_regular(path) as file:
        return file.read(size)


def read_json(path: Path, limit: int = MAX_JSON_BYTES) -> Any:
    """Parse a JSON file.

    Raises:
        OSError: As `read_file`.
        ValueError: Not JSON, or nested too deeply.
    """
    return parse_json(read_file(path, limit))


def parse_json(data: bytes | str) -> Any:
    """Parse JSON; unpaired surrogates, which cannot be written as UTF-8, become question marks.

    Raises:
        ValueError: Not JSON in UTF-8, or nested too deeply.
    """
    text = data.decode("utf-8-sig") if isinstance(data, bytes) else data
    try:
        values = json.loads(text)
        if "\\ud" in text or "\\uD" in text:
            values = json.loads(json.dumps(values, ensure_ascii=False).encode("utf-8", "replace"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return values


@contextmanager
def create_file(path: Path, *, private: bool = False) -> Iterator[BinaryIO]:
    """Write a file under a temporary name, then flush it to the disk and rename it to `path`.

    The temporary file is always a new one: a file or link of that name is removed, not followed.

    Args:
        path: Final name; an existing file is replaced.
        private: Readable by its owner only.

    Raises:
        DistillError: The disk is full or the folder cannot be written; the file at `path` is unchanged.
    """
    temporary = temporary_path(path)
    try:
        with os.fdopen(
            os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600 if private else 0o666), "wb"
        ) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise DistillError(f"{path}: cannot be written: {error.strerror or error}", hint=write_hint(error)) from error
    finally:
        remove_if_possible(temporary)


def write_atomic(path: Path, data: bytes, *, private: bool = False) -> None:
    """Write a file atomically, as `create_file`."""
    with create_file(path, private=private) as file:
        file.write(data)


def make_folder(folder: Path) -> None:
    """Create a folder, and those above it, if it is missing.

    Raises:
        DistillError: It cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DistillError(
            f"{folder}: cannot be created as a folder: {error.strerror or error}", hint=write_hint(error)
        ) from error


def make_private_folder(folder: Path) -> None:
    """Create a folder, if it is missing, for its owner only.

    Raises:
        OSError: It cannot be created.
    """
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)


def require_new_folder(folder: Path) -> None:
    """Raise if a folder for a new set has files already.

    Raises:
        UsageError: It has.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UsageError(f"{folder}: is not an empty folder", hint="choose another one for the new set")


def temporary_path(path: Path) -> Path:
    """Hidden name next to `path` with the same suffix order, at which no file exists.

    Raises:
        DistillError: The folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.unlink(missing_ok=True)
    except OSError as error:
        raise DistillError(f"{path}: cannot be written: {error.strerror or error}", hint=write_hint(error)) from error
    return temporary


def writer_runs(part: Path) -> bool:
    """Whether the process runs that writes a temporary file or folder; its id is in the name (`temporary_path`)."""
    number = part.name.removesuffix(".part").rpartition(".")[2]
    try:
        os.kill(int(number), 0)
    except (ValueError, OverflowError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def remove_stale_parts(folder: Path) -> None:
    """Remove temporary files (`temporary_path`) that killed processes have left in a folder."""
    for part in folder.glob(".*.part"):
        if _PART.search(part.name) and not part.is_dir() and not writer_runs(part):
            remove_if_possible(part)


def remove_if_possible(path: Path) -> None:
    """Remove a temporary file; one in a folder that has become read-only stays."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return


def write_hint(error: OSError) -> str:
    """Hint for a file that cannot be written."""
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "make the folder writable or choose another one, then run again"
    if error.errno == errno.ENAMETOOLONG:
        return "use a shorter name"
    return "free space or choose another folder, then run again"


def printable(name: str) -> str:
    """A file name as valid UTF-8; other bytes become a question mark."""
    return name.encode(errors="surrogateescape").decode(errors="replace")
