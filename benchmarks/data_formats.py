r"""Read exports of `distill data export` with the loaders of other tools, and compare all values with the shards.

    python benchmarks/data_formats.py --ultralytics v/bin/python --fiftyone w/bin/python \
        --out benchmarks/results/data_formats.md

Photos and labels are those of the synthetic teacher. pycocotools and `datasets` come with the extra ``dev``;
Ultralytics and FiftyOne need environments of their own (``pip install ultralytics``; ``pip install fiftyone
mongomock``). FiftyOne runs with mongomock in place of its database.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
from machine import results_page
from PIL import Image

import distill
from distill.datasets.shard_set import ShardSet
from distill.images import decode_map
from distill.labels import Label
from distill.labels.instance_layers import mask_of
from distill.report.blocks import Table
from distill.tasks import Task

PHOTOS, SIZE_HW = 12, (120, 160)
TASKS = ("depth", "normals", "semantic", "instance")
SCENES = {"scenes": PHOTOS, "size_hw": list(SIZE_HW), "truth": True, "tasks": list(TASKS)}
ULTRALYTICS = """
import sys
from pathlib import Path
import numpy as np, ultralytics
from ultralytics.cfg import get_cfg
from ultralytics.data.dataset import DepthDataset, SemanticDataset, YOLODataset
from ultralytics.data.utils import check_det_dataset, polygon2mask

root, found = Path(sys.argv[1]), {}
kinds = {"yolo": (YOLODataset, "segment"), "yolo-semantic": (SemanticDataset, "semantic")}
kinds["yolo-depth"] = (DepthDataset, "depth")
for name, (kind, task) in kinds.items():
    data = check_det_dataset(str(root / name / "data.yaml"), autodownload=False)
    loaded = kind(img_path=data["train"], data=data, task=task, imgsz=160, augment=False, hyp=get_cfg())
    for index, file in enumerate(loaded.im_files):
        stem = Path(file).stem
        if task == "segment":
            label = loaded.labels[index]
            size_hw = label["shape"]
            found[f"{name}/{stem}/classes"] = label["cls"].ravel().astype(int)
            for number, segment in enumerate(label["segments"]):
                scaled = (segment * np.array(size_hw[::-1])).reshape(1, -1)
                found[f"{name}/{stem}/{number}"] = polygon2mask(size_hw, scaled)
        else:
            found[f"{name}/{stem}"] = loaded.load_mask(index) if task == "semantic" else loaded._load_depth(index)
np.savez(sys.argv[2], **found)
print(ultralytics.__version__)
"""
FIFTYONE = """
import os, sys
os.environ.update(FIFTYONE_DATABASE_URI="mongodb://localhost", FIFTYONE_DISABLE_SERVICES="1", FIFTYONE_DO_NOT_TRACK="1")
import mongoengine, mongomock, pymongo
import fiftyone.core.odm.database as database
client = mongomock.MongoClient()
client.__dict__["_closed"] = False
connect = mongoengine.connect

class Driver:
    MongoClient = staticmethod(lambda **options: client)
    def __getattr__(self, name):
        return getattr(pymongo, name)

def connect_mock(name=None, **options):
    mongoengine.disconnect_all()
    return connect(name or "fiftyone", mongo_client_class=lambda **more: client, host="mongodb://localhost")

database.pymongo, mongoengine.connect = Driver(), connect_mock
database._validate_db_version = database._update_fc_version = lambda *args, **options: None
import fiftyone as fo, numpy as np
loaded, found = fo.Dataset.from_dir(dataset_dir=sys.argv[1], dataset_type=fo.types.FiftyOneDataset, progress=False), {}
for sample in loaded:
    key = sample["key"]
    for field in ("semantic", "normals"):
        found[f"{key}/{field}"] = sample[field].get_mask()
    found[f"{key}/depth"] = sample["depth"].get_map()
    found[f"{key}/quality"] = np.array([sample["quality_depth"]], float)
    for number, detection in enumerate(sample["instance"].detections):
        found[f"{key}/{number}/{detection.label}"] = detection.mask
