"""Broken samples and shards: left out, counted, named; the rest is learned, and too many stop the run."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from distill.errors import DistillError
from distill.shards import read_manifest, read_shard, write_manifest, write_shard
from distill.students.checkpoint import load_student
from distill.students.data.bad_samples import BAD_SAMPLES, read_bad_samples
from distill.students.data.dataset import ShardDataset
from distill.students.data.dataset_index import read_index
from distill.students.data.sampler import EpochBatchSampler, build_loader
from distill.students.training.fit import FitResult, TrainingData, fit, load_training_data
from tests.builders.students import RecordingReporter, config_for

MakeShards = Callable[..., Path]
NOWHERE = ("data.memory_cache_gib=0", "data.disk_cache_gib=0", "data.workers=1")
WAYS = [(), ("data.memory_cache_gib=0",), NOWHERE]


def spoil(folder: Path, key: str, extension: str, change: Callable[[bytes], bytes | None]) -> None:
    """Change one file of one sample; None takes it away."""
    manifest = read_manifest(folder)
    entries = []
    for shard in manifest.shards:
        samples = list(read_shard(folder / shard.name))
        for sample in samples:
            if sample.key == key:
                data = change(sample.files.pop(extension))
                sample.files.update({} if data is None else {extension: data})
        entries.append(write_shard(folder / shard.name, samples))
    write_manifest(folder, manifest.model_copy(update={"shards": tuple(entries)}))


def cut(shard: Path, key: str) -> None:
    """End the tar in the middle of this sample's photo."""
    with tarfile.open(shard) as tar:
        place = tar.getmember(f"{key}.jpg").offset_data + 50
    shard.write_bytes(shard.read_bytes()[:place])


def train(
    shards: Path, run_dir: Path, *words: str, resume: bool = False
) -> tuple[FitResult, list[str], list[TrainingData]]:
    config, reporter, begun = config_for(shards, "data.batch_size=4", *words), RecordingReporter(), list[TrainingData]()
    run_dir.mkdir(exist_ok=True)
    result = fit(config, load_training_data(config), run_dir, reporter, resume=resume, begin=begun.append)
    return result, reporter.said, begun


