"""Hold an output for one process: a second command with the same output is told who holds it, and stops.

The lock is that of an open file, which the system releases when the last process that has it open ends. Processes that
are forked while an output is held, such as data loader workers, close their copy: they may outlive a killed parent.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from distill.errors import DistillError

_LOCK_NAME = ".distill.lock"
_UNSUPPORTED = frozenset({"No locks available", "Operation not supported", "Function not implemented"})
_held = set[int]()
"""Descriptors of the locks of this process."""


def _close_inherited() -> None:
    for file in _held:
        with contextlib.suppress(OSError):
            os.close(file)
    _held.clear()


os.register_at_fork(after_in_child=_close_inherited)


@contextmanager
def hold_output(path: Path, verb: str, *, is_file: bool = False) -> Iterator[None]:
    """Hold a folder, or a file in a folder, until the end of the block; the system releases it if the process dies.

    Args:
        path: Output; folders are created, and removed if they are empty at the end.
        verb: Command, for the message of the second process.
        is_file: Whether the output is a file.

    Raises:
        DistillError: Another process holds it, or the folder cannot be written.
    """
    lock = path.with_name(f".{path.name}.lock") if is_file else path / _LOCK_NAME
    new = [folder for folder in (lock.parent, *lock.parent.parents) if not folder.exists()]
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = _locked(lock)
    except BlockingIOError:
        holder = _read(lock) or "another process"
        raise DistillError(
            f"{path}: {holder} is writing here", hint="wait until it has finished, or choose another --out"
        ) from None
    except OSError as error:
        raise DistillError(
            f"{path}: cannot be written: {error.strerror or error}", hint="make it writable, or choose another --out"
        ) from error
    _held.add(file)
    try:
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        holder = f"distill {verb} (process {os.getpid()} on {socket.gethostname()}, since {now})"
        with contextlib.suppress(OSError):  # a full disk: the lock itself is held
            os.ftruncate(file, 0)
            os.write(file, holder.encode())
        yield
    finally:
        if file in _held:  # not in a process that was forked within the block
            with contextlib.suppress(OSError):
                lock.unlink()
            _held.discard(file)
            os.close(file)
            with contextlib.suppress(OSError):  # has files by now
                for folder in new:
                    folder.rmdir()


def _locked(lock: Path) -> int:
    """Descriptor of the locked file; it is opened again if another process removed it before it was locked."""
    while True:
        file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if lock.lstat().st_ino == os.fstat(file).st_ino:
                return file
        except FileNotFoundError:
            pass
        except BlockingIOError:
            os.close(file)
            raise
        except OSError as error:
            if error.strerror in _UNSUPPORTED:  # some network file systems: work without a lock
                return file
            os.close(file)
            raise
        os.close(file)


def _read(lock: Path) -> str:
    try:
        return lock.read_text()[:200]
    except (OSError, UnicodeDecodeError):
        return ""
