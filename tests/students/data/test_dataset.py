from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from distill.errors import DistillError, UsageError
from distill.images import decode_rgb, encode_jpeg, encode_map
from distill.students.data.batch_targets import decode_batch
from distill.students.data.dataset import ShardDataset
from distill.students.data.dataset_index import read_index
from distill.students.data.decode import decode_photo, decode_task
from distill.students.data.sampler import EpochBatchSampler, PrefetchLoader, build_loader
from distill.students.data.split import split
from distill.tasks import FAR_WARP, DepthKind, Task, unwarp_depth

MakeShards = Callable[..., Path]


def test_the_index_finds_every_sample_and_reads_its_bytes(make_shards: MakeShards, tmp_path: Path) -> None:
    index = read_index([make_shards(tmp_path)])
    assert [entry.key for entry in index.entries] == [f"blocks-{i:04d}" for i in range(24)]
    assert index.tasks == (Task.DEPTH, Task.NORMALS, Task.SEMANTIC)
    assert index.classes == ("background", "red", "green") and index.teachers == ("blocks",)
    sample = index.entries[17].read()
    assert (
        sample.photo[:2] == b"\xff\xd8" and "depth.png" in sample.files and index.entries[17].quality[Task.DEPTH] == 1
    )


def test_the_split_is_by_photo_and_survives_a_relabel(make_shards: MakeShards, tmp_path: Path) -> None:
    first = read_index([make_shards(tmp_path / "a", num_samples=40)])
    relabel = make_shards(tmp_path / "b", num_samples=40, tasks=(Task.DEPTH,), shard_size=7, confidence=0.5)
    both = read_index([relabel, tmp_path / "a"], [Task.DEPTH])
    val = split(first.entries, 0.3).val
    parts = split(both.entries, 0.3)
    train_both, val_both = parts.train, parts.val
    assert {entry.photo_sha256 for entry in val_both} == {entry.photo_sha256 for entry in val}
    assert len(val_both) == 2 * len(val) and 4 <= len(val) <= 20
    assert not {entry.photo_sha256 for entry in val_both} & {entry.photo_sha256 for entry in train_both}
    # Frozen: a change of the rule would leak photos of earlier runs.
    wanted = {entry.key for entry in first.entries if int(entry.photo_sha256[:8], 16) % 1000 < 300}
    assert {entry.key for entry in val} == wanted


def test_an_empty_split_is_refused(make_shards: MakeShards, tmp_path: Path) -> None:
    entries = read_index([make_shards(tmp_path, num_samples=3)]).entries
    with pytest.raises(UsageError, match=r"the validation split is empty: 3 photos at data.val_fraction=0.001"):
        split(entries, 0.001)
    with pytest.raises(UsageError, match="the training split is empty"):
        split(entries, 0.9999)
    whole = split(entries, 0.0)
    assert (whole.train, whole.val, whole.description) == (entries, (), "no validation")


def test_shards_that_disagree_are_refused(make_shards: MakeShards, tmp_path: Path) -> None:
    one = make_shards(tmp_path / "one", num_samples=2)
    other = make_shards(tmp_path / "other", num_samples=2, classes=("background", "blue", "green"))
    relative = make_shards(tmp_path / "relative", num_samples=2, depth_kind=DepthKind.AFFINE_INVARIANT_DISPARITY)
    depth_only = make_shards(tmp_path / "depth", num_samples=2, tasks=(Task.DEPTH,))
    with pytest.raises(UsageError, match=r"classes of its semantic labels is background, blue, green, that of"):
        read_index([one, other])
    assert len(read_index([one, other], [Task.DEPTH]).entries) == 4
    with pytest.raises(
        UsageError, match=r"depth_kind of its depth labels is affine_invariant_disparity, that of .* is metric"
    ):
        read_index([one, relative])
    with pytest.raises(UsageError, match="has no normals labels, only depth"):
        read_index([one, depth_only], [Task.NORMALS])
    assert read_index([one, depth_only]).tasks == (Task.DEPTH,)
    with pytest.raises(UsageError, match="no shards are given"):
        read_index([])


