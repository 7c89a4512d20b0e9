"""One sample: picture and values at points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import distill
from distill.datasets import open
from distill.errors import UsageError
from distill.images import decode_rgb
from distill.tasks import Task
from tests.builders.label_sets import CLASSES, photo, sample, write_set


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "set"
    write_set(folder, [sample(photo(seed), seed=seed) for seed in (1, 2)])
    return folder


def test_values_at_a_point_are_those_of_the_maps(folder: Path) -> None:
    x, y = 20, 16
    shown = distill.data.show(folder, 1, at=[(x, y), "0,0"])
    key = open(folder).keys[1]
    assert shown.key == key and shown.position == 1 and shown.size_hw == (36, 48)
    labels = {task: open(folder).label(key, task) for task in Task if f"{task}" in shown.labels}
    values = shown.points[0]["values"]
    assert values["depth"]["value"] == pytest.approx(float(labels[Task.DEPTH].value[y, x]), abs=1e-4)
    assert values["depth"]["unit"] == "m" and " m (confidence" in values["depth"]["text"]
    assert values["normals"]["value"] == pytest.approx(labels[Task.NORMALS].value[y, x].tolist(), abs=1e-4)
    assert "degrees" in values["normals"]["text"]
    number = int(labels[Task.SEMANTIC].value[y, x])
    assert values["semantic"]["value"] == number and CLASSES[number] in values["semantic"]["text"]
    assert values["edges"]["value"] == pytest.approx(float(labels[Task.EDGES].value[y, x]), abs=1e-4)
    assert values["depth"]["confidence"] == pytest.approx(float(labels[Task.DEPTH].confidence[y, x]), abs=1e-3)
    assert shown.points[1]["values"]["depth"] == {"value": None, "unit": "", "confidence": 0.0, "text": "no value"}


def test_instances_behind_others_are_named(folder: Path) -> None:
    point = distill.data.show(folder, 0, at=["20,16"]).points[0]["values"]["instance"]
    assert point["text"].startswith("instance 2 traffic light, behind it instance 1 car")
    assert distill.data.show(folder, 0, at=["26,8"]).points[0]["values"]["instance"]["text"].startswith("background")


def test_a_map_that_is_coarser_than_its_photo(tmp_path: Path) -> None:
    from distill.datasets.formats.new_sample import new_sample
    from tests.builders.label_sets import label

    depth = label(Task.DEPTH, 1, size_hw=(18, 24))
    write_set(tmp_path / "set", [new_sample(photo(1), [depth], teacher="hand", license="MIT")])
    value = distill.data.show(tmp_path / "set", 0, at=["47,35"]).points[0]["values"]["depth"]["value"]
    assert value == pytest.approx(float(depth.value[17, 23]), abs=2e-3)


def test_the_picture_shows_photo_maps_and_points(folder: Path, tmp_path: Path) -> None:
    shown = distill.data.show(folder, 0, out=tmp_path / "a.png", at=["20,16"])
    rgb, suffix = decode_rgb((tmp_path / "a.png").read_bytes(), "a")
    assert shown.out == tmp_path / "a.png" and suffix == "png" and rgb.shape[1] > 3 * 480
    assert (rgb == np.array([255, 0, 255])).all(axis=-1).sum() > 100
    assert "picture:" in shown.to_text() and "at 20,16:" in shown.to_text()
    with pytest.raises(UsageError, match=r"ends with .png|is a PNG"):
        distill.data.show(folder, 0, out=tmp_path / "a.jpg")


def test_keys_prefixes_and_positions(folder: Path) -> None:
    first, second = open(folder).keys
    assert distill.data.show(folder, second).position == 1
    assert distill.data.show(folder, second[:-1] if not first.startswith(second[:-1]) else second).key == second
    assert distill.data.show(folder, "0").key == first
    with pytest.raises(UsageError, match="2 keys begin with 'photo'"):
        distill.data.show(folder, "photo")
    with pytest.raises(UsageError, match="has no sample 'no'"):
        distill.data.show(folder, "no")
    with pytest.raises(UsageError, match="has no sample 2"):
        distill.data.show(folder, 2)


@pytest.mark.parametrize(
    ("point", "words"), [("48,0", "outside"), ("0,36", "outside"), ("a", "not a point"), ("-1,2", "not a point")]
)
def test_points_outside_of_the_photo(folder: Path, point: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        distill.data.show(folder, 0, at=[point])
