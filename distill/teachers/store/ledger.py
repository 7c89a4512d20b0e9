"""One row per request in SQLite: what was asked, what became of it, what it cost. Shared by processes; keeps the cap.

    reserve -> (in flight) -> finish        a row whose owner died while asking is found by the next one who wants it

Money is counted three ways: ``cost_usd`` is what answers cost, ``uncertain_usd`` is what calls may have cost that broke
off before their answer came (at the worst-case price), ``reserved_usd`` is the worst case of the call in flight. The
sum of the three is what a cap is held against, before a call. Knows nothing of photos, prompts or teachers.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distill.errors import DistillError
from distill.runtime.process_lock import WRITE_HINT, ProcessLock, is_alive
from distill.runtime.sqlite import open_database
from distill.teachers.store.spend import SPEND_SCHEMA, Budget, Spend, add_spend, check_budget, read_spend

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
"""A call is in flight, or its owner died while it was."""
QUEUED = "queued"
"""Taken, and not sent yet."""
FINAL = ("done", "refused", "empty", "failed")
"""Nothing more will be done about a row in these states, unless someone asks again."""
BATCH_FINISHED = "finished"
"""State of a batch job of which nothing more is to come."""
_COLUMNS = (
    "key", "job", "state", "attempts", "cost_usd", "uncertain_usd", "tokens_in", "tokens_out", "latency_s", "finish",
    "license", "model", "task", "subject", "detail",
)  # fmt: skip


class Ledger:
    """The rows, in ``ledger.sqlite`` of a folder. Threads may share one; processes open their own.

    Raises:
        DistillError: Here and in every method: the file cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.sqlite"
        self._lock = threading.RLock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DistillError(f"{folder}: cannot be used as a folder: {error.strerror}", hint=WRITE_HINT) from error
        self._process_lock = ProcessLock(folder)
        with self._guarded():
            # A crash of the process loses nothing; a power cut loses the last moments, which the answers still tell.
            # Threads take turns by the lock.
            self._db = open_database(self.path, _SCHEMA, synchronous="NORMAL")

    def close(self) -> None:
        """Give the file back; the owner's calls in flight become anyone's to ask again."""
        with self._lock:
            self._db.close()
            self._process_lock.close()

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
        """Take a request for one call; False when another living process has it in flight, or has just been answered.

        Args:
            key: Of the request.
            job: Whose money it is.
            worst_usd: The most that the call can cost.
            budget: Checked with every call in flight at its worst price.
            queued: It is only gathered, to be sent with others; `write_batch` says that it was.
            is_answered: Whether its answer is there. Asked while nobody else can settle: whoever looked before may have
                waited for a turn since, and another process may have been faster.
            about: ``license``, ``model``, ``task``, ``subject`` of a new row.

        Raises:
            BudgetExceeded: The call could pass a cap.
        """
        with self._transaction() as db:
            if is_answered():
                return False
            row = db.execute("SELECT state, owner, reserved_usd, job FROM requests WHERE key=?", (key,)).fetchone()
            if row and row[0] in (IN_FLIGHT, QUEUED):
                if row[1] != self._process_lock.name and (is_alive(self.path.parent, row[1]) or _in_a_batch(db, key)):
                    return False
                if row[0] == IN_FLIGHT:
                    self._mark_uncertain(db, key, row[3], row[2])
                else:
                    add_spend(db, row[3], reserved_usd=-row[2])
            check_budget(read_spend(db, job), worst_usd, budget)
            values = {"license": "", "model": "", "task": "", "subject": "", **about}
            db.execute(
                "INSERT INTO requests(key, job, state, owner, attempts, reserved_usd, license, model, task, subject,"
                " changed_s) VALUES (:key, :job, :in_flight, :owner, 1, :worst, :license, :model, :task, :subject, :now)"
                " ON CONFLICT(key) DO UPDATE SET job=:job, state=:in_flight, owner=:owner, attempts=attempts+1,"
                " reserved_usd=:worst, changed_s=:now",
                {
                    **values,
                    "key": key,
                    "job": job,
                    "in_flight": QUEUED if queued else IN_FLIGHT,
                    "owner": self._process_lock.name,
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
        """Write down how the call ended that `reserve` began.

        Args:
            key: Of the request.
            state: One of `FINAL`, or ``waiting`` when it will be asked again.
            cost_usd: What was charged.
            uncertain: Whether it is unknown if it was charged; the reservation then counts on.
            tokens_in: Tokens read.
            tokens_out: Tokens written.
            latency_s: From call to answer.
            finish: The service's own word for how it ended.
            detail: One sentence for people; no secrets.
        """
        with self._transaction() as db:
            row = db.execute("SELECT job, reserved_usd FROM requests WHERE key=?", (key,)).fetchone()
            if row is None:
                raise DistillError(f"{self.path}: no request {key[:12]} was begun")
            job, reserved = row
            if uncertain:
                self._mark_uncertain(db, key, job, reserved)
            else:
                add_spend(db, job, reserved_usd=-reserved, cost_usd=cost_usd)
            db.execute(
                "UPDATE requests SET state=?, owner='', reserved_usd=0, cost_usd=cost_usd+?, tokens_in=tokens_in+?,"
                " tokens_out=tokens_out+?, latency_s=?, finish=?, detail=?, changed_s=? WHERE key=?",
                (state, cost_usd, tokens_in, tokens_out, latency_s, finish, detail, time.time(), key),
            )

    def recover(self, cost_of: Callable[[str], float | None]) -> None:
        """Settle the calls that died processes left in flight.

        Args:
            cost_of: What the answer to a request cost; None when none was kept, so that it may have been charged.
        """
        with self._guarded():
            rows = self._db.execute(
                "SELECT key, owner, state FROM requests WHERE state IN (?, ?)", (IN_FLIGHT, QUEUED)
            ).fetchall()
        sent = {key for batch in self.batches() if batch["state"] != BATCH_FINISHED for key in batch["keys"]}
        for key, owner, state in rows:
            if key in sent or owner == self._process_lock.name or is_alive(self.path.parent, owner):
                continue
            self._finish_for(key, owner, cost_of(key), sent=state == IN_FLIGHT)

    def _finish_for(self, key: str, owner: str, cost_usd: float | None, *, sent: bool) -> None:
        """Settle another's call, unless someone has taken it since."""
        with self._transaction() as db:
            row = db.execute(
                "SELECT job, reserved_usd FROM requests WHERE key=? AND state IN (?, ?) AND owner=?",
                (key, IN_FLIGHT, QUEUED, owner),
            ).fetchone()
            if row is None:
                return
            if cost_usd is None and sent:
                self._mark_uncertain(db, key, *row)
            else:
                add_spend(db, row[0], reserved_usd=-row[1], cost_usd=cost_usd or 0.0)
            db.execute(
                "UPDATE requests SET state=?, owner='', reserved_usd=0, cost_usd=cost_usd+?, detail=? WHERE key=?",
                ("waiting" if cost_usd is None else "done", cost_usd or 0.0, "cut off with its process", key),
            )

    def insert(self, key: str, state: str, *, job: str = "", cost_usd: float = 0.0, **about: Any) -> None:
        """Put in a row about a request that was never in flight here: answered locally, or by a batch."""
        values = {column: about[column] for column in _COLUMNS if column in about}
        values |= {"key": key, "job": job, "state": state, "cost_usd": cost_usd, "changed_s": time.time()}
        names = ", ".join(values)
        marks = ", ".join(f":{name}" for name in values)
        with self._transaction() as db:
            known = db.execute("SELECT cost_usd, job FROM requests WHERE key=?", (key,)).fetchone()
            db.execute(
                f"INSERT INTO requests({names}) VALUES ({marks}) ON CONFLICT(key) DO UPDATE SET "
                + ", ".join(f"{name}=:{name}" for name in values if name not in ("key", "job")),
                values,
            )
            add_spend(db, known[1] if known else job, cost_usd=cost_usd - (known[0] if known else 0.0))

    def spend(self, job: str) -> Spend:
        """What a job has used up."""
        with self._guarded():
            return read_spend(self._db, job)

    def row(self, key: str) -> dict[str, Any] | None:
        """All that is known about a request."""
        with self._guarded():
            found = self._db.execute(f"SELECT {', '.join(_COLUMNS)} FROM requests WHERE key=?", (key,)).fetchone()
        return dict(zip(_COLUMNS, found, strict=True)) if found else None

    def rows(self) -> Iterator[dict[str, Any]]:
        """All requests, in the order of their keys."""
        last = ""
        while True:
            with self._guarded():
                page = self._db.execute(
                    f"SELECT {', '.join(_COLUMNS)} FROM requests WHERE key > ? ORDER BY key LIMIT 1000", (last,)
                ).fetchall()
            if not page:
                return
            yield from (dict(zip(_COLUMNS, row, strict=True)) for row in page)
            last = page[-1][0]

    def totals(self) -> list[dict[str, Any]]:
        """Requests, attempts and money by model and state."""
        names = ("model", "state", "requests", "attempts", "cost_usd", "uncertain_usd")
        with self._guarded():
            rows = self._db.execute(
                "SELECT model, state, COUNT(*), SUM(attempts), SUM(cost_usd), SUM(uncertain_usd) FROM requests"
                " GROUP BY model, state ORDER BY model, state"
            ).fetchall()
        return [dict(zip(names, row, strict=True)) for row in rows]

    def forget(self, key: str) -> None:
        """Let a request be asked anew; money that it cost stays counted."""
        with self._transaction() as db:
            db.execute("DELETE FROM requests WHERE key=?", (key,))

    def write_batch(self, label: str, *, job: str, name: str, state: str, keys: list[str]) -> None:
        """Remember a batch job by the label that we gave it."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO batches(label, job, name, state, owner, keys, changed_s) VALUES (?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT(label) DO UPDATE SET name=excluded.name, state=excluded.state, owner=excluded.owner,"
                " changed_s=excluded.changed_s",
                (label, job, name, state, self._process_lock.name, json.dumps(keys), time.time()),
            )

            if state != BATCH_FINISHED:
                db.executemany(
                    "UPDATE requests SET state=?, owner=? WHERE key=? AND state=?",
                    [(IN_FLIGHT, self._process_lock.name, key, QUEUED) for key in keys],
                )

    def claim_batch(self, label: str) -> bool:
        """Take over a batch job whose process has died; False when another one was faster."""
        with self._transaction() as db:
            row = db.execute("SELECT owner FROM batches WHERE label=?", (label,)).fetchone()
            if row is None or (row[0] != self._process_lock.name and is_alive(self.path.parent, row[0])):
                return False
            db.execute("UPDATE batches SET owner=? WHERE label=?", (self._process_lock.name, label))
        return True

    def batches(self) -> list[dict[str, Any]]:
        """All batch jobs, oldest first: label, job, name, state, owner, keys, and whether another process tends it."""
        names = ("label", "job", "name", "state", "owner", "keys")
        with self._guarded():
            rows = self._db.execute(f"SELECT {', '.join(names)} FROM batches ORDER BY rowid").fetchall()
        found = [dict(zip(names, row, strict=True)) for row in rows]
        for batch in found:
            batch["keys"] = json.loads(batch["keys"])
            batch["taken"] = batch["owner"] != self._process_lock.name and is_alive(self.path.parent, batch["owner"])
        return found

    def _mark_uncertain(self, db: sqlite3.Connection, key: str, job: str, reserved_usd: float) -> None:
        """Count a call that may have been charged."""
        db.execute("UPDATE requests SET uncertain_usd=uncertain_usd+?, reserved_usd=0 WHERE key=?", (reserved_usd, key))
        add_spend(db, job, reserved_usd=-reserved_usd, uncertain_usd=reserved_usd)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise DistillError(f"{self.path}: the ledger cannot be used: {error}", hint=WRITE_HINT) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One writer at a time, in any process; all or nothing."""
        with self._guarded():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")


def _in_a_batch(db: sqlite3.Connection, key: str) -> bool:
    """Whether a batch job that is not over has the request; whoever adopts the job will settle it."""
    found = db.execute("SELECT 1 FROM batches WHERE state != ? AND instr(keys, ?)", (BATCH_FINISHED, key)).fetchone()
    return found is not None
