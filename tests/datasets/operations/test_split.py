"""Splits: parts by fraction, groups stay whole, time runs from the first part to the last."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from distill.datasets.operations.split import parse_parts, split
from distill.datasets.shard_set import open
from distill.errors import UsageError
from distill.images import Photo
from distill.shards import Sample
from distill.tasks import Task
from tests.builders.label_sets import photo, sample, write_set


def frame(number: int, video: str = "drive.mp4", seed: int = 0) -> Sample:
    """A frame of a video, as `distill label` names it."""
    picture = photo(seed, f"{video}#{number}", shift=number % 7)
    one = sample(picture, [Task.DEPTH])
    meta = one.meta | {"origin": {"frame": number}, "name": f"{video}#{number}"}
    meta.pop("sample_sha256", None)
    return Sample(f"{video.partition('.')[0]}_{number:04d}", {**one.files, "json": json.dumps(meta).encode()})


def write_photos(folder: Path, photos: Sequence[Photo]) -> Path:
    write_set(folder, [sample(one, [Task.DEPTH]) for one in photos])
    return folder


def keys(folder: Path) -> list[list[str]]:
    return [[one.key for one in open(part)] for part in sorted(folder.iterdir())]


def test_parts_hold_each_sample_once_in_their_fractions(tmp_path: Path) -> None:
    shards = write_photos(tmp_path / "set", [photo(seed) for seed in range(20)])
    split(shards, out=tmp_path / "parts", parts={"a": 0.5, "b": 0.3, "c": 0.2})
    found = keys(tmp_path / "parts")
    assert [len(part) for part in found] == [10, 6, 4]
    assert sorted(key for part in found for key in part) == sorted(one.key for one in open(shards))
    again = split(shards, out=tmp_path / "again", parts={"a": 0.5, "b": 0.3, "c": 0.2}, plan=True)
    assert [one.samples for one in again.sets] == [10, 6, 4] and not (tmp_path / "again").exists()


def test_frames_of_a_video_are_never_in_two_parts(tmp_path: Path) -> None:
    videos = [frame(number, f"v{video}.mp4", seed=video) for video in range(5) for number in range(4)]
    write_set(tmp_path / "set", videos)
    for by in ("auto", "clip", "folder", "near-duplicates"):
        if by == "folder":
            continue  # all are in one folder
        result = split(tmp_path / "set", out=tmp_path / by, parts={"train": 0.6, "val": 0.4}, by=by)
        parts = [{key.partition("_")[0] for key in part} for part in keys(tmp_path / by)]
        assert not parts[0] & parts[1] and len(parts[0] | parts[1]) == 5, by
        assert "kept in one part each" in result.to_text()


def test_numbered_names_folders_and_copies_stay_together(tmp_path: Path) -> None:
    photos = [
        photo(folder * 4 + index, f"day{folder}/img_{index:03d}.jpg") for folder in range(4) for index in range(4)
    ]
    shards = write_photos(tmp_path / "set", photos)
    for by in ("clip", "folder"):
        split(shards, out=tmp_path / by, folds=4, by=by)
        assert [{key[:4] for key in part} for part in keys(tmp_path / by)] != []
        assert all(len({key[:4] for key in part}) == 1 for part in keys(tmp_path / by))
    copies = [
        photo(seed, f"{name}{'abcdefgh'[seed]}.jpg", shift=shift)
        for seed in range(6)
        for name, shift in (("x", 0), ("y", 2))
    ]
    split(write_photos(tmp_path / "copies", copies), out=tmp_path / "near", folds=3, by="near-duplicates")
    assert all(
        {key[1] for key in part} and len(part) == 2 * len({key[1] for key in part}) for part in keys(tmp_path / "near")
    )


def test_time_runs_from_the_first_part_to_the_last(tmp_path: Path) -> None:
    days = [3, 1, 9, 5, 7, 2, 8, 4, 6, 10]
    shards = write_photos(tmp_path / "set", [photo(day, f"cam_202401{day:02d}_120000.jpg") for day in days])
    split(shards, out=tmp_path / "parts", by="time", parts={"a": 0.7, "b": 0.3})
    first, last = keys(tmp_path / "parts")
    assert sorted(first)[-1] < sorted(last)[0] and len(last) == 3
    write_photos(tmp_path / "none", [photo(1), photo(2)])
    with pytest.raises(UsageError, match=r"sample photo_b.*states a time"):
        split(tmp_path / "none", out=tmp_path / "x", by="time")


def test_folds_are_equal_and_too_many_parts_are_an_error(tmp_path: Path) -> None:
    shards = write_photos(tmp_path / "set", [photo(seed) for seed in range(7)])
    split(shards, out=tmp_path / "folds", folds=3)
    assert sorted(len(part) for part in keys(tmp_path / "folds")) == [2, 2, 3]
    with pytest.raises(UsageError, match=r"form 7 groups .* fewer than 9 parts"):
        split(shards, out=tmp_path / "x", folds=9)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"a": 0.5, "b": 0.6}, "add up to 1.1"),
        ({"a": 1.5, "b": -0.5}, "is 1.5 of the samples"),
        ({"../a": 0.5, "b": 0.5}, "is no name of a part"),
    ],
)
def test_wrong_fractions(tmp_path: Path, parts: dict[str, float], message: str) -> None:
    shards = write_photos(tmp_path / "set", [photo(1), photo(2)])
    with pytest.raises(UsageError, match=message):
        split(shards, out=tmp_path / "x", parts=parts)


def test_parts_are_read_from_a_text() -> None:
    assert parse_parts("train=0.8, val=0.2") == {"train": 0.8, "val": 0.2}
    for text in ("train", "a=x", "a=0.5,a=0.5"):
        with pytest.raises(UsageError):
            parse_parts(text)


def test_few_large_groups_give_every_part_one(tmp_path: Path) -> None:
    frames = [frame(number, "long.mp4", seed=1) for number in range(8)]
    write_set(tmp_path / "set", [*frames, frame(0, "short.mp4", seed=2)])
    result = split(tmp_path / "set", out=tmp_path / "parts")
    assert sorted(len(part) for part in keys(tmp_path / "parts")) == [1, 8]
    assert result.sets[0].samples + result.sets[1].samples == 9
