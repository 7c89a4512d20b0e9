"""Ledger: budget and request states with several threads and killed processes."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from distill.errors import DistillError, UsageError
from distill.teachers.store.ledger import Ledger, open_to_read
from distill.teachers.store.spending import Budget, BudgetExceeded

NO_LIMIT = Budget()


def test_request_is_reserved_and_finished(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    assert ledger.reserve("k", job="j", worst_usd=2.0, budget=NO_LIMIT, model="m", task="depth")
    assert ledger.spend("j").reserved_usd == 2.0
    ledger.finish("k", "done", cost_usd=0.5, tokens_in=3, tokens_out=4, latency_s=1.5, finish="STOP")
    spend = ledger.spend("j")
    assert (spend.calls, spend.cost_usd, spend.reserved_usd, spend.worst_usd) == (1, 0.5, 0.0, 0.5)
    row = ledger.row("k")
    assert row is not None and (row["state"], row["attempts"], row["tokens_out"], row["model"]) == ("done", 1, 4, "m")
    assert ledger.totals() == [
        {"model": "m", "state": "done", "requests": 1, "attempts": 1, "cost_usd": 0.5, "uncertain_usd": 0.0}
    ]


def test_uncertain_request_counts_at_its_maximum_price(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.reserve("k", job="j", worst_usd=2.0, budget=NO_LIMIT)
    ledger.finish("k", "waiting", uncertain=True)
    assert ledger.spend("j").worst_usd == 2.0
    with pytest.raises(BudgetExceeded):
        ledger.reserve("k", job="j", worst_usd=2.0, budget=Budget(max_usd=3.9))
    assert ledger.reserve("k", job="j", worst_usd=2.0, budget=Budget(max_usd=4.0))


def test_budget_counts_requests_in_flight_of_all_threads(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)

    def reserve(number: int) -> bool:
        try:
            return ledger.reserve(str(number), job="j", worst_usd=1.0, budget=Budget(max_usd=10.0))
        except BudgetExceeded:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(reserve, range(40))) == 10


def test_number_of_requests_is_limited(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.reserve("a", job="j", worst_usd=0, budget=Budget(max_requests=1))
    with pytest.raises(BudgetExceeded, match="--max-requests"):
        ledger.reserve("b", job="j", worst_usd=0, budget=Budget(max_requests=1))
    assert ledger.reserve("b", job="another", worst_usd=0, budget=Budget(max_requests=1))


TAKE = """
    import sys, time
    from pathlib import Path
    from distill.teachers.store.ledger import Ledger
    from distill.teachers.store.spending import Budget
    ledger = Ledger(Path(sys.argv[1]))
    print(ledger.reserve("k", job="j", worst_usd=1.0, budget=Budget()), flush=True)
    time.sleep(60)
"""


def test_requests_of_running_and_of_killed_processes(tmp_path: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(TAKE), str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None and other.stdout.readline() == "True\n"
        ledger = Ledger(tmp_path)
        assert not ledger.reserve("k", job="j", worst_usd=1.0, budget=NO_LIMIT)
    finally:
        other.kill()
        other.wait()
    assert ledger.reserve("k", job="j", worst_usd=1.0, budget=NO_LIMIT)
    ledger.finish("k", "done", cost_usd=0.25)
    spend = ledger.spend("j")
    assert (spend.cost_usd, spend.uncertain_usd, spend.reserved_usd) == (0.25, 1.0, 0.0)


def test_inserted_row_is_counted_once(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for _ in range(2):
        ledger.insert("k", "done", job="j", cost_usd=0.5, model="m")
    assert ledger.spend("j").cost_usd == 0.5


def test_batch_rows_by_label(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.batches.write("b1", job="j", name="", state="new", keys=["k1", "k2"])
    ledger.batches.write("b1", job="j", name="batches/1", state="running", keys=["k1", "k2"])
    assert [(b["label"], b["name"], b["state"], b["keys"], b["taken"]) for b in Ledger(tmp_path).batches.rows()] == [
        ("b1", "batches/1", "running", ["k1", "k2"], True)  # `ledger` still lives
    ]
    ledger.close()
    assert not Ledger(tmp_path).batches.rows()[0]["taken"]


def test_unwritable_ledger_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").mkdir()
    with pytest.raises(DistillError, match="the ledger cannot be used"):
        Ledger(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(DistillError, match="cannot be used as a folder"):
        Ledger(tmp_path / "file")


def test_rows_are_sorted_by_key(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for number in range(5):
        ledger.insert(f"{9 - number}", "done")
    assert [row["key"] for row in ledger.rows()] == ["5", "6", "7", "8", "9"]
    ledger.forget("7")
    assert ledger.row("7") is None


def test_answer_of_another_process_during_the_wait_is_used(tmp_path: Path) -> None:
    one, two = Ledger(tmp_path), Ledger(tmp_path)
    assert one.reserve("k", job="j", worst_usd=1.0, budget=NO_LIMIT, is_answered=lambda: False)
    one.finish("k", "done", cost_usd=0.5)
    assert not two.reserve("k", job="j", worst_usd=1.0, budget=NO_LIMIT, is_answered=lambda: True)
    assert two.spend("j").calls == 1 and two.spend("j").worst_usd == 0.5
    assert (two.row("k") or {})["state"] == "done"
    assert two.reserve("k", job="j", worst_usd=1.0, budget=NO_LIMIT)  # its answer is gone: it is requested again


def test_ledger_of_another_version_is_refused(tmp_path: Path) -> None:
    Ledger(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as db:
        db.execute("PRAGMA user_version=0")
    with pytest.raises(UsageError, match="has format 0, and this version of distill reads format 2"):
        Ledger(tmp_path)
    assert not list((tmp_path / "locks").iterdir())


def test_a_read_only_ledger_is_read_without_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(tmp_path)
    ledger.insert("a", "done", job="j", cost_usd=0.1)  # still in the log next to the file
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with open_to_read(tmp_path) as found:
        assert found.path.parent != tmp_path and [row["key"] for row in found.rows()] == ["a"]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    ledger.close()
    monkeypatch.undo()
    with open_to_read(tmp_path) as found:
        assert found.path.parent == tmp_path