def test_a_truncated_shard_is_named(make_shards: MakeShards, tmp_path: Path) -> None:
    shard = make_shards(tmp_path, num_samples=3) / "shard-000000.tar"
    shard.write_bytes(shard.read_bytes()[:5000])
    with pytest.raises(DistillError, match=r"shard-000000.tar"):
        ShardDataset(read_index([tmp_path]).entries, (Task.DEPTH,), (32, 32)).cache_in_memory()


@pytest.mark.parametrize("num_ranks", [1, 2, 4])
@pytest.mark.parametrize("num_rows", [8, 37, 100])
def test_every_row_once_an_epoch_over_all_ranks(num_rows: int, num_ranks: int) -> None:
    ranks = [
        EpochBatchSampler(num_rows, 8, seed=1, shuffle=True, rank=rank, num_ranks=num_ranks)
        for rank in range(num_ranks)
    ]
    epochs = []
    for epoch in range(2):
        found = []
        for rank in ranks:
            rank.set_epoch(epoch)
            batches = list(rank)
            assert len(batches) == len(rank) == len(ranks[0])
            assert all(1 <= len(batch) <= 8 for batch in batches)
            found += [row for batch in batches for row in batch]
        assert sorted(found) == list(range(num_rows))
        epochs.append(found)
    assert epochs[0] != epochs[1]


def test_batches_repeat_by_seed_and_skip_seen_ones() -> None:
    batches = EpochBatchSampler(50, 8, seed=5, shuffle=True)
    batches.set_epoch(3)
    whole = list(batches)
    batches.set_epoch(3, skip=4)
    assert list(batches) == whole[4:] and len(batches) == 7
    assert list(batches) == whole  # the skip is for one epoch only


def test_memory_and_workers_give_the_same_batches(make_shards: MakeShards, tmp_path: Path) -> None:
    index = read_index([make_shards(tmp_path, num_samples=12)])
    photos = [ShardDataset(index.entries, index.tasks, (32, 40)) for _ in range(2)]
    counted: list[int] = []
    photos[0].cache_in_memory(lambda: counted.append(1))
    assert len(counted) == 12 and photos[0].num_bytes == 12 * (32 * 40 * 12 + 12)
    batches = EpochBatchSampler(12, 5, seed=0, shuffle=True)
    cached, streamed = (list(build_loader(one, batches, workers=1)) for one in photos)
    assert len(cached) == len(streamed) == 3
    for one, two in zip(cached, streamed, strict=True):
        assert one.keys() == two.keys()
        for name in one:
            assert one[name].dtype == two[name].dtype and torch.equal(one[name].float(), two[name].float())


