"""Shards whose tars are not those of their manifest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from distill.evaluation.ground_truth import ShardGroundTruth
from distill.evaluation.shard_index import ShardIndex
from distill.shards import read_shard
from distill.tasks import Task


def test_a_tar_of_another_length_is_left_out_and_named(make_shards: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_shards(tmp_path, num_samples=4, shard_size=2, tasks=(Task.DEPTH,))
    first, second = sorted(folder.glob("*.tar"))
    second.write_bytes(second.read_bytes() + bytes(512))
    index, truth = ShardIndex(folder), ShardGroundTruth(folder)
    assert [index.find(sample) is not None for tar in (first, second) for sample in read_shard(tar)] == [
        True,
        True,
        False,
        False,
    ]
    assert [sample.key for sample in truth.samples()] == ["blocks-0000", "blocks-0001"]
    for errors in (index.read_errors, truth.read_errors):
        assert len(errors) == 1 and errors[0].startswith(f"{second}: has ") and "dataset.json states" in errors[0]
