"""A shared file opens while another process has it locked, and says so when that never ends."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from distill.runtime import sqlite as database
from distill.runtime.sqlite import open_database

SCHEMA = "CREATE TABLE IF NOT EXISTS rows (key TEXT PRIMARY KEY);"


def locked(path: Path) -> sqlite3.Connection:
    """Another one that is writing to the file, which has no log yet: SQLite would refuse a log at once."""
    sqlite3.connect(path).execute("CREATE TABLE other (key TEXT)")
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    other.execute("INSERT INTO other VALUES ('a')")
    return other


def test_it_waits_for_who_has_the_file_locked(tmp_path: Path):
    other = locked(tmp_path / "one.sqlite")
    release = threading.Timer(0.3, lambda: other.execute("COMMIT"))
    release.start()
    db = open_database(tmp_path / "one.sqlite", SCHEMA, version=1)
    release.join()
    db.execute("INSERT INTO rows VALUES ('a')")
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert not db.in_transaction


def test_patience_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(database, "LOCK_TIMEOUT_S", 0.1)
    other = locked(tmp_path / "one.sqlite")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        open_database(tmp_path / "one.sqlite", SCHEMA, version=1)
    other.close()


def test_what_is_no_database_is_told_at_once(tmp_path: Path):
    (tmp_path / "one.sqlite").write_bytes(b"no database " * 400)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        open_database(tmp_path / "one.sqlite", SCHEMA, version=1)


def test_many_open_and_leave_at_once(tmp_path: Path):
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