def test_prefetched_batches_are_equal_and_errors_propagate(
    make_shards: MakeShards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = read_index([make_shards(tmp_path, num_samples=12)])
    photos = ShardDataset(index.entries, index.tasks, (32, 40))
    batches = EpochBatchSampler(12, 5, seed=0, shuffle=True)
    loader = build_loader(photos, batches, workers=0)
    ahead = PrefetchLoader(loader)
    assert len(ahead) == 3 and ahead.batch_sampler is batches
    for one, two in zip(loader, ahead, strict=True):
        assert torch.equal(one["row"], two["row"]) and torch.equal(one["image"], two["image"])
    threads = threading.active_count()
    for _ in ahead:
        break  # who stops early leaves no thread behind
    assert threading.active_count() == threads

    def fail(rows: list[int]) -> None:
        raise DistillError("the disk is gone")

    monkeypatch.setattr(photos, "__getitems__", fail)
    with pytest.raises(DistillError, match="the disk is gone"):
        list(PrefetchLoader(loader))


def test_targets_equal_the_labels(make_shards: MakeShards, tmp_path: Path) -> None:
    index = read_index([make_shards(tmp_path, num_samples=4, confidence=0.5)])
    photos = ShardDataset(index.entries, index.tasks, (48, 64))
    stored = photos.__getitems__([2])
    batch = decode_batch(stored, index.tasks, DepthKind.METRIC)
    semantic = index.entries[2].read().files["semantic.png"]
    ids = torch.from_numpy(np.array(Image.open(io.BytesIO(semantic))))
    assert torch.equal(batch.targets[Task.SEMANTIC][0], ids.long())
    meters = torch.tensor([8.0, 2.0, 4.0])[ids.long()]
    torch.testing.assert_close(unwarp_depth(batch.targets[Task.DEPTH][0]), meters, atol=2e-3, rtol=1e-3)
    normals = torch.tensor([[0, 0, 1], [0.6, 0, 0.8], [0, 0.6, 0.8]])[ids.long()].permute(2, 0, 1)
    torch.testing.assert_close(batch.targets[Task.NORMALS][0], normals, atol=1e-2, rtol=0.0)
    for task in index.tasks:
        torch.testing.assert_close(batch.weights[task], torch.full((1, 48, 64), 128 / 255))
    assert decode_batch(stored, index.tasks, DepthKind.METRIC, use_confidence=False).weights[Task.DEPTH].min() == 1
    assert batch.targets[Task.DEPTH].max() <= FAR_WARP


def test_a_sample_without_a_task_has_no_weight_there(make_shards: MakeShards, tmp_path: Path) -> None:
    folder = make_shards(tmp_path, num_samples=2, tasks=(Task.DEPTH,))
    entries = read_index([folder]).entries
    for entry in entries:
        entry.quality[Task.NORMALS] = 1.0
    stored = ShardDataset(entries, (Task.DEPTH, Task.NORMALS), (32, 32)).__getitems__([0, 1])
    batch = decode_batch(stored, (Task.DEPTH, Task.NORMALS), DepthKind.METRIC)
    assert batch.weights[Task.DEPTH].min() > 0 and batch.weights[Task.NORMALS].max() == 0


def gradient_photo(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    wave = 127 + 100 * np.sin(x / 37) * np.cos(y / 29)
    return np.stack([wave, 255 * x / width, 255 * y / height], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("size_hw", [(1200, 1600), (130, 170)])
def test_photos_are_resized_as_the_students_graph_does(size_hw: tuple[int, int]) -> None:
    data = encode_jpeg(gradient_photo(*size_hw))
    pixels = torch.from_numpy(decode_rgb(data, "x")[0].copy()).permute(2, 0, 1)[None].float()
    wanted = F.interpolate(pixels, size=(96, 128), mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy()
    found = decode_photo(data, (96, 128), "x").astype(float)
    assert np.abs(found - wanted).mean() < 1.0


@pytest.mark.parametrize("orientation", [1, 2, 3, 6, 8])
def test_the_orientation_of_a_camera_is_applied(orientation: int) -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(gradient_photo(600, 800)).save(buffer, "JPEG", quality=95, exif=exif)
    upright = Image.fromarray(decode_rgb(buffer.getvalue(), "x")[0]).resize((80, 64), Image.Resampling.BILINEAR)
    found = decode_photo(buffer.getvalue(), (64, 80), "x")
    assert np.abs(found.astype(float) - np.asarray(upright, float)).mean() < 1.0


def test_other_formats_and_damaged_photos() -> None:
    buffer = io.BytesIO()
    Image.fromarray(gradient_photo(100, 120)).convert("L").save(buffer, "PNG")
    assert decode_photo(buffer.getvalue(), (50, 60), "x").shape == (50, 60, 3)
    with pytest.raises(DistillError, match="shard: key"):
        decode_photo(encode_jpeg(gradient_photo(100, 120))[:900], (50, 60), "shard: key")


def test_a_class_beyond_the_list_is_refused_by_name() -> None:
    stored = np.array([[0, 4], [9, 255]], np.uint8)
    files = {"semantic.png": encode_map(stored)}
    value, confidence = decode_task(Task.SEMANTIC, files, {}, (2, 2), "a.tar: k", 10)
    assert (value == stored).all() and confidence.tolist() == [[255, 255], [255, 0]]
    with pytest.raises(DistillError, match=r"a.tar: k.semantic.png holds class 9, and the list has 5 \(0 to 4\)"):
        decode_task(Task.SEMANTIC, files, {}, (2, 2), "a.tar: k", 5)


def test_a_map_with_another_aspect_ratio_is_refused() -> None:
    files = {"semantic.png": encode_map(np.zeros((33, 25), np.uint8))}
    assert decode_task(Task.SEMANTIC, files, {}, (8, 8), "a.tar: k", 5, (64, 48))[0].shape == (8, 8)  # half, rounded up
    with pytest.raises(DistillError, match=r"a.tar: k.semantic.png is 33x25, its photo 48x64"):
        decode_task(Task.SEMANTIC, files, {}, (8, 8), "a.tar: k", 5, (48, 64))
