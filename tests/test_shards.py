"""Tars and their manifest."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset

from distill.errors import DistillError, UsageError
from distill.images import encode_jpeg, encode_map
from distill.labels import Label, encode, write_meta
from distill.shards import (
    Manifest,
    Sample,
    check_digests,
    file_sha256,
    iter_sample_files,
    read_manifest,
    read_meta,
    read_samples,
    read_shard,
    verify,
    write_manifest,
    write_shard,
)
from distill.tar_files import iter_pieces
from distill.tasks import DepthKind, Task


def sample(key: str) -> Sample:
    valid = np.ones((4, 5), bool)
    depth = Label(Task.DEPTH, np.full((4, 5), 2.0, np.float32), valid, valid.astype(np.float32), DepthKind.METRIC)
    meta = {"name": f"{key}.jpg", "depth_kind": "metric"}
    return Sample(key, {"jpg": b"photo of " + key.encode(), "json": json.dumps(meta).encode(), **encode(depth)})


def write_set(folder: Path, keys: list[str], per_shard: int = 2) -> Manifest:
    entries = []
    for start in range(0, len(keys), per_shard):
        path = folder / f"shard-{start // per_shard:06d}.tar"
        entries.append(write_shard(path, map(sample, keys[start : start + per_shard])))
    manifest = Manifest(tasks=(Task.DEPTH,), shards=tuple(entries))
    write_manifest(folder, manifest)
    return manifest


def test_samples_come_back(tmp_path: Path) -> None:
    keys = ["a", "b", "ä", "d" * 120, "e"]
    manifest = write_set(tmp_path, keys)
    back = list(read_samples(tmp_path))
    assert [item.key for item in back] == keys
    assert back[0].photo == b"photo of a" and back[0].photo_suffix == "jpg" and back[0].tasks == (Task.DEPTH,)
    assert np.allclose(back[2].label(Task.DEPTH).value, 2.0, atol=1e-3)
    assert read_manifest(tmp_path) == manifest and manifest.samples == 5


def test_equal_samples_give_equal_bytes(tmp_path: Path) -> None:
    one = write_shard(tmp_path / "one.tar", [sample("a")])
    two = write_shard(tmp_path / "two.tar", [sample("a")])
    assert one.sha256 == two.sha256
    assert one.sha256 != write_shard(tmp_path / "three.tar", [sample("b")]).sha256


def test_a_shard_that_fails_half_way_leaves_no_file(tmp_path: Path) -> None:
    def fails() -> Iterator[Any]:
        yield sample("a")
        raise DistillError("the teacher stopped")

    with pytest.raises(DistillError, match="stopped"):
        write_shard(tmp_path / "x.tar", fails())
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_reported_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DistillError, match="No space left"):
        write_shard(tmp_path / "x.tar", [sample("a")])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["a.b", "a/b"])
def test_a_key_that_would_be_split_is_refused(key: str, tmp_path: Path) -> None:
    with pytest.raises(DistillError, match="dot or a slash"):
        write_shard(tmp_path / "x.tar", [sample(key)])


def test_verify_names_what_is_wrong(tmp_path: Path) -> None:
    write_set(tmp_path, ["a", "b", "c", "d", "e", "f"])
    assert verify(tmp_path) == []
    path = tmp_path / "shard-000000.tar"
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)
    (tmp_path / "shard-000002.tar").unlink()
    problems = verify(tmp_path)
    assert len(problems) == 2 and "checksum" in problems[0] and "missing" in problems[1]


def test_a_tar_of_another_length_is_not_read_as_part_of_the_set(tmp_path: Path) -> None:
    write_set(tmp_path, ["a", "b"])
    path = tmp_path / "shard-000000.tar"
    path.write_bytes(path.read_bytes() + bytes(512))  # still a whole tar
    assert len(list(read_shard(path))) > 0
    with pytest.raises(DistillError, match=r"shard-000000.tar: has \d+ bytes, and dataset.json states \d+"):
        list(read_samples(tmp_path))
    with pytest.raises(DistillError, match=r"shard-000000\.tar: has"):
        check_digests(tmp_path)


def test_a_truncated_shard_gives_its_readable_samples_and_then_an_error(tmp_path: Path) -> None:
    write_set(tmp_path, ["a", "b"])
    path = tmp_path / "shard-000000.tar"
    path.write_bytes(path.read_bytes()[:6500])
    found = []
    with pytest.raises(DistillError, match="cannot be read"):
        for item in read_shard(path):
            found.append(item.key)
    assert found == ["a"]


def test_a_folder_without_a_manifest_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a folder of shards"):
        read_manifest(tmp_path)
    write_shard(tmp_path / "shard-000000.tar", [sample("a")])
    with pytest.raises(UsageError, match="has not finished"):
        read_manifest(tmp_path)
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(UsageError, match="damaged"):
        read_manifest(tmp_path)


def test_a_damaged_label_names_its_sample() -> None:
    whole = sample("a")
    damaged = Sample("a", {**whole.files, "depth.png": whole.files["depth.png"][:40]})
    with pytest.raises(DistillError, match=r"sample a: depth\.png"):
        damaged.label(Task.DEPTH)


def test_a_set_of_the_earlier_format_is_refused_with_the_next_step(tmp_path: Path) -> None:
    write_set(tmp_path, ["a"])
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 1}))
    with pytest.raises(UsageError, match=r"format 1 .* is not 4.*label the photos again"):
        read_manifest(tmp_path)


def test_shards_are_plain_tars_with_fixed_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The digest is that of the tars written before WebDataset's writer was used and samples stated theirs."""
    monkeypatch.setattr("distill.shards.with_digest", lambda key, files: files)
    monkeypatch.setattr("distill.shards._uniform_files", lambda sample, tasks: sample.files)
    files = {"jpg": b"photo", "json": b"{}", "depth.png": bytes(range(256)) * 5}
    entry = write_shard(tmp_path / "x.tar", [Sample("a", files), Sample("é" * 60, files)])
    assert entry.sha256 == "e8ca190c5ca7a597fc69eb5a95b1dd5e6a798e2825e1c3ce172a0f2d06a7040b"
    with tarfile.open(tmp_path / "x.tar") as tar:
        members = tar.getmembers()
    assert [member.name for member in members[:3]] == ["a.depth.png", "a.jpg", "a.json"]
    assert {(member.mtime, member.mode, member.uid, member.uname, member.gname) for member in members} == {
        (0, 0o644, 0, "", "")
    }


@pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning"
)  # webdataset leaves the tar to the garbage collector
def test_webdataset_reads_the_shards(tmp_path: Path) -> None:
    write_set(tmp_path, ["a", "b"])
    path = str(tmp_path / "shard-000000.tar")
    samples = list(webdataset.WebDataset(path, shardshuffle=False, empty_check=False))
    assert [found["__key__"] for found in samples] == ["a", "b"]
    assert samples[0]["jpg"] == b"photo of a" and "depth.png" in samples[0]


def instances(count: int) -> Label:
    ids = np.zeros((4, 5), np.uint16)
    ids[0, :count] = np.arange(1, count + 1)
    names = dict.fromkeys(range(1, count + 1), "cup")
    valid = np.ones((4, 5), bool)
    return Label(Task.INSTANCE, ids, valid, valid.astype(np.float32), classes=("cup",), instance_classes=names)


def varied_samples() -> list[Sample]:
    """Photos of two formats; the last ones have another task, instances, a failure and more in their records."""
    found = []
    for number in range(8):
        label = instances(2) if number > 5 else sample("a").label(Task.DEPTH)
        meta: dict[str, Any] = {"name": f"{number}", "records": [{"task": str(label.task), "quality": 0.5}]}
        meta |= write_meta(label)
        if number > 5:
            meta["records"].append({"task": "depth", "notes": ["n"], "quality": 1})
            meta["failures"] = [{"task": "depth", "kind": "rejected", "reason": "flat"}]
        suffix, encoded = ("png", encode_png()) if number % 2 else ("jpg", encode_jpeg(np.zeros((4, 5, 3), np.uint8)))
        found.append(Sample(f"k{number}", {suffix: encoded, "json": json.dumps(meta).encode(), **encode(label)}))
    return found


