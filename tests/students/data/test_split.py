"""Split into training and validation: clips, folders and copies of a photo stay on one side."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from distill.datasets.operations.groups import GroupBy, find_groups
from distill.images.photo_hash import MAX_COPY_BITS, different_bits, hash_photo, read_hash
from distill.students.data.shard_index import SampleRef
from distill.students.data.split import Split, split


def entry(name: str, bits: str = "", *, is_frame: bool = False) -> SampleRef:
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    return SampleRef(Path("a.tar"), name, {}, sha256, {}, name=name, is_frame=is_frame, photo_hash=bits)


def random_hash(seed: int) -> str:
    return np.random.default_rng(seed).bytes(16).hex()


def drift(start: str, steps: int) -> str:
    """A hash after some frames: a few more bits differ with each."""
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(start), np.uint8))
    bits[: min(128, 4 * steps)] ^= 1
    return np.packbits(bits).tobytes().hex()


def clip(name: str, count: int, seed: int) -> list[SampleRef]:
    return [entry(f"{name}_{index:04d}.jpg", drift(random_hash(seed), index)) for index in range(count)]


def straddling(parts: Split, entries: Sequence[SampleRef], group_by: GroupBy = "auto") -> set[str]:
    """Groups with samples on both sides."""
    group_of = dict(zip((one.key for one in entries), find_groups(entries, group_by), strict=True))
    return {group_of[one.key] for one in parts.train} & {group_of[one.key] for one in parts.val}


def test_frames_of_videos_stay_together() -> None:
    entries = [entry(f"{name}.mp4#{index}", is_frame=True) for name in "abcdefghij" for index in range(0, 90, 10)]
    parts = split(entries, 0.2)
    assert 9 <= len(parts.val) <= 36 and not straddling(parts, entries)
    assert len({one.name.partition("#")[0] for one in parts.val}) * 9 == len(parts.val)
    assert "10 clips" in parts.description


def test_numbered_frames_that_look_alike_are_a_clip() -> None:
    entries = [frame for seed, name in enumerate("abcdefgh") for frame in clip(f"{name}/frame", 10, seed)]
    parts = split(entries, 0.25)
    assert not straddling(parts, entries) and len(parts.val) in (10, 20, 30)
    assert {one.name[0] for one in parts.val}.isdisjoint(one.name[0] for one in parts.train)


def test_clips_of_one_folder_are_told_apart_by_their_prefix() -> None:
    entries = clip("street", 12, 1) + clip("park", 12, 2) + clip("hall", 12, 3)
    assert len(set(find_groups(entries, "auto"))) == 3
    assert len(split(entries, 0.3).val) == 12


@pytest.mark.parametrize(
    ("names", "clips"),
    [
        ([f"seq-{s}/frame-{i:06d}.color.png" for s in "12" for i in range(4)], 2),
        ([f"bochum_{i:06d}_000019_leftImg8bit.png" for i in range(4)], 1),
        ([f"scene{s:03d}_{i}.jpg" for s in range(5) for i in range(3)], 5),
        ([f"{1305031102 + i * 0.04:.6f}.png" for i in range(4)], 1),
        (["IMG_0001.JPG", "img_0002.jpg", "img_0003.jpg"], 1),
        ([f"{i:04d}_left.png" for i in range(4)], 1),
        ([hashlib.md5(bytes([i])).hexdigest() + ".jpg" for i in range(4)], 4),
        (["cat.jpg", "dog2.jpg", "tree.jpg"], 3),
    ],
)
def test_frames_are_told_by_the_number_that_differs(names: list[str], clips: int) -> None:
    groups = find_groups([entry(name) for name in names], "clip")
    assert len(set(groups)) == clips
    assert len(set(groups[: len(names) // clips])) == 1


def test_numbered_photos_that_differ_are_no_clip() -> None:
    entries = [entry(f"IMG_{index:04d}.jpg", random_hash(index)) for index in range(40)]
    assert len(set(find_groups(entries, "auto"))) == 40
    assert len(set(find_groups(entries, "clip"))) == 1, "clip trusts the names"
    assert "hash of each photo" in split(entries, 0.2).description


def test_names_count_as_numbers_and_without_hashes_nothing_is_guessed() -> None:
    entries = [entry(f"blocks {index}") for index in range(24)]
    assert len(set(find_groups(entries, "auto"))) == 24


def test_one_clip_is_split_in_time() -> None:
    entries = clip("walk", 40, 5)
    shuffled = [entries[index] for index in np.random.default_rng(0).permutation(40)]
    parts = split(shuffled, 0.1)
    assert sorted(one.name for one in parts.val) == [f"walk_{index:04d}.jpg" for index in range(36, 40)]
    assert "one clip" in parts.description and "last" in parts.description


def test_numbers_without_leading_zeros_are_in_order_of_time() -> None:
    entries = [entry(f"video.mp4#{index}", is_frame=True) for index in range(12)]
    assert [one.name for one in split(entries, 0.2).val] == ["video.mp4#10", "video.mp4#11"]


def test_copies_of_a_photo_stay_together() -> None:
    entries = [
        entry(f"{name}-{kind}.jpg", random_hash(ord(name))) for name in "abcdefghijklmnop" for kind in ("x", "y")
    ]
    parts = split(entries, 0.25)
    assert not straddling(parts, entries)
    assert {one.name[0] for one in parts.val}.isdisjoint(one.name[0] for one in parts.train)


def test_folders_stay_together_on_request() -> None:
    entries = [
        entry(f"scene{folder}/{number}.jpg", random_hash(17 * folder + number))
        for folder in range(6)
        for number in range(5)
    ]
    parts = split(entries, 0.2, "folder")
    assert len(parts.val) in (5, 10) and not straddling(parts, entries, "folder")
    assert "one folder" in split(entries[:5], 0.2, "folder").description


def test_photos_alone_ignore_clips() -> None:
    entries = clip("walk", 60, 5)
    val = split(entries, 0.2, "photo").val
    assert {one.name for one in val} == {one.name for one in entries if int(one.photo_sha256[:8], 16) % 1000 < 200}


def test_a_large_clip_among_photos_does_not_fill_the_validation_split() -> None:
    photos = [entry(f"{chr(97 + index % 26)}{chr(97 + index // 26)}.jpg", random_hash(index)) for index in range(60)]
    entries = [*clip("long", 300, 900), *photos]
    parts = split(entries, 0.1)
    assert 10 <= len(parts.val) <= 60 and not straddling(parts, entries)


def test_two_clips_of_which_one_is_short() -> None:
    entries = clip("long", 40, 1) + clip("short", 8, 2)
    parts = split(entries, 0.1)
    assert {one.name[:5] for one in parts.val} == {"short"}


@pytest.mark.parametrize("shift", [2, 6])
def test_hash_of_neighbors_and_of_other_photos(shift: int) -> None:
    rng = np.random.default_rng(3)
    scene = np.kron(rng.integers(0, 255, (12, 16, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    other = np.kron(rng.integers(0, 255, (12, 16, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    first, moved, different = (read_hash(hash_photo(rgb)) for rgb in (scene, np.roll(scene, shift, 1), other))
    assert first is not None and moved is not None and different is not None
    near, far = int(different_bits(first, moved)), int(different_bits(first, different))
    assert near < 0.6 * far and far > 2 * MAX_COPY_BITS
    assert hash_photo(np.full((20, 20, 3), 77, np.uint8)) == "" and read_hash("") is None and read_hash("zz") is None
