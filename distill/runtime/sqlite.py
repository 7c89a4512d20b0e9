"""A SQLite file that several processes share, opened safely while others open, use or leave it."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

LOCK_TIMEOUT_S = 60.0
"""How long one process waits for the others."""


def open_database(path: Path, schema: str, *, synchronous: str = "NORMAL") -> sqlite3.Connection:
    """Open a file with a write-ahead log, and give it its tables if they are missing.

    Connections that switch a file to its log, or remove the log as the last to leave, lock it whole. SQLite then
    answers "database is locked" at once instead of waiting, so that waiting is done here.

    Args:
        path: The file; made when missing.
        schema: ``CREATE ... IF NOT EXISTS`` statements, each ended by a semicolon.
        synchronous: What a power cut may take: ``NORMAL``, the last moments; ``OFF``, the file.

    Returns:
        A connection for any thread that begins its own transactions.

    Raises:
        sqlite3.Error: It cannot be opened, or others kept it locked for `LOCK_TIMEOUT_S`.
    """
    until = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        db = sqlite3.connect(path, timeout=LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute(f"PRAGMA synchronous={synchronous}")
            # One transaction: of two that both find a table missing, the slower one would be refused.
            db.executescript(f"BEGIN IMMEDIATE; {schema} COMMIT;")
        except sqlite3.OperationalError as error:
            db.close()
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)
        except sqlite3.Error:
            db.close()
            raise
        else:
            return db
