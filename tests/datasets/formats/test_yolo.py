"""Ultralytics' layouts of others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distill.datasets.formats.convert import import_
from distill.datasets.shard_set import open
from distill.errors import DistillError
from distill.images import encode_map
from distill.tasks import Task
from tests.builders.label_sets import SIZE_HW, photo


def write(folder: Path, lines: str, data: str = "names: [car, dog]\ntrain: images/train\nval: images/val\n") -> Path:
    for split, seed in (("train", 1), ("val", 2)):
        (folder / "images" / split).mkdir(parents=True)
        (folder / "labels" / split).mkdir(parents=True)
        (folder / "images" / split / "a.jpg").write_bytes(photo(seed).data)
        (folder / "labels" / split / "a.txt").write_text(lines)
    (folder / "data.yaml").write_text(data)
    return folder


def test_all_splits_become_one_set(tmp_path: Path) -> None:
    result = import_(write(tmp_path / "y", "1 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5\n\n"), "yolo", out=tmp_path / "set")
    shards = open(tmp_path / "set")
    assert [one.key for one in shards] == ["train_a", "val_a"] and "train, val become one set" in result.to_text()
    label = shards.label(0, Task.INSTANCE)
    assert dict(label.instance_classes) == {1: "dog"} and label.value[3, 4] == 1 and label.value[18, 24] == 1
    assert label.value[19, 4] == 0 == label.value[2, 4]


def test_a_photo_without_objects_has_no_instances_and_one_without_file_is_left_out(tmp_path: Path) -> None:
    folder = write(tmp_path / "y", "")
    (folder / "labels" / "val" / "a.txt").unlink()
    result = import_(folder, "yolo", out=tmp_path / "set")
    assert "1 photos have no map" in result.to_text()
    assert dict(open(tmp_path / "set").label(0, Task.INSTANCE).instance_classes) == {}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.2 0.2", "line 1: is a box and no polygon"),
        ("0 0.1 0.1 0.5 0.1 1.5 0.5", "between 0 and 1"),
        ("0 0.1 0.1 0.5 0.1 nan 0.5", "between 0 and 1"),
        ("2 0.1 0.1 0.5 0.1 0.5 0.5", "class 2 has no name"),
        ("0 0.1 0.1 0.5", "three or more points"),
        ("a b c d e f g", "has no numbers only"),
    ],
)
def test_wrong_lines(line: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DistillError, match=message):
        import_(write(tmp_path / "y", line), "yolo", out=tmp_path / "set")
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("format", "data", "message"),
    [
        ("yolo", "names: []\n", "each id from 0 on its own name"),
        ("yolo", "names: {0: a, 2: b}\n", "each id from 0 on its own name"),
        ("yolo", "names: {0: a, x: b}\n", "each id from 0 on its own name"),
        ("yolo-depth", "depth_scale: -1\n", "depth_scale is -1"),
        ("yolo-semantic", "names: [a]\nlabel_mapping: {1: 0}\n", "label_mapping is not supported"),
        ("yolo-semantic", "names: [a]\nmasks_dir: ../..\n", "leads out of"),
    ],
)
def test_wrong_data_files(format: str, data: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DistillError, match=message):
        import_(write(tmp_path / "y", "", data), format, out=tmp_path / "set")


def test_masks_with_ids_without_a_name_and_depth_of_8_bits_are_errors(tmp_path: Path) -> None:
    folder = write(tmp_path / "y", "")
    for name in ("masks", "depth"):
        (folder / name / "train").mkdir(parents=True)
        (folder / name / "train" / "a.png").write_bytes(encode_map(np.full(SIZE_HW, 2, np.uint8)))
    with pytest.raises(DistillError, match=r"a.png: has id 2, and there are 2 classes"):
        import_(folder, "yolo-semantic", out=tmp_path / "set")
    with pytest.raises(DistillError, match=r"a.png: has uint8"):
        import_(folder, "yolo-depth", out=tmp_path / "set")
