"""Merging sets by photo: tasks join, classes unite, conflicts are errors that say what to do."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from distill.datasets.operations.merge import merge
from distill.datasets.shard_set import open
from distill.errors import DistillError, UsageError
from distill.shards import Sample, verify
from distill.tasks import IGNORE_SEMANTIC, DepthKind, Task
from tests.builders.label_sets import CLASSES, photo, sample, write_set

DEPTH, SEMANTIC = Task.DEPTH, Task.SEMANTIC


def test_labels_of_the_same_photos_become_one_set(tmp_path: Path) -> None:
    photos = [photo(seed) for seed in range(4)]
    first = write_set(tmp_path / "a", [sample(one, [DEPTH], license="MIT") for one in photos])
    others = [*photos[1:][::-1], photo(9)]
    second = write_set(
        tmp_path / "b",
        [sample(one, [SEMANTIC, Task.INSTANCE], license="CC-BY-NC-4.0", teacher="net") for one in others],
    )
    result = merge([tmp_path / "a", tmp_path / "b"], out=tmp_path / "both")
    both = open(tmp_path / "both")
    assert [one.key for one in both] == [*(one.key for one in photos), photo(9).key]
    assert both.manifest.counts == {"depth": 4, "semantic": 4, "instance": 4}
    assert set(both.manifest.licenses) == {"MIT", "CC-BY-NC-4.0"} and set(both.manifest.teachers) == {"hand", "net"}
    joined = both[photos[2].key]
    assert joined.files["depth.png"] == first[photos[2].key].files["depth.png"]
    assert joined.files["instance.png"] == second[photos[2].key].files["instance.png"]
    assert [row["task"] for row in joined.meta["records"]] == ["depth", "semantic", "instance"]
    assert joined.meta["depth_kind"] == "metric" and len(joined.meta["instances"]) == 3
    assert "3 photos are in several sets, and 2 in one" in result.to_text() and verify(tmp_path / "both") == []


def test_ids_follow_the_united_class_list(tmp_path: Path) -> None:
    write_set(tmp_path / "a", [sample(photo(1), [SEMANTIC])])
    other = ("sky", "car", "road")
    shards = write_set(tmp_path / "b", [sample(photo(2), [SEMANTIC], classes=other)], classes=other)
    result = merge([tmp_path / "a", tmp_path / "b"], out=tmp_path / "both")
    both = open(tmp_path / "both")
    assert both.manifest.classes == (*CLASSES, "sky")
    before, after = shards.label(0, SEMANTIC), both.label(photo(2).key, SEMANTIC)
    for name in other:
        assert np.array_equal(before.value == other.index(name), after.value == both.manifest.classes.index(name))
    assert np.array_equal(before.valid, after.valid) and np.array_equal(before.confidence, after.confidence)
    assert any("has no class sky" in note for note in result.notes)


def test_a_mapping_joins_names_and_spellings_are_noted(tmp_path: Path) -> None:
    write_set(tmp_path / "a", [sample(photo(1), [SEMANTIC])])
    other = ("Road", "auto")
    shards = write_set(tmp_path / "b", [sample(photo(2), [SEMANTIC], classes=other)], classes=other)
    noted = merge([tmp_path / "a", tmp_path / "b"], out=tmp_path / "x", plan=True).notes
    assert any("road and Road stay different classes" in note for note in noted) and not (tmp_path / "x").exists()
    (tmp_path / "names.yaml").write_text("auto: car\nRoad: road\n'traffic light': null\n")
    merge([tmp_path / "a", tmp_path / "b"], out=tmp_path / "both", classes=tmp_path / "names.yaml")
    both = open(tmp_path / "both")
    assert both.manifest.classes == ("road", "car")
    assert np.array_equal(both.label(1, SEMANTIC).value == 1, shards.label(0, SEMANTIC).value == 1)
    with pytest.raises(UsageError, match=r"has no class 'rod'.*did you mean road"):
        merge([tmp_path / "a", tmp_path / "b"], out=tmp_path / "y", classes={"rod": "road"})


def test_two_different_labels_of_a_photo_are_an_error_unless_the_first_is_kept(tmp_path: Path) -> None:
    first = write_set(tmp_path / "a", [sample(photo(1), [DEPTH], seed=1), sample(photo(2), [DEPTH])])
    write_set(tmp_path / "b", [sample(photo(2), [DEPTH]), sample(photo(1, "z.jpg"), [DEPTH, SEMANTIC], seed=2)])
    with pytest.raises(
        UsageError, match=r"sample z has a depth label of the same photo as sample photo_b.*--keep-first"
    ):
        merge([tmp_path / "a", tmp_path / "b"], out=tmp_path / "both")
    assert not (tmp_path / "both").exists()
    merge([tmp_path / "a", tmp_path / "b"], out=tmp_path / "both", keep_first=True)
    both = open(tmp_path / "both")
    assert len(both) == 2 and both[0].tasks == (DEPTH, SEMANTIC)
    assert both[0].files["depth.png"] == first[0].files["depth.png"]
    assert len(both[0].meta["records"]) == 2


def test_depth_kinds_and_the_same_folder_twice_are_errors(tmp_path: Path) -> None:
    write_set(tmp_path / "a", [sample(photo(1), [DEPTH])])
    write_set(tmp_path / "b", [sample(photo(2), [DEPTH], kind=DepthKind.AFFINE_INVARIANT_DISPARITY)])
    with pytest.raises(UsageError, match="one depth kind"):
        merge([tmp_path / "a", tmp_path / "b"], out=tmp_path / "both")
    with pytest.raises(UsageError, match="two or more different sets"):
        merge([tmp_path / "a", tmp_path / "a"], out=tmp_path / "both")
    with pytest.raises(UsageError, match="is inside of"):
        write_set(tmp_path / "c", [sample(photo(3), [DEPTH])])
        merge([tmp_path / "a", tmp_path / "c"], out=tmp_path / "a" / "new")


def test_equal_keys_of_different_photos_get_the_digest_of_the_photo(tmp_path: Path) -> None:
    write_set(tmp_path / "a", [sample(photo(1, "x.jpg"), [DEPTH])])
    write_set(tmp_path / "b", [sample(photo(2, "x.jpg"), [DEPTH])])
    merge([tmp_path / "a", tmp_path / "b"], out=tmp_path / "both")
    assert [one.key for one in open(tmp_path / "both")] == ["x", f"x-{photo(2).sha256[:8]}"]


def test_several_samples_of_one_photo_are_joined_one_by_one(tmp_path: Path) -> None:
    def numbered(key: str, task: Task, seed: int) -> Sample:
        one = sample(photo(1), [task], seed=seed)
        return Sample(key, one.files)

    write_set(tmp_path / "a", [numbered("p", DEPTH, 1)])
    write_set(tmp_path / "b", [numbered("p", SEMANTIC, 1), numbered("p--2", SEMANTIC, 2)])
    merge([tmp_path / "a", tmp_path / "b"], out=tmp_path / "both")
    assert [(one.key, one.tasks) for one in open(tmp_path / "both")] == [
        ("p", (DEPTH, SEMANTIC)),
        ("p--2", (SEMANTIC,)),
    ]


def test_a_digest_that_is_not_that_of_the_photo_is_an_error(tmp_path: Path) -> None:
    one, other = photo(1), photo(2)
    write_set(tmp_path / "a", [sample(one, [DEPTH])])
    wrong = sample(other, [SEMANTIC])
    files = {**wrong.files, "json": wrong.files["json"].replace(other.sha256.encode(), one.sha256.encode())}
    write_set(tmp_path / "b", [Sample(wrong.key, files)])
    with pytest.raises(DistillError, match="is not the one that its json states"):
        merge([tmp_path / "a", tmp_path / "b"], out=tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_a_set_without_digests_is_matched_by_its_bytes(tmp_path: Path) -> None:
    bare = sample(photo(1), [SEMANTIC])
    write_set(tmp_path / "a", [sample(photo(1), [DEPTH])])
    files = {name: data for name, data in bare.files.items() if name != "json"} | {"json": b"{}"}
    write_set(tmp_path / "b", [Sample("other", files)])
    merge([tmp_path / "a", tmp_path / "b"], out=tmp_path / "both")
    both = open(tmp_path / "both")
    assert len(both) == 1 and both[0].tasks == (DEPTH, SEMANTIC)
    assert hashlib.sha256(both[0].photo).hexdigest() == photo(1).sha256
    assert (both.label(0, SEMANTIC).value == IGNORE_SEMANTIC).any()
