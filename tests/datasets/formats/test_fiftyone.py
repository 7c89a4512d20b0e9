"""FiftyOneDataset: the files that its importer reads; benchmarks/data_formats.py loads them with FiftyOne itself."""

from __future__ import annotations

import base64
import io
import json
import zlib
from pathlib import Path

import numpy as np
import pytest

from distill.datasets.formats.convert import export, import_
from distill.errors import UsageError
from distill.labels.instance_layers import mask_of
from distill.tasks import Task
from tests.builders.label_sets import CLASSES, SIZE_HW, photo, sample, write_set


def test_labels_qualities_and_licenses(tmp_path: Path) -> None:
    shards = write_set(tmp_path / "set", [sample(photo(seed), seed=seed, quality=0.25) for seed in range(2)])
    export(shards.folder, "fiftyone", out=tmp_path / "out")
    rows = json.loads((tmp_path / "out" / "samples.json").read_text())["samples"]
    metadata = json.loads((tmp_path / "out" / "metadata.json").read_text())
    assert metadata["mask_targets"] == {"semantic": {str(number): name for number, name in enumerate(CLASSES)}}
    for row, one in zip(rows, shards, strict=True):
        assert (row["key"], row["quality_depth"], row["licenses"]) == (one.key, 0.25, ["MIT"])
        assert (tmp_path / "out" / row["filepath"]).read_bytes() == one.photo
        for field, path in (("semantic", "mask_path"), ("normals", "mask_path"), ("depth", "map_path")):
            assert (tmp_path / "out" / row[field][path]).read_bytes() == one.files[f"{field}.png"]
        label = one.label(Task.INSTANCE, shards.manifest)
        for number, detection in enumerate(row["instance"]["detections"], 1):
            packed = np.load(io.BytesIO(zlib.decompress(base64.b64decode(detection["mask"]["$binary"]["base64"]))))
            left, top, *_ = (
                side * full for side, full in zip(detection["bounding_box"], SIZE_HW[::-1] * 2, strict=True)
            )
            whole = np.zeros(SIZE_HW, bool)
            whole[round(top) : round(top) + packed.shape[0], round(left) : round(left) + packed.shape[1]] = packed
            assert np.array_equal(whole, mask_of(label.instance_layers, number))
            assert detection["label"] == label.instance_classes[number]
    declared = {field["name"] for field in metadata["sample_fields"]}
    assert set(rows[0]) - {"_id"} <= declared and len({row["_id"]["$oid"] for row in rows}) == 2


def test_import_is_refused_with_the_way_around(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"can only be exported to.*as COCO"):
        import_(tmp_path / "data", "fiftyone", out=tmp_path / "set")
