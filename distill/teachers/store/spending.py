"""Spending and budget of labeling jobs: a running sum per job, in the file of the ledger."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from distill.errors import DistillError

SPEND_SCHEMA = """
CREATE TABLE IF NOT EXISTS spend (
  job TEXT PRIMARY KEY, calls INTEGER NOT NULL DEFAULT 0, cost_usd REAL NOT NULL DEFAULT 0,
  uncertain_usd REAL NOT NULL DEFAULT 0, reserved_usd REAL NOT NULL DEFAULT 0);
"""


class BudgetExceeded(DistillError):  # noqa: N818 - the end of a budget is no error of the program
    """The next request could exceed the budget, so it is not sent."""


@dataclass(frozen=True, slots=True)
class Spend:
    """Requests and money of one job, in USD."""

    calls: int = 0
    """Requests sent, failed ones included."""
    cost_usd: float = 0.0
    uncertain_usd: float = 0.0
    reserved_usd: float = 0.0

    @property
    def worst_usd(self) -> float:
        """Maximum cost of the job: all uncertain and reserved amounts are charged."""
        return self.cost_usd + self.uncertain_usd + self.reserved_usd


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of a job, earlier runs of it included; None: no limit."""

    max_usd: float | None = None
    max_requests: int | None = None
    deadline_s: float | None = None
    """No request is sent later, in seconds since the epoch."""


UNLIMITED = Budget()


def read_spend(db: sqlite3.Connection, job: str) -> Spend:
    """Requests and money of a job so far."""
    row = db.execute("SELECT calls, cost_usd, uncertain_usd, reserved_usd FROM spend WHERE job=?", (job,)).fetchone()
    return Spend(*row) if row else Spend()


def add_spend(db: sqlite3.Connection, job: str, **amounts: float) -> None:
    """Add requests and money to a job, in the caller's transaction."""
    values = {"calls": 0, "cost_usd": 0, "uncertain_usd": 0, "reserved_usd": 0, **amounts, "job": job}
    db.execute(
        "INSERT INTO spend(job, calls, cost_usd, uncertain_usd, reserved_usd)"
        " VALUES (:job, :calls, :cost_usd, :uncertain_usd, :reserved_usd) ON CONFLICT(job) DO UPDATE SET"
        " calls=calls+:calls, cost_usd=cost_usd+:cost_usd, uncertain_usd=uncertain_usd+:uncertain_usd,"
        " reserved_usd=reserved_usd+:reserved_usd",
        values,
    )


def check_budget(spend: Spend, worst_usd: float, budget: Budget) -> None:
    """Raise if one more request could exceed the budget.

    Raises:
        BudgetExceeded: It could.
    """
    if budget.max_usd is not None and spend.worst_usd + worst_usd > budget.max_usd + 1e-9:
        raise BudgetExceeded(
            f"the next request could cost {worst_usd:.4f} USD on top of {spend.worst_usd:.4f} USD spent or in flight, "
            f"which exceeds the limit of {budget.max_usd:.2f} USD",
            hint="raise --max-usd and run the same command again to continue",
        )
    if budget.max_requests is not None and spend.calls + 1 > budget.max_requests:
        raise BudgetExceeded(
            f"{spend.calls} requests were sent, which is the limit",
            hint="raise --max-requests and run the same command again to continue",
        )
