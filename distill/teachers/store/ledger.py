"""Ledger of requests in SQLite: state and cost of each request, shared by processes; enforces the budget.

    reserve -> (in flight) -> finish        the next process that needs it finds a row whose owner ended in between

Money is counted three ways: ``cost_usd`` is the cost of answers, ``uncertain_usd`` the possible cost of requests that
broke off before their answer arrived (at the maximum price), ``reserved_usd`` the maximum cost of requests in flight.
The budget limits the sum of the three, before each request.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from distill.errors import DistillError
from distill.files import read_file
from distill.teachers.store.batch_table import BatchTable, in_unfinished_batch
from distill.teachers.store.ledger_file import IN_FLIGHT, LEDGER, QUEUED, LedgerFile
from distill.teachers.store.spending import Budget, Spend, add_spend, check_budget, read_spend

FINAL = ("done", "refused", "empty", "failed")
"""States that only a new request changes."""
_COLUMNS = (
    "key", "job", "state", "attempts", "cost_usd", "uncertain_usd", "tokens_in", "tokens_out", "latency_s", "finish",
    "license", "model", "task", "subject", "detail",
)  # fmt: skip


class Ledger:
    """The requests of a folder; `batches` has its batch jobs.

    Raises:
        UsageError: Another version of distill wrote the file.
        DistillError: Here and in every method: the file cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self._file = LedgerFile(folder)
        self.batches = BatchTable(self._file)
        self.path = self._file.path

    def close(self) -> None:
        """Close the file; the requests in flight of this process may then be taken over by others."""
        self._file.close()

    def reserve(
        self,
        key: str,
        *,
        job: str,
        worst_usd: float,
        budget: Budget,
        queued: bool = False,
        is_answered: Callable[[], bool] = lambda: False,
        **about: str,
    ) -> bool:
        """Reserve a request; False if another running process has it in flight, or its answer has just arrived.

        Args:
            key: Key of the request.
            job: Labeling job that pays.
            worst_usd: Maximum cost of the request.
            budget: Limits, checked with every request in flight at its maximum price.
            queued: The request waits for a batch job; `BatchTable.write` marks it as sent.
            is_answered: Whether its answer is stored; called inside the transaction, since another process may have
                stored the answer while this one waited.
            about: ``license``, ``model``, ``task``, ``subject`` of a new row.

        Raises:
            BudgetExceeded: The request could exceed the budget.
        """
        with self._file.transaction() as db:
            if is_answered():
                return False
            row = db.execute("SELECT state, owner, reserved_usd, job FROM requests WHERE key=?", (key,)).fetchone()
            if row and row[0] in (IN_FLIGHT, QUEUED):
                if row[1] != self._file.owner and (self._file.is_foreign(row[1]) or in_unfinished_batch(db, key)):
                    return False
                if row[0] == IN_FLIGHT:
                    _mark_uncertain(db, key, row[3], row[2])
                else:
                    add_spend(db, row[3], reserved_usd=-row[2])
            check_budget(read_spend(db, job), worst_usd, budget)
            values = {"license": "", "model": "", "task": "", "subject": "", **about}
            db.execute(
                "INSERT INTO requests(key, job, state, owner, attempts, reserved_usd, license, model, task, subject,"
                " changed_s) VALUES (:key, :job, :state, :owner, 1, :worst, :license, :model, :task, :subject, :now)"
                " ON CONFLICT(key) DO UPDATE SET job=:job, state=:state, owner=:owner, attempts=attempts+1,"
                " reserved_usd=:worst, changed_s=:now",
                {
                    **values,
                    "key": key,
                    "job": job,
                    "state": QUEUED if queued else IN_FLIGHT,
                    "owner": self._file.owner,
                    "worst": worst_usd,
                    "now": time.time(),
                },
            )
            add_spend(db, job, calls=1, reserved_usd=worst_usd)
        return True

    def finish(
        self,
        key: str,
        state: str,
        *,
        cost_usd: float = 0.0,
        uncertain: bool = False,
        tokens_in: int = 0,
        tokens_out: int = 0,
        latency_s: float = 0.0,
        finish: str = "",
        detail: str = "",
    ) -> None:
        """Record the end of a request that `reserve` began.

        Args:
            key: Key of the request.
            state: One of `FINAL`, or ``waiting`` if it will be sent again.
            cost_usd: Cost of the answer.
            uncertain: It is unknown whether it was charged; the reserved amount then stays counted.
            tokens_in: Input tokens.
            tokens_out: Output tokens.
            latency_s: From request to answer.
            finish: The service's finish reason.
            detail: One sentence for people, without secrets.
        """
        with self._file.transaction() as db:
            row = db.execute("SELECT job, reserved_usd FROM requests WHERE key=?", (key,)).fetchone()
            if row is None:
                raise DistillError(f"{self.path}: the request {key[:12]} was not reserved")
            job, reserved = row
            if uncertain:
                _mark_uncertain(db, key, job, reserved)
            else:
                add_spend(db, job, reserved_usd=-reserved, cost_usd=cost_usd)
            db.execute(
                "UPDATE requests SET state=?, owner='', reserved_usd=0, cost_usd=cost_usd+?, tokens_in=tokens_in+?,"
                " tokens_out=tokens_out+?, latency_s=?, finish=?, detail=?, changed_s=? WHERE key=?",
                (state, cost_usd, tokens_in, tokens_out, latency_s, finish, detail, time.time(), key),
            )

    def recover(self, cost_of: Callable[[str], float | None]) -> None:
        """Settle the requests that ended processes left in flight.

        Args:
            cost_of: Cost of the answer to a request; None if no answer is stored, so that it may have been charged.
        """
        with self._file.reading() as db:
            rows = db.execute(
                "SELECT key, owner, state FROM requests WHERE state IN (?, ?)", (IN_FLIGHT, QUEUED)
            ).fetchall()
        sent = self.batches.unfinished_keys()
        for key, owner, state in rows:
            if key in sent or owner == self._file.owner or self._file.is_foreign(owner):
                continue
            self._settle(key, owner, cost_of(key), sent=state == IN_FLIGHT)

    def _settle(self, key: str, owner: str, cost_usd: float | None, *, sent: bool) -> None:
        """Settle the request of an ended process, unless another process has taken it since."""
        with self._file.transaction() as db:
            row = db.execute(
                "SELECT job, reserved_usd FROM requests WHERE key=? AND state IN (?, ?) AND owner=?",
                (key, IN_FLIGHT, QUEUED, owner),
            ).fetchone()
            if row is None:
                return
            if cost_usd is None and sent:
                _mark_uncertain(db, key, *row)
            else:
                add_spend(db, row[0], reserved_usd=-row[1], cost_usd=cost_usd or 0.0)
            db.execute(
                "UPDATE requests SET state=?, owner='', reserved_usd=0, cost_usd=cost_usd+?, detail=? WHERE key=?",
                ("waiting" if cost_usd is None else "done", cost_usd or 0.0, "its process was killed", key),
            )

    def insert(self, key: str, state: str, *, job: str = "", cost_usd: float = 0.0, **about: Any) -> None:
        """Insert or replace the row of a request that was not in flight here."""
        values = {column: about[column] for column in _COLUMNS if column in about}
        values |= {"key": key, "job": job, "state": state, "cost_usd": cost_usd, "changed_s": time.time()}
        names = ", ".join(values)
        marks = ", ".join(f":{name}" for name in values)
        with self._file.transaction() as db:
            known = db.execute("SELECT cost_usd, job FROM requests WHERE key=?", (key,)).fetchone()
            db.execute(
                f"INSERT INTO requests({names}) VALUES ({marks}) ON CONFLICT(key) DO UPDATE SET "
                + ", ".join(f"{name}=:{name}" for name in values if name not in ("key", "job")),
                values,
            )
            add_spend(db, known[1] if known else job, cost_usd=cost_usd - (known[0] if known else 0.0))

    def spend(self, job: str) -> Spend:
        """Requests and money of a job so far."""
        with self._file.reading() as db:
            return read_spend(db, job)

    def row(self, key: str) -> dict[str, Any] | None:
        """The row of a request."""
        with self._file.reading() as db:
            found = db.execute(f"SELECT {', '.join(_COLUMNS)} FROM requests WHERE key=?", (key,)).fetchone()
        return dict(zip(_COLUMNS, found, strict=True)) if found else None

    def rows(self) -> Iterator[dict[str, Any]]:
        """All requests, in the order of their keys."""
        last = ""
        while True:
            with self._file.reading() as db:
                page = db.execute(
                    f"SELECT {', '.join(_COLUMNS)} FROM requests WHERE key > ? ORDER BY key LIMIT 1000", (last,)
                ).fetchall()
            if not page:
                return
            yield from (dict(zip(_COLUMNS, row, strict=True)) for row in page)
            last = page[-1][0]

    def totals(self) -> list[dict[str, Any]]:
        """Requests, attempts and money by model and state."""
        names = ("model", "state", "requests", "attempts", "cost_usd", "uncertain_usd")
        with self._file.reading() as db:
            rows = db.execute(
                "SELECT model, state, COUNT(*), SUM(attempts), SUM(cost_usd), SUM(uncertain_usd) FROM requests"
                " GROUP BY model, state ORDER BY model, state"
            ).fetchall()
        return [dict(zip(names, row, strict=True)) for row in rows]

    def forget(self, key: str) -> None:
        """Delete the row of a request, so that it is sent again; its cost stays counted."""
        with self._file.transaction() as db:
            db.execute("DELETE FROM requests WHERE key=?", (key,))


@contextmanager
def open_to_read(folder: Path) -> Iterator[Ledger]:
    """The ledger of a folder; a copy of it where the folder is read-only, because SQLite writes next to the file.

    Raises:
        DistillError: As `Ledger`.
    """
    with TemporaryDirectory() as copy:
        if not os.access(folder, os.W_OK):
            try:
                for path in folder.glob(f"{LEDGER}*"):
                    Path(copy, path.name).write_bytes(read_file(path))
            except OSError as error:
                raise DistillError(f"{folder}: the ledger cannot be read: {error.strerror or error}") from error
            folder = Path(copy)
        ledger = Ledger(folder)
        try:
            yield ledger
        finally:
            ledger.close()


def _mark_uncertain(db: sqlite3.Connection, key: str, job: str, reserved_usd: float) -> None:
    """Count a request that may have been charged."""
    db.execute("UPDATE requests SET uncertain_usd=uncertain_usd+?, reserved_usd=0 WHERE key=?", (reserved_usd, key))
    add_spend(db, job, reserved_usd=-reserved_usd, uncertain_usd=reserved_usd)
