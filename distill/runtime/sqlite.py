"""SQLite files that several processes open, use and close at the same time."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from distill.errors import UsageError

LOCK_TIMEOUT_S = 60.0
"""Timeout for locks of other processes."""


def open_database(path: Path, schema: str, *, version: int, synchronous: str = "NORMAL") -> sqlite3.Connection:
    """Open a file with a write-ahead log and create its tables if they are missing.

    A connection that switches a file to its log, or removes the log as the last to close, locks the whole file. SQLite
    then fails at once with "database is locked" instead of waiting, so this function waits.

    Args:
        path: The file; created if missing.
        schema: ``CREATE ... IF NOT EXISTS`` statements, each ended by a semicolon.
        version: Of the schema; stored as ``user_version``.
        synchronous: What a power cut may destroy: ``NORMAL``: the last moments; ``OFF``: the file.

    Returns:
        A connection for any thread that begins its own transactions.

    Raises:
        UsageError: The file has another version.
        sqlite3.Error: It cannot be opened, or others locked it for more than `LOCK_TIMEOUT_S`.
    """
    until = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        db = sqlite3.connect(path, timeout=LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute(f"PRAGMA synchronous={synchronous}")
            _create_tables(db, path, schema, version)
        except sqlite3.OperationalError as error:
            db.close()
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)
        except (sqlite3.Error, UsageError, UnicodeDecodeError):
            db.close()
            raise
        else:
            return db


def _create_tables(db: sqlite3.Connection, path: Path, schema: str, version: int) -> None:
    """Check the version and create missing tables, in one transaction: two processes may find them missing at once."""
    db.execute("BEGIN IMMEDIATE")
    is_new = db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0] == 0
    found = db.execute("PRAGMA user_version").fetchone()[0]
    if not is_new and found != version:
        raise UsageError(
            f"{path}: has format {found}, and this version of distill reads format {version}",
            hint="choose another folder",
        )
    for statement in filter(str.strip, schema.split(";")):
        db.execute(statement)
    db.execute(f"PRAGMA user_version={version}")
    db.execute("COMMIT")
