"""Order of the labels: worst first, or by the expected change of a calibration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill.datasets.review.items import ReviewItem, list_items, most_informative
from distill.datasets.review.verdicts import Verdict
from distill.datasets.shard_set import open
from distill.errors import UsageError
from distill.runtime.progress import SilentReporter
from distill.shards import Sample
from distill.tasks import Task
from tests.builders.label_sets import photo, sample, write_set


def test_worst_first_and_unscored_last(tmp_path: Path) -> None:
    qualities = [0.9, None, 0.1, 0.5]
    write_set(tmp_path / "s", [sample(photo(i), [Task.DEPTH], quality=one) for i, one in enumerate(qualities)])
    found = list_items(open(tmp_path / "s"), (), SilentReporter())
    assert [item.position for item in found[Task.DEPTH]] == [2, 3, 0, 1]
    assert found[Task.DEPTH][-1].quality is None


def test_a_part_of_a_set_keeps_its_positions(tmp_path: Path) -> None:
    shards = write_set(tmp_path / "s", [sample(photo(i), quality=i / 5) for i in range(5)])[2:]
    items = list_items(shards, (Task.DEPTH,), SilentReporter())[Task.DEPTH]
    assert [shards[item.position].key for item in items] == [item.key for item in items]


def test_a_task_that_the_set_lacks(tmp_path: Path) -> None:
    shards = write_set(tmp_path / "s", [sample(photo(1), [Task.DEPTH])])
    with pytest.raises(UsageError, match="has no normals labels"):
        list_items(shards, (Task.NORMALS,), SilentReporter())


def test_scores_that_no_verdict_can_hold_are_left_out(tmp_path: Path) -> None:
    made = sample(photo(1), [Task.DEPTH], quality=0.4)
    meta = json.loads(made.files["json"])
    parts = {"content": 0.5, "huge": 1e300, "word": "x", "list": [], "x" * 5000: 1.0}
    meta["records"][0]["quality_parts"] = parts | {f"part {i}": 0.1 for i in range(500)}
    write_set(tmp_path / "s", [Sample(made.key, {**made.files, "json": json.dumps(meta).encode()})])
    (item,) = list_items(open(tmp_path / "s"), (), SilentReporter())[Task.DEPTH]
    assert item.parts["content"] == 0.5 and not {"huge", "word", "list"} & set(item.parts)
    Verdict(key=item.key, task=item.task, verdict="accept", quality=item.quality, quality_parts=dict(item.parts))


def test_undecided_scores_with_many_parts_are_most_informative() -> None:
    def item(position: int, quality: float | None, parts: float) -> ReviewItem:
        return ReviewItem(position, str(position), Task.DEPTH, "", quality, {"content": parts, "registration": parts})

    items = [item(0, 0.99, 1), item(1, 0.5, 0.2), item(2, 0.5, 1), item(3, None, 1), item(4, 0.01, 1)]
    assert [one.position for one in most_informative(items, 3)] == [2, 3, 1]
