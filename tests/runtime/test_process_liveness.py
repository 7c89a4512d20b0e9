"""Process locks with concurrent start, exit and cleanup."""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path
from typing import BinaryIO

import pytest

from distill.runtime import process_liveness as owners
from distill.runtime.process_liveness import ProcessLock, is_alive


def test_only_locks_of_ended_processes_are_removed(tmp_path: Path) -> None:
    living, dead = ProcessLock(tmp_path), ProcessLock(tmp_path)
    dead._file.close()  # as the system does when a process dies
    assert is_alive(tmp_path, living.name) and not is_alive(tmp_path, dead.name)
    ProcessLock(tmp_path).close()
    assert [path.name for path in (tmp_path / "locks").iterdir()] == [living.name]


def test_file_removed_before_it_is_locked_is_created_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flock = fcntl.flock
    swept: list[BinaryIO] = []

    def sweep_first(file: BinaryIO, how: int) -> None:
        if how == fcntl.LOCK_EX and not swept:
            swept.append(file)
            owners._remove_stale(tmp_path / "locks")
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", sweep_first)
    owner = ProcessLock(tmp_path)
    assert swept and is_alive(tmp_path, owner.name)


def test_late_cleanup_leaves_a_recreated_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sweeps open a name that is not locked yet; one removes it, its owner makes it again, the other comes late."""
    folder = tmp_path / "locks"
    folder.mkdir()
    flock = fcntl.flock
    again: list[BinaryIO] = []
    path = folder / "1-0"
    path.touch()

    def made_again_first(file: BinaryIO, how: int) -> None:
        if not again:
            path.unlink()
            again.append(path.open("wb"))
            flock(again[0], fcntl.LOCK_EX)
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", made_again_first)
    owners._remove_stale(folder)
    assert again and is_alive(tmp_path, "1-0")


def test_cleanup_never_removes_a_locked_file(tmp_path: Path) -> None:
    names, errors, gate = [], [], threading.Barrier(6)

    def work() -> None:
        gate.wait()
        for _ in range(60):
            owner = ProcessLock(tmp_path)
            for _ in range(3):
                if not is_alive(tmp_path, owner.name):
                    errors.append(owner.name)
            names.append(owner.name)
            owner.close()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names) == 360 and not errors
