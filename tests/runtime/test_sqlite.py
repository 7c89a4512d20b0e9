"""Shared SQLite files: locked by another process, of another version, not a database."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from distill.errors import UsageError
from distill.runtime import sqlite as database
from distill.runtime.sqlite import open_database

SCHEMA = "CREATE TABLE IF NOT EXISTS rows (key TEXT PRIMARY KEY);"


def locked(path: Path) -> sqlite3.Connection:
    """A connection that writes to the file, which has no log yet: SQLite would refuse a log at once."""
    with closing(sqlite3.connect(path)) as first:
        first.execute("CREATE TABLE other (key TEXT)")
        first.execute("PRAGMA user_version=1")
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    other.execute("INSERT INTO other VALUES ('a')")
    return other


def test_open_waits_for_a_lock(tmp_path: Path) -> None:
    other = locked(tmp_path / "one.sqlite")
    release = threading.Timer(0.3, lambda: other.execute("COMMIT"))
    release.start()
    db = open_database(tmp_path / "one.sqlite", SCHEMA, version=1)
    release.join()
    db.execute("INSERT INTO rows VALUES ('a')")
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert not db.in_transaction


def test_open_fails_after_the_timeout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOCK_TIMEOUT_S", 0.1)
    other = locked(tmp_path / "one.sqlite")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        open_database(tmp_path / "one.sqlite", SCHEMA, version=1)
    other.close()


def test_another_version_is_refused(tmp_path: Path) -> None:
    open_database(tmp_path / "one.sqlite", SCHEMA, version=1).close()
    with pytest.raises(UsageError, match="has format 1, and this version of distill reads format 2"):
        open_database(tmp_path / "one.sqlite", SCHEMA, version=2)
    assert not open_database(tmp_path / "one.sqlite", SCHEMA, version=1).in_transaction


def test_other_files_are_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "one.sqlite").write_bytes(b"no database " * 400)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        open_database(tmp_path / "one.sqlite", SCHEMA, version=1)


def test_many_threads_open_and_close_at_once(tmp_path: Path) -> None:
    gate, errors = threading.Barrier(8), []

    def work() -> None:
        gate.wait()
        try:
            for _ in range(5):
                open_database(tmp_path / "one.sqlite", SCHEMA, version=1).close()
        except sqlite3.Error as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
