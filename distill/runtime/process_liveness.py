"""Liveness of the processes that share a folder: each has a lock file that the system releases when it ends."""

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
    """A name for this process and a locked file; the system releases the lock whenever the process ends."""

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
        """The locked file; it is created again if another process removed it before it was locked."""
        while True:
            file = self._path.open("wb")
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_same_file(file, self._path):
                return file
            file.close()

    def close(self) -> None:
        """Release the lock and remove the file."""
        self._path.unlink(missing_ok=True)
        self._file.close()


def is_alive(folder: Path, owner: str) -> bool:
    """Whether the process with this name still runs."""
    try:
        with (folder / "locks" / owner).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def _remove_stale(folder: Path) -> None:
    """Remove lock files of processes that no longer run.

    Each file is removed under its own lock. A file that was just created and is not locked yet is removed as well; its
    process notices that when it gets the lock, and creates the file again. A third process that had opened the first
    file then locks a file that no longer exists, and must not remove the second one.
    """
    for path in folder.iterdir():
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_same_file(file, path):
                path.unlink()


def _is_same_file(file: IO[bytes], path: Path) -> bool:
    """Whether the path still refers to the open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
