"""SQLite file of the ledger: tables, transactions, and the lock of this process."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distill.errors import DistillError
from distill.files import make_private_folder
from distill.runtime.process_liveness import WRITE_HINT, ProcessLock, is_alive
from distill.runtime.sqlite import open_database
from distill.teachers.store.spending import SPEND_SCHEMA

LEDGER = "ledger.sqlite"
_VERSION = 2
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS requests (
  key TEXT PRIMARY KEY, job TEXT NOT NULL DEFAULT '', state TEXT NOT NULL, owner TEXT NOT NULL DEFAULT '',
  attempts INTEGER NOT NULL DEFAULT 0, cost_usd REAL NOT NULL DEFAULT 0, uncertain_usd REAL NOT NULL DEFAULT 0,
  reserved_usd REAL NOT NULL DEFAULT 0, tokens_in INTEGER NOT NULL DEFAULT 0, tokens_out INTEGER NOT NULL DEFAULT 0,
  latency_s REAL NOT NULL DEFAULT 0, finish TEXT NOT NULL DEFAULT '', license TEXT NOT NULL DEFAULT '',
  model TEXT NOT NULL DEFAULT '', task TEXT NOT NULL DEFAULT '', subject TEXT NOT NULL DEFAULT '',
  detail TEXT NOT NULL DEFAULT '', changed_s REAL NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS requests_of_job ON requests(job, state);
{SPEND_SCHEMA}
CREATE TABLE IF NOT EXISTS batches (
  label TEXT PRIMARY KEY, job TEXT NOT NULL DEFAULT '', name TEXT NOT NULL DEFAULT '', state TEXT NOT NULL,
  owner TEXT NOT NULL DEFAULT '', keys TEXT NOT NULL DEFAULT '[]', changed_s REAL NOT NULL DEFAULT 0);
"""
IN_FLIGHT = "in_flight"
"""A request that was sent, or whose owner ended while it was."""
QUEUED = "queued"
"""A request that is reserved and not sent yet."""


class LedgerFile:
    """``ledger.sqlite`` in a folder. Threads may share one object; each process opens its own.

    Raises:
        UsageError: Another version of distill wrote the file.
        DistillError: Here and in every method: the file cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LEDGER
        self._lock = threading.RLock()
        try:
            make_private_folder(folder)
        except OSError as error:
            raise DistillError(f"{folder}: cannot be used as a folder: {error.strerror}", hint=WRITE_HINT) from error
        self._process_lock = ProcessLock(folder)
        try:
            with self._lock, self._errors():
                self.path.touch(mode=0o600)
                # A crash of the process loses nothing; after a power cut the last rows may be missing, but the
                # answers are there.
                self._db = open_database(self.path, _SCHEMA, version=_VERSION, synchronous="NORMAL")
        except DistillError:
            self._process_lock.close()
            raise

    @property
    def owner(self) -> str:
        """The name of this process in the rows."""
        return self._process_lock.name

    def is_foreign(self, owner: str) -> bool:
        """Whether a row's owner is another process that still runs."""
        return owner != self.owner and is_alive(self.path.parent, owner)

    def close(self) -> None:
        """Close the file; the requests in flight of this process may then be taken over by others."""
        with self._lock:
            self._db.close()
            self._process_lock.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for SELECT statements."""
        with self._lock, self._errors():
            yield self._db

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The connection in a transaction; one writer at a time in all processes."""
        with self.reading() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:  # the last one in a damaged file
            raise DistillError(f"{self.path}: the ledger cannot be used: {error}", hint=WRITE_HINT) from error
