"""What jobs have used up, and their caps: a running sum a job, in the same file as the requests that it sums up."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distill.errors import DistillError

SPEND_SCHEMA = """
CREATE TABLE IF NOT EXISTS spend (
  job TEXT PRIMARY KEY, calls INTEGER NOT NULL DEFAULT 0, cost_usd REAL NOT NULL DEFAULT 0,
  uncertain_usd REAL NOT NULL DEFAULT 0, reserved_usd REAL NOT NULL DEFAULT 0);
"""


class BudgetExceeded(DistillError):  # noqa: N818 - it is the cap that is reached; nothing is wrong
    """The next call could pass a cap, so it is not made."""


@dataclass(frozen=True, slots=True)
class Spend:
    """Money of one job, in USD."""

    calls: int = 0
    """Calls made, failed ones included."""
    cost_usd: float = 0.0
    uncertain_usd: float = 0.0
    reserved_usd: float = 0.0

    @property
    def worst_usd(self) -> float:
        """What the job has cost if everything unknown was charged at the worst price."""
        return self.cost_usd + self.uncertain_usd + self.reserved_usd


@dataclass(frozen=True, slots=True)
class Budget:
    """What a job may use up, earlier runs of it included; None: no limit."""

    max_usd: float | None = None
    max_requests: int | None = None


def read_spend(db: sqlite3.Connection, job: str) -> Spend:
    """What a job has used up."""
    row = db.execute("SELECT calls, cost_usd, uncertain_usd, reserved_usd FROM spend WHERE job=?", (job,)).fetchone()
    return Spend(*row) if row else Spend()


def add_spend(db: sqlite3.Connection, job: str, **amounts: float) -> None:
    """Add calls and money to what a job has used up; in the caller's transaction."""
    values: Mapping[str, Any] = {"calls": 0, "cost_usd": 0, "uncertain_usd": 0, "reserved_usd": 0, **amounts, "job": job}
    db.execute(
        "INSERT INTO spend(job, calls, cost_usd, uncertain_usd, reserved_usd)"
        " VALUES (:job, :calls, :cost_usd, :uncertain_usd, :reserved_usd) ON CONFLICT(job) DO UPDATE SET"
        " calls=calls+:calls, cost_usd=cost_usd+:cost_usd, uncertain_usd=uncertain_usd+:uncertain_usd,"
        " reserved_usd=reserved_usd+:reserved_usd",
        values,
    )


def check_budget(spend: Spend, worst_usd: float, budget: Budget) -> None:
    """Whether one more call is within the caps.

    Raises:
        BudgetExceeded: It could pass one.
    """
    if budget.max_usd is not None and spend.worst_usd + worst_usd > budget.max_usd + 1e-9:
        raise BudgetExceeded(
            f"the next call could cost {worst_usd:.4f} USD on top of {spend.worst_usd:.4f} USD spent or in flight, "
            f"which passes the cap of {budget.max_usd:.2f} USD",
            hint="raise --max-usd and run the same command again to go on",
        )
    if budget.max_requests is not None and spend.calls + 1 > budget.max_requests:
        raise BudgetExceeded(
            f"{spend.calls} calls were made, which is the cap",
            hint="raise --max-requests and run the same command again to go on",
        )