def encode_png() -> bytes:
    return encode_map(np.zeros((4, 5, 3), np.uint8))


def test_samples_that_differ_get_the_same_files(tmp_path: Path) -> None:
    given = varied_samples()
    write_shard(tmp_path / "x.tar", given, (Task.DEPTH, Task.INSTANCE))
    stored = list(webdataset.WebDataset(str(tmp_path / "x.tar"), shardshuffle=False, empty_check=False))
    assert len({frozenset(row) for row in stored}) == 1 and "jpg" in stored[1] and "png" not in stored[1]
    back = list(read_shard(tmp_path / "x.tar"))
    assert [one.tasks for one in back] == [one.tasks for one in given] == 6 * [(Task.DEPTH,)] + 2 * [(Task.INSTANCE,)]
    for one, two in zip(given, back, strict=True):
        assert two.photo == one.photo and two.photo_format == one.photo_suffix
        assert {name: two.meta[name] for name in one.meta} == one.meta
    assert back[7].label(Task.INSTANCE).instance_classes == {1: "cup", 2: "cup"}
    again = write_shard(tmp_path / "again.tar", back, (Task.DEPTH, Task.INSTANCE))
    assert again.sha256 == hashlib.sha256((tmp_path / "x.tar").read_bytes()).hexdigest()


@pytest.mark.parametrize("streaming", [True, False])
def test_the_webdataset_loader_of_datasets_reads_samples_that_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streaming: bool
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    write_shard(tmp_path / "x.tar", varied_samples(), (Task.DEPTH, Task.INSTANCE))
    files = {"train": str(tmp_path / "x.tar")}
    rows = list(
        datasets.load_dataset(
            "webdataset", data_files=files, split="train", streaming=streaming, cache_dir=str(tmp_path / "cache")
        )
    )
    assert [row["depth.png"].size for row in rows] == 6 * [(5, 4)] + 2 * [(1, 1)]
    assert [row["id"] for row in rows[0]["json"]["instances"]] == [-1]
    assert [(row["id"], row["class"]) for row in rows[7]["json"]["instances"]] == [(1, "cup"), (2, "cup")]
    assert [row["quality"] for row in rows[7]["json"]["records"]] == [0.5, 1.0]


_NOT_REGULAR = [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")]


@pytest.mark.timeout(20)  # opening a pipe without a writer would wait forever
@pytest.mark.parametrize("make", _NOT_REGULAR)
@pytest.mark.parametrize("read", [read_shard, read_meta, iter_sample_files, iter_pieces])
def test_only_regular_files_are_read(
    tmp_path: Path, make: Callable[[Path], None], read: Callable[[Path], Iterator[Any]]
) -> None:
    make(tmp_path / "shard-000000.tar")
    with pytest.raises((DistillError, OSError, tarfile.TarError), match="not a regular file"):
        list(read(tmp_path / "shard-000000.tar"))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", _NOT_REGULAR)
def test_no_digest_of_pipes_and_devices(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "x")
    with pytest.raises(OSError, match="not a regular file"):
        file_sha256(tmp_path / "x")


@pytest.mark.timeout(20)
def test_licenses_of_a_pipe_are_refused(tmp_path: Path) -> None:
    from distill.workflows.license import read_licenses

    os.mkfifo(tmp_path / "shard-000001.tar")
    with pytest.raises(DistillError, match="not a regular file"):
        read_licenses(tmp_path)
