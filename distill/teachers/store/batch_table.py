"""Rows of batch jobs in the ledger."""

from __future__ import annotations

import json
import sqlite3
import time
from typing import Any

from distill.teachers.store.ledger_file import IN_FLIGHT, QUEUED, LedgerFile

BATCH_FINISHED = "finished"
"""State of a batch job whose answers are collected."""


class BatchTable:
    """Batch jobs by the label that distill gave them."""

    def __init__(self, file: LedgerFile) -> None:
        self._file = file

    def write(self, label: str, *, job: str, name: str, state: str, keys: list[str]) -> None:
        """Write the row of a batch job; its queued requests become requests in flight.

        Args:
            label: Label of the batch job.
            job: Labeling job that pays.
            name: Name of the batch job at the service; empty before it is submitted.
            state: ``new``, ``running`` or `BATCH_FINISHED`.
            keys: Keys of its requests.
        """
        with self._file.transaction() as db:
            db.execute(
                "INSERT INTO batches(label, job, name, state, owner, keys, changed_s) VALUES (?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT(label) DO UPDATE SET name=excluded.name, state=excluded.state, owner=excluded.owner,"
                " changed_s=excluded.changed_s",
                (label, job, name, state, self._file.owner, json.dumps(keys), time.time()),
            )
            if state != BATCH_FINISHED:
                db.executemany(
                    "UPDATE requests SET state=?, owner=? WHERE key=? AND state=?",
                    [(IN_FLIGHT, self._file.owner, key, QUEUED) for key in keys],
                )

    def claim(self, label: str) -> bool:
        """Take over a batch job whose process has ended; False if another process was faster."""
        with self._file.transaction() as db:
            row = db.execute("SELECT owner FROM batches WHERE label=?", (label,)).fetchone()
            if row is None or self._file.is_foreign(row[0]):
                return False
            db.execute("UPDATE batches SET owner=? WHERE label=?", (self._file.owner, label))
        return True

    def rows(self) -> list[dict[str, Any]]:
        """All batch jobs, oldest first: label, job, name, state, owner, keys; ``taken``: another process handles it."""
        names = ("label", "job", "name", "state", "owner", "keys")
        with self._file.reading() as db:
            rows = db.execute(f"SELECT {', '.join(names)} FROM batches ORDER BY rowid").fetchall()
        found = [dict(zip(names, row, strict=True)) for row in rows]
        for batch in found:
            batch["keys"] = json.loads(batch["keys"])
            batch["taken"] = self._file.is_foreign(batch["owner"])
        return found

    def unfinished_keys(self) -> set[str]:
        """Keys of all requests in unfinished batch jobs."""
        return {key for batch in self.rows() if batch["state"] != BATCH_FINISHED for key in batch["keys"]}


def in_unfinished_batch(db: sqlite3.Connection, key: str) -> bool:
    """Whether an unfinished batch job has the request; the process that takes over the job settles it."""
    found = db.execute("SELECT 1 FROM batches WHERE state != ? AND instr(keys, ?)", (BATCH_FINISHED, key)).fetchone()
    return found is not None
