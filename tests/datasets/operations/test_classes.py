"""Classes that are renamed, joined and dropped, in lists and maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distill.datasets.formats.new_sample import new_sample
from distill.datasets.operations.classes import relabel_classes
from distill.datasets.shard_set import open
from distill.errors import UsageError
from distill.labels import Label
from distill.labels.instance_layers import mask_of
from distill.tasks import IGNORE_SEMANTIC, Task
from tests.builders.label_sets import SIZE_HW, photo, sample, write_set


def test_names_are_joined_and_dropped_in_all_labels(tmp_path: Path) -> None:
    shards = write_set(tmp_path / "set", [sample(photo(1)), sample(photo(2), [Task.DEPTH])])
    (tmp_path / "names.yaml").write_text("car: vehicle\nroad: null\n")
    relabel_classes(tmp_path / "set", tmp_path / "names.yaml", out=tmp_path / "new")
    found = open(tmp_path / "new")
    assert found.manifest.classes == found.manifest.instance_classes == ("vehicle", "traffic light")
    before, after = (one.label(0, Task.SEMANTIC) for one in (shards, found))
    assert np.array_equal(after.value == 0, before.value == 1) and np.array_equal(after.value == 1, before.value == 2)
    dropped = before.value == 0
    assert (after.value[dropped] == IGNORE_SEMANTIC).all() and not after.confidence[dropped].any()
    assert set(found.label(0, Task.INSTANCE).instance_classes.values()) == {"vehicle", "traffic light"}
    assert found[1].files == shards[1].files and found[0].files["depth.png"] == shards[0].files["depth.png"]


def test_instances_of_a_dropped_class_uncover_those_behind_them(tmp_path: Path) -> None:
    shards = write_set(tmp_path / "set", [sample(photo(1), [Task.INSTANCE])])
    relabel_classes(tmp_path / "set", {"traffic light": None}, out=tmp_path / "new")
    before, after = shards.label(0, Task.INSTANCE), open(tmp_path / "new").label(0, Task.INSTANCE)
    assert set(after.instance_classes) == {1, 3} and after.layers == ()
    assert np.array_equal(after.value == 1, mask_of(before.instance_layers, 1))
    assert (after.value == 65535).sum() == (before.value == 65535).sum() > 0
    rows = open(tmp_path / "new")[0].meta["instances"]
    assert [row["covered"] for row in rows] == ["", ""] and rows[0]["pixels"] == rows[0]["visible_pixels"]


def test_referring_phrases_are_renamed(tmp_path: Path) -> None:
    ids = np.zeros(SIZE_HW, np.uint8)
    ids[:10] = 1
    ids[10:20] = 2
    valid = np.ones(SIZE_HW, bool)
    phrases = ("background", "left cup", "the cup on the left")
    label = Label(Task.REFERRING, ids, valid, valid.astype(np.float32), classes=phrases)
    write_set(tmp_path / "set", [new_sample(photo(1), [label], teacher="t", license="MIT")])
    relabel_classes(tmp_path / "set", {"the cup on the left": "left cup"}, out=tmp_path / "new")
    found = open(tmp_path / "new")
    assert found.manifest.referring == ("background", "left cup")
    assert np.array_equal(found.label(0, Task.REFERRING).value, np.minimum(ids, 1))


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"caar": "x"}, "has no class 'caar'.*did you mean car"),
        ({"car": 3}, "is no pair of names"),
        ({"car": " "}, "is no pair of names"),
    ],
)
def test_wrong_mappings(tmp_path: Path, classes: dict[str, object], message: str) -> None:
    write_set(tmp_path / "set", [sample(photo(1))])
    with pytest.raises(UsageError, match=message):
        relabel_classes(tmp_path / "set", classes, out=tmp_path / "new")
    plan = relabel_classes(tmp_path / "set", {"car": "auto"}, out=tmp_path / "new", plan=True)
    assert "classes: road, auto, traffic light" in plan.to_text() and not (tmp_path / "new").exists()
