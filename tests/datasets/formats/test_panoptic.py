"""COCO panoptic of others, and the conditions under which panopticapi reads ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill.datasets.formats.convert import export, import_
from distill.datasets.shard_set import open
from distill.errors import DistillError
from distill.images import decode_map, encode_map
from distill.tasks import IGNORE_INSTANCE, IGNORE_SEMANTIC, Task
from tests.builders.label_sets import ALL_TASKS, SIZE_HW, photo, sample, write_set


def test_segments_satisfy_the_rules_of_panopticapi(tmp_path: Path) -> None:
    """Every segment of the PNG is listed, every listed one has pixels and its area, categories exist."""
    shards = write_set(tmp_path / "set", [sample(photo(1)), sample(photo(2), [Task.SEMANTIC])])
    export(shards.folder, "coco-panoptic", out=tmp_path / "out")
    folder = tmp_path / "out" / "annotations"
    tables = json.loads((folder / "panoptic.json").read_text())
    categories = {row["id"]: row for row in tables["categories"]}
    assert [row["isthing"] for row in categories.values()] == [0, 1, 1] and len(tables["annotations"]) == 2
    for row in tables["annotations"]:
        rgb = decode_map((folder / "panoptic" / row["file_name"]).read_bytes(), "png").astype(np.uint32)
        ids, areas = np.unique(rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2], return_counts=True)
        listed = {info["id"]: info for info in row["segments_info"]}
        assert {number: area for number, area in zip(ids.tolist(), areas.tolist(), strict=True) if number} == {
            number: info["area"] for number, info in listed.items()
        }
        assert all(info["category_id"] in categories for info in listed.values())
    # A photo without instance labels: its things are regions whose members are not told apart.
    crowds = [info["iscrowd"] for info in tables["annotations"][1]["segments_info"]]
    assert sorted(crowds) == [0, 1, 1] and set(ALL_TASKS) == set(shards.manifest.tasks)


def write(folder: Path, segments: np.ndarray, infos: list[dict[str, Any]] | None) -> Path:
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "a.jpg").write_bytes(photo(1).data)
    (folder / "annotations" / "panoptic").mkdir(parents=True)
    rgb = np.stack([segments % 256, segments // 256 % 256, segments // 65536], -1).astype(np.uint8)
    (folder / "annotations" / "panoptic" / "a.png").write_bytes(encode_map(rgb))
    tables = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": SIZE_HW[0], "width": SIZE_HW[1]}],
        "annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": infos}],
        "categories": [{"id": 5, "name": "sky", "isthing": 0}, {"id": 9, "name": "car", "isthing": 1}],
    }
    (folder / "annotations" / "panoptic.json").write_text(json.dumps(tables))
    return folder


def test_things_stuff_crowds_and_void(tmp_path: Path) -> None:
    segments = np.zeros(SIZE_HW, np.uint32)
    segments[:10], segments[10:20], segments[20:30] = 3_000_000, 7, 70_000
    infos = [{"id": 3_000_000, "category_id": 5}, {"id": 7, "category_id": 9}]
    infos.append({"id": 70_000, "category_id": 9, "iscrowd": 1})
    import_(write(tmp_path / "p", segments, infos), "coco-panoptic", out=tmp_path / "set")
    shards = open(tmp_path / "set")
    semantic, instance = shards.label(0, Task.SEMANTIC), shards.label(0, Task.INSTANCE)
    assert shards.manifest.classes == ("sky", "car") and shards.manifest.instance_classes == ("car",)
    assert [int(semantic.value[row, 0]) for row in (5, 15, 25, 33)] == [0, 1, 1, IGNORE_SEMANTIC]
    assert [int(instance.value[row, 0]) for row in (5, 15, 25, 33)] == [0, 1, IGNORE_INSTANCE, IGNORE_INSTANCE]


@pytest.mark.parametrize(
    ("infos", "message"),
    [
        ([], "segment 7 of its PNG is missing in segments_info"),
        ([{"id": 7, "category_id": 1}], "segment 7 of its PNG has a category that is not listed"),
        (None, "has no list segments_info"),
        ([{"id": [7], "category_id": 5}], "lacks id or category_id"),
        ([{"id": 7, "category_id": {}}], "lacks id or category_id"),
    ],
)
def test_damage_names_the_segment(infos: list[dict[str, Any]] | None, message: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "p", np.full(SIZE_HW, 7, np.uint32), infos)
    with pytest.raises(DistillError, match=message):
        import_(folder, "coco-panoptic", out=tmp_path / "set")
    (folder / "annotations" / "panoptic" / "a.png").write_bytes(encode_map(np.zeros((4, 4, 3), np.uint8)))
    with pytest.raises(DistillError, match=r"a\.png: has uint8 of shape \(4, 4, 3\)"):
        import_(folder, "coco-panoptic", out=tmp_path / "set")
