"""A set of shards as a sequence."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import webdataset

import distill
from distill import datasets
from distill.datasets.shard_set import ShardSet
from distill.errors import DistillError, UsageError
from distill.shards import read_samples
from distill.tasks import Task
from tests.builders.shards import write_tiny_shards


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_shards(tmp_path_factory.mktemp("set"), num_samples=7, shard_size=3, size_hw=(12, 16))


@pytest.fixture
def samples(folder: Path) -> ShardSet:
    return datasets.open(folder)


def test_order_positions_and_keys_agree(samples: ShardSet, folder: Path) -> None:
    keys = [sample.key for sample in read_samples(folder)]
    assert len(samples) == 7 and [sample.key for sample in samples] == keys == list(samples.keys)
    assert [samples[position].key for position in range(7)] == keys
    assert samples[-1].files == samples[keys[-1]].files == list(samples)[-1].files
    found: list[object] = [keys[2], "other", 3]
    assert [key in samples for key in found] == [True, False, False]


def test_webdataset_reads_the_same_samples(samples: ShardSet, folder: Path) -> None:
    urls = [str(path) for path in sorted(folder.glob("*.tar"))]
    rows = webdataset.WebDataset(urls, shardshuffle=False)
    theirs = [row["__key__"] for row in rows]
    assert theirs == list(samples.keys)


def test_what_is_not_there_is_an_error(samples: ShardSet) -> None:
    with pytest.raises(IndexError, match="has 7 samples"):
        samples[7]
    with pytest.raises(KeyError):
        samples["other"]


def test_a_filter_keeps_positions_in_order(samples: ShardSet) -> None:
    even = samples.filter(lambda info: info.position % 2 == 0)
    assert len(even) == 4 and [sample.key for sample in even] == [samples.keys[i] for i in (0, 2, 4, 6)]
    last = even.filter(lambda info: info.key > even.keys[1])
    assert list(last.keys) == list(even.keys[2:]) and last[0].key == even.keys[2]
    left_out: object = samples.keys[1]
    assert left_out not in even and not len(samples.filter(lambda info: False))


def test_a_slice_is_a_set(samples: ShardSet) -> None:
    assert list(samples[2:5].keys) == list(samples.keys[2:5])
    assert [info.position for info in samples[2:5].infos()] == [2, 3, 4]


def test_infos_state_tasks_sizes_and_json(samples: ShardSet) -> None:
    info = next(samples.infos())
    assert info.tasks == samples[0].tasks and info.meta["photo_sha256"] == samples[0].meta["photo_sha256"]
    assert info.num_bytes == sum(map(len, samples[0].files.values()))


def test_scans_of_a_few_tars_are_kept(folder: Path, tmp_path: Path) -> None:
    many = datasets.open(write_tiny_shards(tmp_path, num_samples=12, shard_size=1, size_hw=(8, 8), tasks=(Task.DEPTH,)))
    assert [many[position].key for position in range(12)] == list(many.keys)
    assert len(many._scans) == 8


def test_a_set_is_sent_to_other_processes(samples: ShardSet) -> None:
    assert samples.keys
    copy = pickle.loads(pickle.dumps(samples[1:3]))
    assert not copy._scans and list(copy.keys) == list(samples.keys[1:3])


def test_damaged_tars_name_the_way_out(tmp_path: Path) -> None:
    folder = write_tiny_shards(tmp_path, num_samples=4, shard_size=2, size_hw=(8, 8), tasks=(Task.DEPTH,))
    first, second = sorted(folder.glob("*.tar"))
    first.write_bytes(first.read_bytes()[:3000])
    second.unlink()
    with pytest.raises(DistillError, match=r"shard-000000\.tar: the shard cannot be read") as error:
        datasets.open(folder)[0]
    assert "--salvage" in error.value.hint
    with pytest.raises(DistillError, match=r"shard-000002\.tar: the shard is missing"):
        datasets.open(folder)[3]


def test_another_number_of_samples_than_stated_is_an_error(tmp_path: Path) -> None:
    folder = write_tiny_shards(tmp_path, num_samples=4, shard_size=2, size_hw=(8, 8), tasks=(Task.DEPTH,))
    manifest = folder / "dataset.json"
    manifest.write_text(manifest.read_text().replace('"samples": 2', '"samples": 3', 1))
    with pytest.raises(DistillError, match=r"has 2 samples, and dataset\.json states 3"):
        datasets.open(folder)[0]


def test_open_is_part_of_both_apis(folder: Path, tmp_path: Path) -> None:
    assert distill.data.open(folder).keys == datasets.open(str(folder)).keys
    with pytest.raises(UsageError, match="not a folder of shards"):
        datasets.open(tmp_path)
    with pytest.raises(AttributeError, match="no attribute 'shut'"):
        datasets.shut  # noqa: B018


def test_labels_are_decoded(samples: ShardSet) -> None:
    label = samples.label(0, Task.SEMANTIC)
    assert label.classes == samples.manifest.classes and label.value.shape == (12, 16)


def test_a_torch_data_set_has_photos_and_maps(samples: ShardSet) -> None:
    import torch

    rows = samples.filter(lambda info: info.position > 0).to_torch([Task.DEPTH, Task.SEMANTIC])
    row = rows[0]
    assert (
        len(rows) == 6
        and row["key"] == samples.keys[1]
        and set(row)
        == {
            "key",
            "image",
            *(f"{task}{end}" for task in ("depth", "semantic") for end in ("", "_valid", "_confidence")),
        }
    )
    assert row["image"].shape == (3, 12, 16) and row["image"].dtype == torch.uint8
    assert row["semantic"].dtype == torch.int64 and row["depth_valid"].all()
    assert np.array_equal(row["depth"].numpy(), samples.label(1, Task.DEPTH).value)
    assert samples.to_torch()[0]["normals"].shape == (3, 12, 16)
    loader = torch.utils.data.DataLoader(rows, batch_size=2, collate_fn=list)
    assert [row["key"] for batch in loader for row in batch] == list(samples.keys[1:])