@pytest.fixture
def shards(make_shards: MakeShards, tmp_path: Path) -> Path:
    """40 samples in shards of 10; one photo is truncated, and one map is not an image."""
    folder = make_shards(tmp_path / "shards", num_samples=40)
    spoil(folder, "blocks-0007", "jpg", lambda data: data[: len(data) // 2])
    spoil(folder, "blocks-0013", "depth.png", lambda data: b"nothing")
    return folder


@pytest.mark.parametrize("way", WAYS, ids=["memory", "disk", "nowhere"])
def test_bad_samples_are_skipped_and_listed(way: tuple[str, ...], shards: Path, tmp_path: Path) -> None:
    result, said, _ = train(shards, tmp_path / "run", "train.epochs=1", *way)
    assert [(part.key, part.samples) for part in sorted(result.bad_samples, key=lambda part: part.key)] == [
        ("blocks-0007", 1),
        ("blocks-0013", 1),
    ]
    assert tuple(read_bad_samples(tmp_path / "run" / BAD_SAMPLES)) == result.bad_samples
    text = "\n".join(said)
    assert "skipped 2 of 40 samples" in text and "Traceback" not in text
    assert f"  {shards / 'shard-000000.tar'}: blocks-0007: the image cannot be decoded" in text
    assert f"  {shards / 'shard-000010.tar'}: blocks-0013: depth.png" in text


def test_memory_and_disk_cache_skip_the_same_samples(shards: Path, tmp_path: Path) -> None:
    scores = list[list[float]]()
    for number, way in enumerate(WAYS[:2]):
        result, _, (data,) = train(shards, tmp_path / str(number), "train.epochs=1", *way)
        scores.append([row["val_score"] for row in result.history])
        assert len(data.train) + len(data.val) == 38
        assert load_student(tmp_path / str(number))[1].provenance["photos"] == str(len(data.train))
    assert scores[0] == scores[1]
    kept = ("data.memory_cache_gib=0", f"data.cache_dir={tmp_path / 'kept'}")
    for name in ("first", "again"):  # the second one reuses the decoded files and the list
        result, _, _ = train(shards, tmp_path / name, "train.epochs=1", *kept)
        assert len(result.bad_samples) == 2 and [row["val_score"] for row in result.history] == scores[0]


def test_a_worker_gives_a_bad_sample_no_weight(shards: Path) -> None:
    index = read_index([shards])
    photos = ShardDataset(index.entries, index.tasks, (32, 40))
    batches = EpochBatchSampler(40, 4, seed=0, shuffle=False)
    (second, fourth) = [
        batch for number, batch in enumerate(build_loader(photos, batches, workers=1)) if number in (1, 3)
    ]
    assert second["row"].tolist() == [4, 5, 6, ~7] and fourth["row"].tolist() == [12, ~13, 14, 15]
    for task in index.tasks:
        assert second[f"{task}_confidence"].flatten(1).any(dim=1).tolist() == [True, True, True, False]
    assert torch.equal(second["image"][3], second["image"][0])  # an ordinary image for the batch norms
    error = photos.error(7)
    assert error is not None and error.key == "blocks-0007" and photos.error(6) is None


@pytest.mark.parametrize(
    ("extension", "change", "reason"),
    [
        ("jpg", lambda data: b"no picture", "not an image in any known format"),
        ("jpg", lambda data: None, "the sample has no photo"),
        ("semantic.png", lambda data: data[:60], "semantic.png"),
        ("json", lambda data: b"{", "its json is damaged"),
        ("json", lambda data: b'{"records": 5}', "its json is wrong: records"),
    ],
)
def test_every_fault_of_a_sample_is_named(
    extension: str, change: Callable[[bytes], bytes | None], reason: str, make_shards: MakeShards, tmp_path: Path
) -> None:
    folder = make_shards(tmp_path, num_samples=12)
    spoil(folder, "blocks-0003", extension, change)
    index = read_index([folder])
    photos = ShardDataset(index.entries, index.tasks, (32, 32))
    photos.cache_in_memory()
    (part,) = (*index.bad_samples, *photos.bad_samples)
    assert (part.shard, part.key, part.samples) == (str(folder / "shard-000000.tar"), "blocks-0003", 1)
    assert reason in part.reason and len(photos) == 11
    batch = photos.__getitems__(list(range(11)))
    assert batch["semantic_confidence"].flatten(1).any(dim=1).all()


@pytest.mark.parametrize(
    ("harm", "lost", "reason"),
    [
        (lambda path: path.unlink(), 2, "2 samples are lost: it cannot be read: No such file"),
        (lambda path: path.write_bytes(b"garbage" * 99), 2, "2 samples are lost: it cannot be read"),
        (lambda path: cut(path, "blocks-0021"), 1, "1 samples are lost: it cannot be read: unexpected end of data"),
    ],
    ids=["missing", "garbage", "truncated"],
)
def test_a_damaged_shard_is_listed_and_the_others_are_used(
    harm: Callable[[Path], object], lost: int, reason: str, make_shards: MakeShards, tmp_path: Path
) -> None:
    folder = make_shards(tmp_path, num_samples=22)  # 10, 10 and 2
    shard = folder / "shard-000020.tar"
    harm(shard)
    index = read_index([folder])
    (part,) = index.bad_samples
    assert (part.shard, part.key, part.samples) == (str(shard), "", lost) and part.reason.startswith(reason)
    assert len(index.entries) == 22 - lost
    ShardDataset(index.entries, index.tasks, (32, 32)).cache_in_memory()


def test_a_tar_that_ends_between_two_samples_is_missed(make_shards: MakeShards, tmp_path: Path) -> None:
    folder = make_shards(tmp_path, num_samples=20)
    shard = folder / "shard-000010.tar"
    with tarfile.open(shard) as tar:
        cut = next(member.offset for member in tar if member.name.startswith("blocks-0019"))
    shard.write_bytes(shard.read_bytes()[:cut])
    index = read_index([folder])
    assert [part.samples for part in index.bad_samples] == [2]  # the sample before the cut may be incomplete
    assert [entry.key for entry in index.entries] == [f"blocks-{number:04d}" for number in range(18)]


def test_a_whole_tar_of_another_length_is_left_out(make_shards: MakeShards, tmp_path: Path) -> None:
    folder = make_shards(tmp_path / "shards", num_samples=20)
    other = make_shards(tmp_path / "other", num_samples=11, shard_size=11)
    shard = folder / "shard-000010.tar"
    shard.write_bytes((other / "shard-000000.tar").read_bytes())
    index = read_index([folder])
    (part,) = index.bad_samples
    assert part.samples == 10 and re.fullmatch(
        r"10 samples are left out: the tar has \d+ bytes, and dataset\.json states \d+", part.reason
    )
    assert [entry.key for entry in index.entries] == [f"blocks-{number:04d}" for number in range(10)]


@pytest.mark.parametrize("way", WAYS, ids=["memory", "disk", "nowhere"])
def test_too_many_stop_the_run_with_the_first_by_name(
    way: tuple[str, ...], make_shards: MakeShards, tmp_path: Path
) -> None:
    folder = make_shards(tmp_path / "shards", num_samples=24)
    for number in range(3, 16):
        spoil(folder, f"blocks-{number:04d}", "jpg", lambda data: data[:300])
    with pytest.raises(
        DistillError, match=r"13 of 24 samples are damaged, more than half; the first is .*blocks-00"
    ) as caught:
        train(folder, tmp_path / "run", "train.epochs=2", *way)
    assert "\n" not in str(caught.value)


def test_a_resumed_run_keeps_its_list_of_bad_samples(shards: Path, tmp_path: Path) -> None:
    whole, _, _ = train(shards, tmp_path / "whole", "train.epochs=2", "train.num_validations=2", *NOWHERE)
    train(shards, tmp_path / "parts", "train.epochs=1", "train.num_validations=1", *NOWHERE, "optim.lr=1e-9")
    parts, _, _ = train(shards, tmp_path / "parts", "train.epochs=2", "train.num_validations=2", *NOWHERE, resume=True)
    assert parts.bad_samples == whole.bad_samples and parts.steps == whole.steps


def test_a_mended_set_leaves_no_list_behind(shards: Path, make_shards: MakeShards, tmp_path: Path) -> None:
    train(shards, tmp_path / "run", "train.epochs=1")
    assert (tmp_path / "run" / BAD_SAMPLES).is_file()
    make_shards(shards, num_samples=40)
    result, _, _ = train(shards, tmp_path / "run", "train.epochs=2", resume=True)
    assert result.bad_samples == () and not (tmp_path / "run" / BAD_SAMPLES).exists()
