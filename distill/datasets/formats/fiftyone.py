"""FiftyOneDataset: a folder that ``fiftyone.Dataset.from_dir`` imports, with segmentations, heat maps and qualities.

Heat maps have the stored levels of the shards; the range of depth in meters is not linear in them.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from distill.datasets.formats.base import ImportedSet, JsonLists, Options, count, labeled_samples, write_photo
from distill.datasets.formats.masks import bounding_box
from distill.datasets.shard_set import ShardSet
from distill.errors import UsageError
from distill.labels.instance_layers import mask_of
from distill.shards import Sample
from distill.tasks import TASKS, Task

_VERSION = "1.22.0"
"""Of the layout; later versions of FiftyOne convert it."""
_EPOCH = {"$date": "1970-01-01T00:00:00Z"}
_CORE = "fiftyone.core"
_STRING, _FLOAT, _LIST = (f"{_CORE}.fields.{name}Field" for name in ("String", "Float", "List"))
_EMBEDDED = f"{_CORE}.fields.EmbeddedDocumentField"
Entry = dict[str, Any]


class FiftyOne:
    """Writes the folder."""

    def write(self, shards: ShardSet, folder: Path, options: Options) -> Mapping[str, int]:
        """Write photos, maps, ``samples.json`` and ``metadata.json``."""
        counts: dict[str, int] = {}
        tasks = shards.manifest.tasks
        (folder / "fields").mkdir()
        with JsonLists(folder / "samples.json", ("samples",)) as file:
            for sample in labeled_samples(shards, tasks, options, counts):
                name, _ = write_photo(sample, folder / "data", counts)
                row: Entry = {"_id": _object_id(sample.key), "filepath": f"data/{name}", "_media_type": "image"}
                row |= {"tags": [], "_rand": _fraction(sample.key), "created_at": _EPOCH, "last_modified_at": _EPOCH}
                row |= {"key": sample.key, "name": str(sample.meta.get("name") or sample.key)}
                records = [record for record in sample.meta.get("records") or () if isinstance(record, dict)]
                row["licenses"] = sorted({str(record["license"]) for record in records if record.get("license")})
                row["teachers"] = sorted({str(record["teacher"]) for record in records if record.get("teacher")})
                for task in sample.tasks:
                    row[str(task)] = _WRITERS[TASKS[task].drawing](sample, task, shards, folder)
                    row[f"quality_{task}"] = _quality(records, task)
                    count(counts, f"{task} labels")
                file.add("samples", row)
            file.finish({})
        (folder / "metadata.json").write_text(json.dumps(_metadata(shards), ensure_ascii=False), encoding="utf-8")
        return counts

    def read(self, path: Path, options: Options) -> ImportedSet:
        """Refuse: FiftyOne exports to COCO, which can be imported."""
        raise UsageError("fiftyone can only be exported to", hint="export the data set from FiftyOne as COCO")


def _map_file(sample: Sample, task: Task, folder: Path) -> str:
    """Store the map of a sample as it is; returns its path."""
    path = folder / "fields" / str(task) / f"{sample.key}.png"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(sample.files[f"{task}.png"])
    return path.relative_to(folder).as_posix()


def _heat_map(sample: Sample, task: Task, shards: ShardSet, folder: Path) -> Entry:
    levels = np.iinfo(TASKS[task].dtype).max
    entry = {"_cls": "Heatmap", "map_path": _map_file(sample, task, folder), "range": [0.0, float(levels)]}
    return {"_id": _object_id(f"{sample.key} {task}"), "tags": [], **entry}


def _segmentation(sample: Sample, task: Task, shards: ShardSet, folder: Path) -> Entry:
    entry = {"_cls": "Segmentation", "mask_path": _map_file(sample, task, folder)}
    return {"_id": _object_id(f"{sample.key} {task}"), "tags": [], **entry}


def _detections(sample: Sample, task: Task, shards: ShardSet, folder: Path) -> Entry:
    label = sample.label(task, shards.manifest)
    rows = []
    for number, name in sorted(label.instance_classes.items()):
        mask = mask_of(label.instance_layers, number)
        left, top, width, height = bounding_box(mask)
        if not width:
            continue
        rows_px, columns_px = label.size_hw
        row: Entry = {"_id": _object_id(f"{sample.key} {task} {number}"), "_cls": "Detection", "label": name}
        row |= {"attributes": {}, "tags": [], "mask": _packed(mask[top : top + height, left : left + width])}
        row["bounding_box"] = [left / columns_px, top / rows_px, width / columns_px, height / rows_px]
        rows.append(row)
    return {"_cls": "Detections", "detections": rows}


_WRITERS: Mapping[str, Callable[[Sample, Task, ShardSet, Path], Entry]] = {
    "depth": _heat_map,
    "edges": _heat_map,
    "normals": _segmentation,
    "classes": _segmentation,
    "instances": _detections,
}
"""One row per `TaskInfo.drawing`."""
_CLASS_OF = {_heat_map: "Heatmap", _segmentation: "Segmentation", _detections: "Detections"}


def _packed(mask: Bool[ndarray, "h w"]) -> Entry:
    """A mask as FiftyOne stores arrays: a compressed ``.npy``."""
    buffer = io.BytesIO()
    np.save(buffer, mask, allow_pickle=False)
    return {"$binary": {"base64": base64.b64encode(zlib.compress(buffer.getvalue())).decode(), "subType": "00"}}


def _quality(records: Sequence[Mapping[str, Any]], task: Task) -> float | None:
    found = [
        float(row["quality"]) for row in records if row.get("task") == str(task) and row.get("quality") is not None
    ]
    return sum(found) / len(found) if found else None


def _object_id(text: str) -> Entry:
    return {"$oid": hashlib.sha256(text.encode(errors="replace")).hexdigest()[:24]}


def _fraction(text: str) -> float:
    return int(hashlib.sha256(text.encode(errors="replace")).hexdigest()[:8], 16) / 2**32


def _metadata(shards: ShardSet) -> Entry:
    fields = [
        _field("id", f"{_CORE}.fields.ObjectIdField", db_field="_id"),
        _field("filepath", _STRING),
        _field("tags", _LIST, subfield=_STRING),
        _field("metadata", _EMBEDDED, document=f"{_CORE}.metadata.ImageMetadata"),
        _field("_media_type", _STRING),
        _field("_rand", _FLOAT),
        _field("_dataset_id", f"{_CORE}.fields.ObjectIdField"),
        _field("created_at", f"{_CORE}.fields.DateTimeField", read_only=True),
        _field("last_modified_at", f"{_CORE}.fields.DateTimeField", read_only=True),
        _field("key", _STRING),
        _field("name", _STRING),
        _field("licenses", _LIST, subfield=_STRING),
        _field("teachers", _LIST, subfield=_STRING),
    ]
    targets = {}
    for task in shards.manifest.tasks:
        kind = _CLASS_OF[_WRITERS[TASKS[task].drawing]]  # type: ignore[index]
        fields += [_field(str(task), _EMBEDDED, document=f"{_CORE}.labels.{kind}"), _field(f"quality_{task}", _FLOAT)]
        if TASKS[task].class_list == "classes":
            targets[str(task)] = {str(number): name for number, name in enumerate(shards.manifest.classes)}
    return {
        "name": shards.folder.name,
        "version": _VERSION,
        "media_type": "image",
        "sample_fields": fields,
        "frame_fields": [],
        "mask_targets": targets,
        "default_mask_targets": {},
        "classes": {},
        "default_classes": [],
        "tags": [],
        "info": {},
        "app_config": {},
    }


def _field(
    name: str, kind: str, *, subfield: str = "", document: str = "", db_field: str = "", read_only: bool = False
) -> Entry:
    return {
        "name": name,
        "ftype": kind,
        "subfield": subfield or None,
        "embedded_doc_type": document or None,
        "fields": [],
        "db_field": db_field or name,
        "description": None,
        "info": None,
        "read_only": read_only,
        "created_at": None,
    }
