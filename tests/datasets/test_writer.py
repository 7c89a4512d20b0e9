"""The writer of sets: complete or absent, equal bytes, a manifest of what was written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from distill.datasets.manifest_builder import ManifestBuilder
from distill.datasets.shard_set import open
from distill.datasets.writer import ShardSetWriter
from distill.errors import DistillError, UsageError
from distill.shards import Manifest, verify
from distill.tasks import DepthKind, Task
from tests.builders.label_sets import ALL_TASKS, CLASSES, THINGS, photo, sample, write_set


def test_a_set_that_is_written_opens_and_states_its_contents(tmp_path: Path) -> None:
    shards = write_set(tmp_path / "set", [sample(photo(seed), seed=seed) for seed in range(5)])
    manifest = shards.manifest
    assert [one.key for one in shards] == [photo(seed).key for seed in range(5)]
    assert manifest.tasks == tuple(task for task in Task if task in ALL_TASKS) and manifest.counts["depth"] == 5
    assert manifest.classes == CLASSES and manifest.instance_classes == THINGS and manifest.licenses == ("MIT",)
    assert [entry.samples for entry in manifest.shards] == [3, 2] and verify(tmp_path / "set") == []
    assert "load_dataset" in (tmp_path / "set" / "README.md").read_text()


def test_equal_samples_give_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write_set(tmp_path / name, [sample(photo(1)), sample(photo(2))])
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "ab"]
    assert files[0] == files[1]


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="on the way"), ShardSetWriter(tmp_path / "set", classes=CLASSES) as writer:
        writer.add(sample(photo(1)))
        raise RuntimeError("on the way")
    assert list(tmp_path.iterdir()) == []


def test_the_rest_of_a_killed_process_is_removed_and_that_of_a_running_one_is_not(tmp_path: Path) -> None:
    gone, running = tmp_path / ".set.4194305.part", tmp_path / f".set.{os.getppid()}.part"
    for folder in (gone, running):
        folder.mkdir()
    write_set(tmp_path / "set", [sample(photo(1))])
    assert not gone.exists() and running.exists()


def test_a_folder_with_files_is_not_written_to(tmp_path: Path) -> None:
    write_set(tmp_path / "set", [sample(photo(1))])
    with pytest.raises(UsageError, match="not an empty folder"), ShardSetWriter(tmp_path / "set"):
        pass
    assert len(open(tmp_path / "set")) == 1


def test_a_key_that_comes_twice_is_an_error_and_free_key_finds_another(tmp_path: Path) -> None:
    with ShardSetWriter(tmp_path / "set", classes=CLASSES) as writer:
        writer.add(sample(photo(1, "a.jpg")))
        with pytest.raises(DistillError, match="the key A comes twice"):
            writer.add(sample(photo(2, "A.jpg")))
        assert writer.free_key("b", "0123456789") == "b" and writer.free_key("A", "0123456789") == "A-01234567"


def test_two_depth_kinds_are_an_error() -> None:
    builder = ManifestBuilder()
    builder.add(sample(photo(1), [Task.DEPTH]))
    with pytest.raises(DistillError, match="is metric, that of photo_c is scale_invariant"):
        builder.add(sample(photo(2), [Task.DEPTH], kind=DepthKind.SCALE_INVARIANT))


def test_what_a_sample_does_not_state_comes_from_its_set() -> None:
    builder = ManifestBuilder(CLASSES)
    source = Manifest(tasks=(Task.SEMANTIC,), shards=(), teachers=("t",), licenses=("L",), terms={"L": "link"})
    builder.add(sample(photo(1), [Task.SEMANTIC], license="", teacher=""), source)
    manifest = builder.build([])
    assert (manifest.teachers, manifest.licenses, manifest.terms) == (("t",), ("L",), {"L": "link"})
