"""COCO's annotations of others: every kind of segmentation, and files that are damaged or hostile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill.datasets.formats.convert import import_
from distill.datasets.formats.masks import decode_segmentation
from distill.datasets.shard_set import open
from distill.errors import DistillError, UsageError
from distill.labels.run_lengths import encode_rle
from distill.tasks import IGNORE_INSTANCE, Task
from tests.builders.label_sets import SIZE_HW, photo

SQUARE = [4.0, 4.0, 20.0, 4.0, 20.0, 20.0, 4.0, 20.0]


def write(folder: Path, annotations: list[dict[str, Any]], **image: Any) -> Path:
    (folder / "val2017").mkdir(parents=True)
    (folder / "val2017" / "000001.jpg").write_bytes(photo(1).data)
    row = {"id": 7, "file_name": "000001.jpg", "height": SIZE_HW[0], "width": SIZE_HW[1], **image}
    tables = {
        "images": [row],
        "annotations": annotations,
        "categories": [{"id": 3, "name": "car"}, {"id": 90, "name": "dog"}],
    }
    file = folder / "annotations" / "instances_val2017.json"
    file.parent.mkdir()
    file.write_text(json.dumps(tables))
    return file


def annotation(segmentation: Any, **more: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": 7, "category_id": 90, "segmentation": segmentation, "iscrowd": 0, **more}


def test_polygons_run_lengths_and_crowds(tmp_path: Path) -> None:
    small = np.zeros(SIZE_HW, bool)
    small[10:14, 10:14] = True
    crowd = np.zeros(SIZE_HW, bool)
    crowd[25:, :] = True
    lengths = [
        int(n) for n in np.diff(np.concatenate([[0], np.flatnonzero(np.diff(small.T.ravel())) + 1, [small.size]]))
    ]
    file = write(
        tmp_path / "coco",
        [
            annotation([SQUARE]),
            annotation({"size": list(SIZE_HW), "counts": lengths}, category_id=3),
            annotation(encode_rle(crowd), iscrowd=1),
        ],
    )
    import_(file, "coco", out=tmp_path / "set")
    label = open(tmp_path / "set").label(0, Task.INSTANCE)
    assert dict(label.instance_classes) == {1: "dog", 2: "car"}
    assert np.array_equal(label.value == 2, small) and (label.layers[0][small] == 1).all()
    assert (label.value[crowd] == IGNORE_INSTANCE).all() and label.value[0, 0] == 0
    assert open(tmp_path / "set").manifest.instance_classes == ("car", "dog")


@pytest.mark.parametrize(
    ("annotations", "image", "message"),
    [
        ([annotation([SQUARE])], {"file_name": "../../secret.jpg"}, "leads out of"),
        ([annotation([SQUARE])], {"file_name": "/etc/passwd"}, "leads out of"),
        ([annotation([SQUARE])], {"file_name": "missing.jpg"}, "missing.jpg: cannot be read"),
        ([annotation([SQUARE])], {"height": 99}, "the annotations state 48x99"),
        ([annotation([SQUARE], category_id=4)], {}, "category 4 is not listed"),
        ([annotation([SQUARE], category_id=[90])], {}, "is not listed"),
        ([annotation([SQUARE], image_id=8)], {}, "of image 8, which is not listed"),
        ([annotation([[1, 2, 3]])], {}, "three or more points"),
        ([annotation([[1, 2, 3, 4, 5, float("nan")]])], {}, "three or more points"),
        ([annotation([[1e9, 2, 3, 4, 5, 6]])], {}, "a polygon reaches"),
        ([annotation({"size": [4, 4], "counts": [16]})], {}, "run lengths of 4x4"),
        ([annotation({"size": list(SIZE_HW), "counts": [5]})], {}, "run lengths of 5 pixels"),
        ([annotation({"size": list(SIZE_HW), "counts": [-5, SIZE_HW[0] * SIZE_HW[1] + 5]})], {}, "whole numbers"),
        ([annotation({"size": list(SIZE_HW), "counts": "PP"})], {}, "segmentation is wrong"),
        ([annotation(None)], {}, "neither polygons nor run lengths"),
        ([annotation([SQUARE])] * 10_001, {}, "over the limit of 10000"),
    ],
)
def test_damage_names_the_entry(
    annotations: list[dict[str, Any]], image: dict[str, Any], message: str, tmp_path: Path
) -> None:
    file = write(tmp_path / "coco", annotations, **image)
    with pytest.raises(DistillError, match=message) as caught:
        import_(file, "coco", out=tmp_path / "set")
    assert str(file) in str(caught.value) or "missing.jpg" in str(caught.value)
    assert not (tmp_path / "set").exists()


def test_tables_that_are_wrong(tmp_path: Path) -> None:
    file = write(tmp_path / "coco", [])
    for text, message in (
        ("[", "is no JSON"),
        ("[]", "has no list 'images'"),
        ('{"images": [{"id": 1}]}', "lacks id or file_name"),
        ('{"images": [], "annotations": [], "categories": []}', "has no images"),
        ("[" * 100_000, "is no JSON"),
    ):
        file.write_text(text)
        with pytest.raises(DistillError, match=message):
            import_(file, "coco", out=tmp_path / "set")
    with pytest.raises(UsageError, match="has no annotations/instances"):
        import_(tmp_path / "coco" / "val2017", "coco", out=tmp_path / "set")


def test_run_lengths_are_those_of_pycocotools() -> None:
    coco = pytest.importorskip("pycocotools.mask", reason="needs pycocotools")
    rng = np.random.default_rng(0)
    for _ in range(50):
        mask = rng.random(SIZE_HW) < rng.random()
        text = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
        assert np.array_equal(decode_segmentation({"size": list(SIZE_HW), "counts": text}, SIZE_HW, "x"), mask)
