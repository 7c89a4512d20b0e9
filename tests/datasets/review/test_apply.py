"""Verdicts on a set: labels left out, down-weighted and masked; all else keeps its bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill.datasets.review.apply import apply
from distill.datasets.review.verdicts import ReviewedSet, Verdict, Verdicts, set_digest
from distill.datasets.shard_set import ShardSet, open
from distill.datasets.verification import verify
from distill.errors import UsageError
from distill.tasks import Task
from tests.builders.cli import Cli
from tests.builders.label_sets import photo, sample, write_set


@pytest.fixture
def shards(tmp_path: Path) -> ShardSet:
    return write_set(tmp_path / "set", [sample(photo(i), seed=i) for i in range(5)])


def given(shards: ShardSet, *verdicts: Verdict) -> Verdicts:
    return Verdicts(reviewed=ReviewedSet(sha256=set_digest(shards.manifest)), verdicts=verdicts)


def verdict(shards: ShardSet, position: int, task: Task, **values: Any) -> Verdict:
    return Verdict(key=shards[position].key, task=task, **values)


def test_rejected_labels_are_left_out(shards: ShardSet, tmp_path: Path) -> None:
    everything = [verdict(shards, 0, task, verdict="reject") for task in shards.manifest.tasks]
    one = verdict(shards, 1, Task.DEPTH, verdict="reject")
    result = apply(shards.folder, given(shards, *everything, one), out=tmp_path / "new")
    new = open(tmp_path / "new")
    assert [sample.key for sample in new] == [sample.key for sample in shards][1:]
    assert Task.DEPTH not in new[0].tasks and Task.NORMALS in new[0].tasks
    assert new[1].files == shards[2].files
    assert "1 samples have no label left" in result.to_text() and verify(tmp_path / "new").num_faults == 0


def test_rejected_labels_can_be_down_weighted(shards: ShardSet, tmp_path: Path) -> None:
    apply(
        shards.folder,
        given(shards, verdict(shards, 0, Task.DEPTH, verdict="reject")),
        out=tmp_path / "new",
        rejected_weight=0.25,
    )
    old, new = shards.label(0, Task.DEPTH), open(tmp_path / "new").label(0, Task.DEPTH)
    assert np.allclose(new.confidence, old.confidence * 0.25, atol=1 / 255)
    assert np.array_equal(new.value[new.valid], old.value[new.valid])


def test_regions_and_classes_become_invalid(shards: ShardSet, tmp_path: Path) -> None:
    half = (((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0)),)
    apply(
        shards.folder,
        given(
            shards,
            verdict(shards, 0, Task.DEPTH, ignore_regions=half),
            verdict(shards, 0, Task.SEMANTIC, ignore_classes=("car",), verdict="accept"),
            verdict(shards, 0, Task.INSTANCE, ignore_classes=("traffic light",)),
        ),
        out=tmp_path / "new",
    )
    new = open(tmp_path / "new")
    depth, before = new.label(0, Task.DEPTH), shards.label(0, Task.DEPTH)
    middle = depth.size_hw[1] // 2
    assert not depth.valid[:, middle + 1 :].any()
    assert np.array_equal(depth.valid[:, : middle - 1], before.valid[:, : middle - 1])
    semantic, old = new.label(0, Task.SEMANTIC), shards.label(0, Task.SEMANTIC)
    assert not (semantic.value[semantic.valid] == 1).any() and (old.value[old.valid] == 1).any()
    assert np.array_equal(semantic.valid, old.valid & (old.value != 1))
    assert set(new.label(0, Task.INSTANCE).instance_classes.values()) == {"car"}
    assert verify(tmp_path / "new").num_faults == 0


def test_a_label_without_a_pixel_left_is_left_out(shards: ShardSet, tmp_path: Path) -> None:
    everywhere = (((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)),)
    apply(shards.folder, given(shards, verdict(shards, 0, Task.DEPTH, ignore_regions=everywhere)), out=tmp_path / "n")
    assert Task.DEPTH not in open(tmp_path / "n")[0].tasks and verify(tmp_path / "n").num_faults == 0


def test_verdicts_of_another_set_are_refused(shards: ShardSet, tmp_path: Path) -> None:
    other = write_set(tmp_path / "other", [sample(photo(i), seed=i + 9) for i in range(5)])
    verdicts = given(other, verdict(shards, 0, Task.DEPTH, verdict="reject"))
    with pytest.raises(UsageError, match="another set"):
        apply(shards.folder, verdicts, out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"key": "nobody", "verdict": "reject"}, "does not have"),
        ({"task": Task.REFERRING, "verdict": "reject"}, "which has none"),
        ({"task": Task.SEMANTIC, "ignore_classes": ("bus",)}, "'bus'"),
    ],
)
def test_what_the_set_lacks_is_named(shards: ShardSet, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    values = {"key": shards[0].key, "task": Task.DEPTH} | changes
    with pytest.raises(UsageError, match=words):
        apply(shards.folder, given(shards, Verdict(**values)), out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_nothing_left(shards: ShardSet, tmp_path: Path) -> None:
    all_of_it = [verdict(shards, i, task, verdict="reject") for i in range(5) for task in shards.manifest.tasks]
    with pytest.raises(UsageError, match="rejects every label"):
        apply(shards.folder, given(shards, *all_of_it), out=tmp_path / "new")
    with pytest.raises(UsageError, match="has no verdict"):
        apply(shards.folder, given(shards), out=tmp_path / "new")


def test_command_and_plan(shards: ShardSet, tmp_path: Path, cli: Cli) -> None:
    path = tmp_path / "verdicts.json"
    path.write_text(given(shards, verdict(shards, 0, Task.DEPTH, verdict="reject")).model_dump_json())
    code, values = cli.json("data", "apply", shards.folder, path, "--out", tmp_path / "new", "--plan")
    assert code == 0 and values["planned"] and not (tmp_path / "new").exists()
    code, out, _ = cli("data", "apply", shards.folder, path, "--out", tmp_path / "new")
    assert code == 0 and "1 rejected (left out)" in out
