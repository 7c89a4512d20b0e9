"""Which of the processes that share a folder still lives: a name for each, and a lock that dies with it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from pathlib import Path
from typing import IO

from distill.errors import DistillError

WRITE_HINT = "free space, or make the folder writable, and run the same command again"


class ProcessLock:
    """A name for this process, and a lock that the system takes back when the process dies, however it dies."""

    def __init__(self, folder: Path) -> None:
        self.name = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._path = folder / "locks" / self.name
        try:
            self._path.parent.mkdir(exist_ok=True)
            self._file = self._locked()
        except OSError as error:
            raise DistillError(f"{self._path.parent}: cannot be written: {error.strerror}", hint=WRITE_HINT) from error
        _remove_stale(self._path.parent)

    def _locked(self) -> IO[bytes]:
        """The file, locked, and still there: a sweep may come between its making and its locking."""
        while True:
            file = self._path.open("wb")
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_same_file(file, self._path):
                return file
            file.close()

    def close(self) -> None:
        """Give the name up."""
        self._path.unlink(missing_ok=True)
        self._file.close()


def is_alive(folder: Path, owner: str) -> bool:
    """Whether the process that took this name still lives."""
    try:
        with (folder / "locks" / owner).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def _remove_stale(folder: Path) -> None:
    """Remove the names of the dead.

    Each is removed under its own lock: a name that was made a moment ago and is not locked yet may be taken for a dead
    one's, and whoever made it must find out when it gets the lock. It then makes the name again: another sweep that had
    opened the first file locks what is no longer there, and has to leave the second one alone.
    """
    for path in folder.iterdir():
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_same_file(file, path):
                path.unlink()


def _is_same_file(file: IO[bytes], path: Path) -> bool:
    """Whether the open file is the one that the path names now."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
