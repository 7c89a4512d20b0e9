"""`distill answers`: what is there, whether it is whole, handed on as a manifest, cleared up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from distill.config.synthetic import SyntheticConfig
from distill.tasks import Task
from distill.teachers.adapters.manifest import read_manifest_rows
from distill.teachers.labeling.job import Job
from distill.teachers.store.answers import AnswerStore
from distill.teachers.store.ledger import Ledger
from distill.teachers.store.records import EMPTY, IMAGE, AnswerKey
from distill.teachers.store.spending import Budget
from distill.teachers.synthetic.generator import SYNTHETIC_CLASSES
from distill.workflows.label.run import run_label


def answers(*arguments: object, code: int = 0) -> dict:
    words = [sys.executable, "-m", "distill", "answers", *map(str, arguments), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr + done.stdout
    return json.loads(done.stdout)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Six generated images about two scenes, as a labeling leaves them."""
    config = SyntheticConfig(scenes=2, size_hw=(48, 64))
    job = Job(out=tmp_path / "out", config=config, folder=tmp_path, inputs=(), store=tmp_path / "answers")
    run_label(job, workers=1)
    return tmp_path / "answers"


def test_what_is_there_and_what_it_cost(store: Path) -> None:
    ledger = Ledger(store)
    ledger.reserve("a" * 64, job="j", worst_usd=1.0, budget=Budget(), model="m", task="depth", subject="x.jpg")
    ledger.finish("a" * 64, "failed", detail="given up")
    ledger.close()
    found = answers("ls", store)
    assert found["answers"] == 6 and found["kinds"] == {"image": 6} and found["bytes"] > 1000
    assert [row["detail"] for row in found["problems"]] == ["given up"]


def test_a_sound_store_is_verified_and_a_damaged_one_is_not(store: Path) -> None:
    assert answers("verify", store) == {
        "intact": True,
        "answers": 6,
        "damaged": [],
        "missing": [],
        "orphans": [],
        "leftovers": [],
    }
    kept = AnswerStore(store)
    first, second, third, *_ = kept.all_keys()
    path = kept.path(kept.get(first))
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    kept.path(kept.get(second)).unlink()
    (store / third[:2] / f"{third}.json").unlink()
    found = answers("verify", store, code=1)
    assert {row["key"] for row in found["damaged"]} == {first, second}
    assert len(found["orphans"]) == 1 and found["answers"] == 3


def test_an_answer_that_the_ledger_knows_and_the_store_does_not_is_missed(store: Path) -> None:
    ledger = Ledger(store)
    ledger.insert("b" * 64, "done")
    ledger.close()
    assert answers("verify", store, code=1)["missing"] == ["b" * 64]


def test_answers_are_exported_with_everything_that_says_how_to_read_them(store: Path, tmp_path: Path) -> None:
    assert answers("export", store, "--out", tmp_path / "handed_on") == {
        "out": str(tmp_path / "handed_on"),
        "answers": 6,
        "left_out": 0,
        "damaged": 0,
    }
    rows = read_manifest_rows(tmp_path / "handed_on" / "answers.yaml")
    assert {row.task for row in rows} == {Task.DEPTH, Task.NORMALS, Task.SEMANTIC}
    assert all((tmp_path / "handed_on" / row.answer).is_file() and row.prompt for row in rows)
    semantic = next(row for row in rows if row.task is Task.SEMANTIC)
    assert list(semantic.legend) == list(SYNTHETIC_CLASSES)


def test_what_kills_leave_over_is_cleared_and_answers_are_not(store: Path) -> None:
    kept = AnswerStore(store)
    first = next(kept.all_keys())
    (store / first[:2] / f".{'d' * 64}.png.123.part").write_bytes(b"half")
    (store / first[:2] / f"{'c' * 64}.png").write_bytes(b"orphan")
    assert answers("gc", store) == {"removed": False, "orphans": 1, "leftovers": 1}
    assert answers("gc", store, "--yes") == {"removed": True, "orphans": 1, "leftovers": 1}
    assert answers("gc", store) == {"removed": False, "orphans": 0, "leftovers": 0}
    assert answers("verify", store)["answers"] == 6


def test_answers_of_no_use_can_be_forgotten_so_that_they_are_asked_again(store: Path) -> None:
    kept = AnswerStore(store)
    kept.put(AnswerKey("p", "s", "m"), IMAGE, b"no picture at all")
    kept.put(AnswerKey("p", "s2", "m"), EMPTY, reason="words")
    words = ("gc", store, "--forget", "unreadable", "--forget", "empty")
    assert answers(*words)["unreadable"] == 1 and kept.contains(AnswerKey("p", "s", "m").digest)
    assert answers(*words, "--yes")["empty"] == 1
    assert not kept.contains(AnswerKey("p", "s", "m").digest) and answers("verify", store)["answers"] == 6


def test_wrong_use_is_a_sentence(store: Path, tmp_path: Path) -> None:
    assert "no such folder" in answers("ls", tmp_path / "nowhere", code=2)["error"]
    assert "export" in answers("ls", store, "--out", tmp_path, code=2)["error"]
    assert "export needs a folder" in answers("export", store, code=2)["error"]


def test_damaged_answers_are_counted_and_can_be_cleared_so_that_they_are_asked_for_again(
    store: Path, tmp_path: Path
) -> None:
    kept = AnswerStore(store)
    first, second, third, *_ = kept.all_keys()
    kept.path(kept.get(first)).write_bytes(b"other bytes")
    (store / second[:2] / f"{second}.json").write_bytes(b"{")
    kept.path(kept.get(third)).unlink()
    assert answers("ls", store)["kinds"] == {"image": 5, "damaged": 1}  # bytes are not read
    exported = answers("export", store, "--out", tmp_path / "handed_on")
    assert (exported["answers"], exported["damaged"]) == (3, 3)
    assert answers("gc", store, "--forget", "damaged", "--yes")["damaged"] == 3
    assert answers("verify", store)["answers"] == 3
    assert not list(store.glob(f"*/{first}*")) and not list(store.glob(f"*/{second}*"))
