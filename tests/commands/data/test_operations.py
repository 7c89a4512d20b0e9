"""The sub-commands that make new sets: options reach the functions, results are JSON."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.datasets.shard_set import open
from distill.tasks import Task
from tests.builders.cli import Cli
from tests.builders.label_sets import photo, sample, write_set


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    write_set(tmp_path / "set", [sample(photo(seed), [Task.DEPTH, Task.SEMANTIC]) for seed in range(6)])
    return tmp_path / "set"


def test_one_set_after_the_other(shards: Path, tmp_path: Path, cli: Cli) -> None:
    depth, classes = tmp_path / "depth", tmp_path / "classes"
    cli.result("data", "filter", shards, "--tasks", "depth", "--out", depth)
    cli.result("data", "filter", shards, "'car' in classes", "--tasks", "semantic", "-o", classes)
    merged = cli.result("data", "merge", depth, classes, "--out", tmp_path / "both")
    assert merged["sets"][0]["counts"] == {"depth": 6, "semantic": 6}
    parts = cli.result("data", "split", tmp_path / "both", "--parts", "a=0.5,b=0.5", "-o", tmp_path / "parts")
    assert [part["samples"] for part in parts["sets"]] == [3, 3]
    assert cli.result("data", "sample", shards, 2, "-o", tmp_path / "few")["sets"][0]["samples"] == 2
    assert cli.result("data", "dedupe", shards, "-o", tmp_path / "different")["sets"][0]["samples"] == 6
    (tmp_path / "names.json").write_text('{"car": "vehicle"}')
    cli.result("data", "relabel-classes", shards, tmp_path / "names.json", "-o", tmp_path / "renamed")
    assert open(tmp_path / "renamed").manifest.classes[1] == "vehicle"


def test_plans_write_nothing(shards: Path, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "names.json").write_text('{"car": "vehicle"}')
    before = sorted(tmp_path.rglob("*"))
    for words in (
        ("filter", shards, "width > 1"),
        ("split", shards, "--folds", 3),
        ("sample", shards, 0.5),
        ("dedupe", shards),
        ("relabel-classes", shards, tmp_path / "names.json"),
        ("export", shards, "indexed-png"),
    ):
        found = cli.result("data", *words, "--out", tmp_path / "new", "--plan")
        assert found["planned"] is True
    assert sorted(tmp_path.rglob("*")) == before


def test_wrong_use_is_one_sentence_and_exit_code_2(shards: Path, tmp_path: Path, cli: Cli) -> None:
    code, _, errors = cli("data", "filter", shards, "qualty.depth > 1", "--out", tmp_path / "new")
    assert code == 2 and "did you mean quality.depth" in errors
    code, _, errors = cli("data", "filter", shards, "--tasks", "dept", "--out", tmp_path / "new")
    assert code == 2 and "no such task" in errors
    code, _, errors = cli("data", "split", shards, "--parts", "train", "--out", tmp_path / "new")
    assert code == 2 and "is no part" in errors
