"""Folders for trainers of image editors: read by the datasets library, decoded back, left out and counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import distill
from distill.datasets.shard_set import ShardSet
from distill.errors import DistillError, UsageError
from distill.tasks import Task
from tests.builders.label_sets import label, photo, sample, write_set


@pytest.fixture
def shards(tmp_path: Path) -> ShardSet:
    return write_set(tmp_path / "set", [sample(photo(i), seed=i) for i in range(4)])


def test_imagefolder_loads(shards: ShardSet, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    result = distill.data.export(shards.folder, "edit-pairs", out=tmp_path / "pairs")
    loaded = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "pairs"), cache_dir=str(tmp_path / "cache"))
    rows = loaded["train"]
    # Depth, normals, semantic, edges, and one prompt for each of two classes of instances.
    assert len(rows) == result.counts["pairs"] == 4 * 6
    assert {"input_image", "edit_prompt", "edited_image", "task"} <= set(rows.column_names)
    for row in rows:
        assert row["input_image"].size == row["edited_image"].size and row["edit_prompt"].strip()
        assert not any(side % 32 for side in row["edited_image"].size)
        assert row["edited_image"].mode == "RGB"


def test_folders_with_equal_names(shards: ShardSet, tmp_path: Path) -> None:
    distill.data.export(shards.folder, "edit-pair-folders", out=tmp_path / "pairs")
    names = [
        sorted(path.stem for path in (tmp_path / "pairs" / "target").glob(suffix)) for suffix in ("*.png", "*.txt")
    ]
    assert names[0] == names[1] == sorted(path.stem for path in (tmp_path / "pairs" / "control").iterdir())


def test_equal_bytes_when_written_again(shards: ShardSet, tmp_path: Path) -> None:
    for name in ("a", "b"):
        distill.data.export(shards.folder, "edit-pairs", out=tmp_path / name)
    files = [
        {path.relative_to(tmp_path / name): path.read_bytes() for path in sorted((tmp_path / name).rglob("*.*"))}
        for name in ("a", "b")
    ]
    assert files[0] == files[1]


def test_sparse_labels_are_counted(tmp_path: Path) -> None:
    one = label(Task.DEPTH, 1)
    one.valid[: one.size_hw[0] // 2] = False
    one.confidence[: one.size_hw[0] // 2] = np.float32(0)
    from distill.datasets.formats.new_sample import new_sample

    samples = [new_sample(photo(1), [one], teacher="hand", license="MIT"), sample(photo(2), [Task.DEPTH])]
    write_set(tmp_path / "set", samples)
    result = distill.data.export(tmp_path / "set", "edit-pairs", out=tmp_path / "pairs")
    assert result.counts["pairs"] == 1 and "left out" in result.to_text()
    write_set(tmp_path / "sparse", samples[:1])
    with pytest.raises(UsageError, match="no label can be a target: 1 labels"):
        distill.data.export(tmp_path / "sparse", "edit-pairs", out=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_pairs_are_not_read_back(shards: ShardSet, tmp_path: Path) -> None:
    distill.data.export(shards.folder, "edit-pairs", out=tmp_path / "pairs")
    with pytest.raises(DistillError, match="only exported"):
        distill.data.import_(tmp_path / "pairs", "edit-pairs", out=tmp_path / "new")
