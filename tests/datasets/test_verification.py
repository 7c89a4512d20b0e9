"""Verification finds every change of a set, names it, and salvages the rest."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import distill
from distill.datasets.verify_report import VerifyReport
from distill.datasets.writer import ShardSetWriter
from distill.errors import DistillError, UsageError
from distill.images import encode_jpeg, encode_map
from distill.shards import Sample, file_sha256, read_manifest, read_samples, write_manifest, write_shard
from distill.tasks import Task
from tests.builders.cli import Cli
from tests.builders.label_sets import ALL_TASKS, photo, sample, write_set
from tests.builders.shards import write_tiny_shards

verify = distill.data.verify


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_shards(tmp_path_factory.mktemp("data") / "whole", num_samples=6, shard_size=3, size_hw=(8, 12))


@pytest.fixture
def damaged(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "damaged")


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def names(report: VerifyReport, at: int) -> bool:
    ranges = [(fault.first_byte, fault.last_byte) for fault in report.faults]
    return any(first is not None and last is not None and first <= at <= last for first, last in ranges)


def rewrite(path: Path, change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]) -> None:
    """Change the list of members of a tar."""
    with tarfile.open(path) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]
    change(members)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize("quick", [False, True])
def test_an_intact_set_has_no_fault(whole: Path, quick: bool) -> None:
    report = verify(whole, quick=quick)
    assert report.num_faults == 0 and not report.faults and "intact" in report.to_text()
    assert report.to_dict()["ok"] and report.shards == 2 and report.samples == 6
    assert report.bytes == sum(path.stat().st_size for path in whole.glob("*.tar"))


def test_sets_of_all_tasks_with_missing_labels_are_intact(tmp_path: Path) -> None:
    write_set(tmp_path / "set", (sample(photo(seed), ALL_TASKS[: seed + 1], seed=seed) for seed in range(5)))
    report = verify(tmp_path / "set")
    assert not report.num_faults, report.to_text()


def test_every_flipped_bit_is_found_and_named_and_untouched_samples_are_kept(
    whole: Path, damaged: Path, tmp_path: Path
) -> None:
    """A part of `benchmarks/data_verify.py`."""
    rng, tars = random.Random(0), sorted(whole.glob("*.tar"))
    before = {sample.key: sample.files for sample in read_samples(whole)}
    for number in range(24):
        source = rng.choice(tars)
        bit = rng.randrange(8 * source.stat().st_size)
        flip(damaged / source.name, bit)
        report = verify(damaged, quick=number % 2 == 0, salvage=tmp_path / f"out{number}")
        assert report.num_faults and names(report, bit // 8), (source.name, bit, report.to_text())
        kept = {sample.key: sample.files for sample in read_samples(tmp_path / f"out{number}")}
        assert report.kept == len(kept) >= 5 and kept.items() <= before.items()
        flip(damaged / source.name, bit)
    assert not verify(damaged, quick=True).num_faults


@pytest.mark.parametrize("part", [0.3, 0.6, 0.99])
def test_a_cut_tar(damaged: Path, tmp_path: Path, part: float) -> None:
    path = sorted(damaged.glob("*.tar"))[1]
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    report = verify(damaged, salvage=tmp_path / "out")
    assert report.num_faults and report.faults[0].file == path.name
    assert report.kept == 6 - report.damaged >= 3
    assert not verify(tmp_path / "out").num_faults


@pytest.mark.parametrize("extension", ["depth.png", "json", "jpg", "normals.confidence.png"])
def test_a_missing_member(damaged: Path, extension: str) -> None:
    path = sorted(damaged.glob("*.tar"))[0]
    name = f"blocks-0001.{extension}"
    rewrite(path, lambda members: members.remove(next(row for row in members if row[0].name == name)))
    report = verify(damaged)
    assert report.damaged == 1 and {fault.key for fault in report.faults} == {"blocks-0001"}, report.to_text()


def test_a_member_that_comes_twice(damaged: Path, tmp_path: Path) -> None:
    path = sorted(damaged.glob("*.tar"))[0]
    rewrite(path, lambda members: members.append(members[1]))
    report = verify(damaged, salvage=tmp_path / "out")
    assert any("comes twice" in fault.reason for fault in report.faults), report.to_text()
    assert {sample.key for sample in read_samples(tmp_path / "out")} == {f"blocks-{n:04d}" for n in range(6)}


def test_a_key_of_another_tar(damaged: Path) -> None:
    """Both tars are as the manifest states; together they have a key twice."""
    manifest = read_manifest(damaged)
    first = manifest.shards[0]
    shutil.copy(damaged / first.name, damaged / "shard-000009.tar")
    write_manifest(
        damaged,
        manifest.model_copy(
            update={"shards": (*manifest.shards, first.model_copy(update={"name": "shard-000009.tar"}))}
        ),
    )
    report = verify(damaged)
    assert [fault.reason for fault in report.faults] == ["the key comes twice"] * 3
    assert {fault.file for fault in report.faults} == {"shard-000009.tar"}


def test_missing_extra_and_replaced_tars(damaged: Path, tmp_path: Path) -> None:
    first, second = sorted(damaged.glob("*.tar"))
    shutil.copy(first, damaged / "shard-000077.tar")
    second.unlink()
    report = verify(damaged, salvage=tmp_path / "out")
    assert {(fault.file, fault.reason.split(":")[0]) for fault in report.faults} == {
        ("shard-000077.tar", "is not in dataset.json"),
        (second.name, "missing"),
    }
    assert report.kept == 3 and read_manifest(tmp_path / "out").samples == 3


def test_a_wrong_digest_in_the_manifest(damaged: Path) -> None:
    manifest = read_manifest(damaged)
    wrong = manifest.shards[0].model_copy(update={"sha256": "0" * 64})
    write_manifest(damaged, manifest.model_copy(update={"shards": (wrong, *manifest.shards[1:])}))
    report = verify(damaged)
    (fault,) = report.faults
    assert fault.file == wrong.name and "all samples are whole" in fault.reason and report.damaged == 0


def test_a_changed_and_a_damaged_manifest(damaged: Path) -> None:
    path = damaged / "dataset.json"
    text = path.read_text()
    path.write_text(text.replace('"green"', '"greed"'))
    assert [fault.file for fault in verify(damaged, quick=True).faults] == ["dataset.json"]
    path.write_text(text[:40])
    report = verify(damaged)
    assert [str(fault) for fault in report.faults] == ["dataset.json: the manifest is damaged"]
    with pytest.raises(UsageError, match="damaged"):
        verify(damaged, salvage=damaged.parent / "out")
    path.unlink()
    with pytest.raises(UsageError, match=r"no dataset\.json"):
        verify(damaged)


def test_a_changed_manifest_is_not_handed_on(damaged: Path, tmp_path: Path) -> None:
    path = damaged / "dataset.json"
    text = path.read_text()
    path.write_text(text.replace('"CC0"', '"CC1"'))
    with pytest.raises(DistillError, match="class names may be wrong"):
        verify(damaged, salvage=tmp_path / "out")
    plan = {"shards": [["a"], ["b"]], "classes": list(read_manifest(damaged).classes)}
    (damaged / ".stats").mkdir()
    (damaged / ".stats" / "plan.json").write_text(json.dumps(plan))
    report = verify(damaged, salvage=tmp_path / "out")
    assert report.kept == 6 and [fault.file for fault in report.faults] == ["dataset.json"]
    manifest = read_manifest(tmp_path / "out")
    assert manifest.classes == tuple(plan["classes"]) and "CC1" not in manifest.licenses
    assert not verify(tmp_path / "out").num_faults


def test_tars_of_a_job_that_goes_on_are_no_fault(damaged: Path) -> None:
    shutil.copy(damaged / "shard-000000.tar", damaged / "shard-000007.tar")
    (damaged / ".stats").mkdir()
    (damaged / ".stats" / "plan.json").write_text(json.dumps({"shards": [["a"]] * 8}))
    report = verify(damaged)
    assert not report.num_faults and report.unsealed == 1 and "distill data seal" in report.to_text()
    shutil.copy(damaged / "shard-000000.tar", damaged / "shard-000008.tar")
    assert [fault.file for fault in verify(damaged, quick=True).faults] == ["shard-000008.tar"]


@pytest.mark.parametrize("quick", [False, True])
def test_a_tar_that_is_no_file(damaged: Path, quick: bool) -> None:
    path = sorted(damaged.glob("*.tar"))[0]
    path.unlink()
    os.mkfifo(path)
    assert [fault.reason for fault in verify(damaged, quick=quick).faults] == ["cannot be read: not a regular file"]


def with_sample(folder: Path, changed: Callable[[dict[str, bytes], dict[str, Any]], None]) -> Path:
    """A set of one sample whose files were changed before they were written."""
    write_tiny_shards(folder, num_samples=1, size_hw=(8, 12))
    (sample,) = read_samples(folder)
    files, meta = dict(sample.files), dict(sample.meta)
    changed(files, meta)
    files["json"] = json.dumps(meta).encode()
    manifest = read_manifest(folder)
    entry = write_shard(folder / manifest.shards[0].name, [Sample(sample.key, files)], manifest.tasks)
    write_manifest(folder, manifest.model_copy(update={"shards": (entry,)}))
    return folder


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("depth.png", encode_map(np.ones((8, 12), np.uint8)), "no depth map"),
        ("depth.png", encode_map(np.ones((12, 8), np.uint16)), "another shape"),
        ("depth.png", b"\x89PNG\r\n\x1a\nno", "does not decode"),
        ("semantic.png", encode_map(np.full((8, 12), 3, np.uint8)), "has id 3, and the list has 3 names"),
        ("normals.png", encode_map(np.full((8, 12, 3), 250, np.uint8)), "96 of 96 normals are no unit vectors"),
        ("depth.confidence.png", encode_map(np.ones((4, 6), np.uint8)), "the map has (8, 12)"),
        ("jpg", b"no photo", "does not decode"),
        ("jpg", encode_jpeg(np.zeros((8, 12, 3), np.uint8)), "not the one that was labeled"),
    ],
)
def test_wrong_content_is_found_although_all_digests_are_right(
    name: str, data: bytes, words: str, tmp_path: Path
) -> None:
    folder = with_sample(tmp_path / "set", lambda files, meta: files.update({name: data}))
    report = verify(folder)
    assert any(words in fault.reason for fault in report.faults), report.to_text()
    assert f"blocks-0000.{name}" in {fault.member for fault in report.faults}
    assert not verify(folder, quick=True).num_faults


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size_hw": [9, 12]}, "size_hw is [9, 12]"),
        ({"depth_kind": "scale_invariant"}, "dataset.json states metric"),
        ({"records": [{"task": "edges"}]}, "the json has a record of this label"),
        ({"records": [{"task": "depth", "license": "CC-BY-NC-4.0"}]}, "CC-BY-NC-4.0 is not in dataset.json"),
        ({"photo_hash": "not hex"}, "photo_hash"),
    ],
)
def test_a_json_that_contradicts_its_set_is_found(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    folder = with_sample(tmp_path / "set", lambda files, meta: meta.update(changes))
    report = verify(folder)
    assert any(words in fault.reason for fault in report.faults), report.to_text()


def test_labels_that_are_not_of_the_set(tmp_path: Path) -> None:
    folder = write_tiny_shards(tmp_path / "set", num_samples=1, size_hw=(8, 12))
    manifest = read_manifest(folder)
    write_manifest(folder, manifest.model_copy(update={"tasks": (Task.DEPTH, Task.NORMALS)}))
    assert [fault.reason for fault in verify(folder).faults] == ["dataset.json states no semantic labels"]


def test_shards_of_other_programs_without_digests(tmp_path: Path) -> None:
    """Plain tars without json: damage is found; what is next to it cannot be proven whole."""
    folder = write_tiny_shards(tmp_path / "set", num_samples=3, size_hw=(8, 12), tasks=(Task.DEPTH,))
    manifest = read_manifest(folder)
    path = folder / manifest.shards[0].name
    rewrite(
        path, lambda members: members.__setitem__(slice(None), [row for row in members if "json" not in row[0].name])
    )

    entry = manifest.shards[0].model_copy(update={"sha256": file_sha256(path), "bytes": path.stat().st_size})
    write_manifest(folder, manifest.model_copy(update={"shards": (entry,)}))
    assert not verify(folder).num_faults
    with tarfile.open(path) as tar:
        at = tar.getmembers()[3].offset
    flip(path, 8 * at + 3)
    report = verify(folder, salvage=tmp_path / "out")
    assert names(report, at) and report.damaged == 2 and report.kept == 1


def test_a_plan_writes_nothing_and_out_must_be_new(damaged: Path, tmp_path: Path) -> None:
    flip(sorted(damaged.glob("*.tar"))[0], 8 * 532)
    report = verify(damaged, salvage=tmp_path / "out", plan=True)
    assert report.kept == 5 and "would be" in report.to_text() and not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="not an empty folder"):
        verify(damaged, salvage=damaged)
    with pytest.raises(UsageError, match="is inside of"):
        verify(damaged, salvage=damaged / "out")


def test_salvage_of_nothing_leaves_nothing(damaged: Path, tmp_path: Path) -> None:
    for path in damaged.glob("*.tar"):
        path.write_bytes(b"\xff" * 4000)
    with pytest.raises(DistillError, match="no sample is whole"):
        verify(damaged, salvage=tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["damaged"]


def test_intact_tars_keep_their_bytes(damaged: Path, tmp_path: Path) -> None:
    first, second = sorted(damaged.glob("*.tar"))
    flip(second, 8 * 532)
    verify(damaged, salvage=tmp_path / "out", quick=True)
    assert (tmp_path / "out" / first.name).read_bytes() == first.read_bytes()
    manifest = read_manifest(tmp_path / "out")
    assert manifest.classes == read_manifest(damaged).classes and manifest.counts["depth"] == manifest.samples == 5


def test_names_of_strangers_do_not_reach_the_terminal_raw(tmp_path: Path, whole: Path) -> None:
    with ShardSetWriter(tmp_path / "set", classes=("a", "b", "c")) as writer:
        for sample in read_samples(whole):
            files = {**sample.files, "semantic.png": encode_map(np.full((8, 12), 9, np.uint8))}
            writer.add(Sample(f"\x1b[2J{sample.key}", files), read_manifest(whole))
    code, printed, _ = Cli()("data", "verify", tmp_path / "set")
    assert code == 1 and "\x1b" not in printed and "\\x1b[2Jblocks-0000" in printed