np.savez(sys.argv[2], **found)
print(fo.__version__)
"""
Row = list[str | int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ultralytics", help="python of an environment with ultralytics")
    parser.add_argument("--fiftyone", help="python of an environment with fiftyone and mongomock")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        distill.label(teacher="synthetic", overrides=SCENES, out=work / "shards", check=False, workers=1)
        shards = distill.data.open(work / "shards")
        rows = [*check_coco(shards, work), *check_panoptic(shards, work), *check_parquet(shards, work)]
        if options.ultralytics:
            rows += check_ultralytics(shards, work, options.ultralytics)
        if options.fiftyone:
            rows += check_fiftyone(shards, work, options.fiftyone)
    columns = ["format", "read by", "maps or masks", "equal", "largest difference"]
    notes = f"{PHOTOS} synthetic photos of {SIZE_HW[1]}x{SIZE_HW[0]} px with labels of {', '.join(TASKS)}."
    results_page("Exports read by other tools", notes, [Table(columns, rows)], options.out)


def instances(label: Label) -> Iterator[tuple[str, np.ndarray]]:
    for number, name in sorted(label.instance_classes.items()):
        yield name, mask_of(label.instance_layers, number)


def check_coco(shards: ShardSet, work: Path) -> Iterator[Row]:
    from pycocotools.coco import COCO

    distill.data.export(shards.folder, "coco", out=work / "coco")
    coco = COCO(str(work / "coco" / "annotations" / "instances.json"))
    of_file = {image["file_name"]: image["id"] for image in coco.dataset["images"]}
    equal = total = 0
    for sample in shards:
        image = of_file[f"{sample.key}.{sample.photo_format}"]
        rows = coco.loadAnns(coco.getAnnIds(imgIds=[image]))
        for (name, mask), row in zip(instances(sample.label(Task.INSTANCE, shards.manifest)), rows, strict=True):
            total += 1
            same = np.array_equal(coco.annToMask(row).astype(bool), mask) and row["area"] == mask.sum()
            equal += same and coco.cats[row["category_id"]]["name"] == name
    yield ["coco", f"pycocotools {version('pycocotools')}", total, equal, "none" if equal == total else "masks differ"]


def check_panoptic(shards: ShardSet, work: Path) -> Iterator[Row]:
    """The conditions under which ``panopticapi.evaluation.pq_compute`` accepts a file, and the visible masks."""
    distill.data.export(shards.folder, "coco-panoptic", out=work / "panoptic")
    folder = work / "panoptic" / "annotations"
    tables = json.loads((folder / "panoptic.json").read_text())
    names = {row["id"]: row["name"] for row in tables["categories"]}
    equal = total = 0
    for row in tables["annotations"]:
        rgb = np.asarray(Image.open(folder / "panoptic" / row["file_name"]), np.uint32)
        ids = rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]
        present, areas = np.unique(ids[ids > 0], return_counts=True)
        listed = {info["id"]: info for info in row["segments_info"]}
        assert set(present.tolist()) == set(listed), "segments and PNG differ"
        assert all(listed[number]["area"] == area for number, area in zip(present.tolist(), areas, strict=True))
        label = shards.label(Path(row["file_name"]).stem, Task.INSTANCE)
        ours = [(name, label.value == number) for number, name in sorted(label.instance_classes.items())]
        ours = [(name, mask) for name, mask in ours if mask.any()]
        for (name, mask), info in zip(ours, row["segments_info"], strict=False):
            total += 1
            equal += names[info["category_id"]] == name and np.array_equal(ids == info["id"], mask)
    yield ["coco-panoptic", "the rules of panopticapi", total, equal, "none" if equal == total else "masks differ"]


def check_parquet(shards: ShardSet, work: Path) -> Iterator[Row]:
    from datasets import load_dataset

    distill.data.export(shards.folder, "parquet", out=work / "parquet")
    rows = load_dataset(str(work / "parquet"), split="train", cache_dir=str(work / "cache"))
    equal = total = 0
    for row, sample in zip(rows, shards, strict=True):
        for task in sample.tasks:
            total += 1
            stored = np.asarray(Image.open(io.BytesIO(sample.files[f"{task}.png"])))
            equal += np.array_equal(np.asarray(row[str(task)]), stored) and row["key"] == sample.key
    yield ["parquet", f"datasets {version('datasets')}", total, equal, "none" if equal == total else "maps differ"]


def check_ultralytics(shards: ShardSet, work: Path, python: str) -> Iterator[Row]:
    names = ("yolo", "yolo-semantic", "yolo-depth")
    for name in names:
        distill.data.export(shards.folder, name, out=work / name)
    command = [python, "-c", ULTRALYTICS, str(work), str(work / "found.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=work)
    reader, found = f"ultralytics {done.stdout.split()[-1]}", np.load(work / "found.npz")
    ious, semantic, depth = [], [], []
    for sample in shards:
        key, manifest = sample.key, shards.manifest
        label = sample.label(Task.INSTANCE, manifest)
        expected = list(instances(label))
        classes = [manifest.instance_classes[index] for index in found[f"yolo/{key}/classes"]]
        assert classes == [name for name, _ in expected], (classes, expected)
        for number, (_, mask) in enumerate(expected):
            other = found[f"yolo/{key}/{number}"].astype(bool)
            ious.append(float((mask & other).sum() / (mask | other).sum()))
        ids = sample.label(Task.SEMANTIC, manifest)
        semantic.append(bool(np.array_equal(found[f"yolo-semantic/{key}"], ids.value)))
        meters = sample.label(Task.DEPTH, manifest)
        in_range = meters.valid & (meters.value <= 65.535)
        depth.append(float(np.abs(found[f"yolo-depth/{key}"] - meters.value)[in_range].max(initial=0)))
    exact = sum(iou == 1 for iou in ious)
    yield ["yolo", reader, len(ious), exact, f"IoU of the others {min(ious):.3f} or more (holes and parts)"]
    yield ["yolo-semantic", reader, len(semantic), sum(semantic), "none" if all(semantic) else "maps differ"]
    yield ["yolo-depth", reader, len(depth), sum(one <= 0.00051 for one in depth), f"{1000 * max(depth):.2f} mm"]


def check_fiftyone(shards: ShardSet, work: Path, python: str) -> Iterator[Row]:
    distill.data.export(shards.folder, "fiftyone", out=work / "fiftyone")
    command = [python, "-c", FIFTYONE, str(work / "fiftyone"), str(work / "fiftyone.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=work)
    found = np.load(work / "fiftyone.npz")
    equal = total = 0
    for sample in shards:
        for task in ("depth", "normals", "semantic"):
            stored = decode_map(sample.files[f"{task}.png"], sample.key)
            total += 1
            equal += np.array_equal(found[f"{sample.key}/{task}"], stored)
        for number, (name, mask) in enumerate(instances(sample.label(Task.INSTANCE, shards.manifest))):
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            total += 1
            equal += np.array_equal(found[f"{sample.key}/{number}/{name}"], box)
    reader = f"fiftyone {done.stdout.split()[-1]} (mongomock)"
    yield ["fiftyone", reader, total, equal, "none" if equal == total else "maps differ"]


if __name__ == "__main__":
    main()
