"""Random samples and sets without near-duplicates."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.datasets.operations.subset import dedupe, sample
from distill.datasets.shard_set import open
from distill.errors import UsageError
from distill.tasks import Task
from tests.builders.label_sets import photo, write_set
from tests.builders.label_sets import sample as labeled


def keys(folder: Path) -> list[str]:
    return [one.key for one in open(folder)]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    write_set(tmp_path / "set", [labeled(photo(seed), [Task.DEPTH]) for seed in range(20)])
    return tmp_path / "set"


def test_a_sample_is_a_choice_that_the_seed_decides(shards: Path, tmp_path: Path) -> None:
    sample(shards, 6, out=tmp_path / "a")
    sample(shards, 0.3, out=tmp_path / "b")
    sample(shards, 6, out=tmp_path / "c", seed=1)
    sample(shards, 12, out=tmp_path / "d")
    assert len(keys(tmp_path / "a")) == 6 and keys(tmp_path / "a") == keys(tmp_path / "b") != keys(tmp_path / "c")
    assert set(keys(tmp_path / "a")) < set(keys(tmp_path / "d"))
    order = keys(shards)
    assert keys(tmp_path / "d") == [key for key in order if key in keys(tmp_path / "d")]
    assert open(tmp_path / "a").manifest.teachers == ("hand",)


@pytest.mark.parametrize("amount", [0, -1, 21, 1.5])
def test_impossible_amounts(shards: Path, tmp_path: Path, amount: float) -> None:
    with pytest.raises(UsageError):
        sample(shards, amount, out=tmp_path / "x")


def test_of_photos_that_look_the_same_the_one_with_most_labels_is_kept(tmp_path: Path) -> None:
    copies = [
        labeled(photo(1, "a.jpg"), [Task.DEPTH]),
        labeled(photo(1, "b.jpg", shift=1), [Task.DEPTH, Task.NORMALS]),
        labeled(photo(2, "c.jpg"), [Task.DEPTH]),
        labeled(photo(2, "d.jpg"), [Task.DEPTH]),
        labeled(photo(3, "e.jpg"), [Task.DEPTH]),
    ]
    write_set(tmp_path / "set", copies)
    result = dedupe(tmp_path / "set", out=tmp_path / "x")
    assert keys(tmp_path / "x") == ["b", "c", "e"] and "2 of 5 photos" in result.to_text()
