"""Shards of random labels with known values, for evaluation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from distill.images import encode_jpeg
from distill.labels import Label, encode, write_meta
from distill.shards import Manifest, Sample, write_manifest, write_shard
from distill.tasks import DepthKind, Task

SIZE_HW = (24, 32)
CLASSES = ("Sky", "Road", "Car")
LabelMaker = Callable[[int, np.random.Generator], list[Label]]


def make_label(task: Task, value: np.ndarray, valid: np.ndarray | None = None, **more: Any) -> Label:
    valid = np.ones(value.shape[:2], bool) if valid is None else valid
    return Label(task, value, valid, valid.astype(np.float32), **more)


def depth(value: np.ndarray, valid: np.ndarray | None = None, depth_kind: DepthKind = DepthKind.METRIC) -> Label:
    return make_label(Task.DEPTH, value.astype(np.float32), valid, depth_kind=depth_kind)


def random_scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(meters, unit normals, ids) of one photo."""
    normals = rng.normal((0, 0, 3), 1, (*SIZE_HW, 3))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    ids = rng.integers(0, 3, SIZE_HW).astype(np.uint8)
    return rng.uniform(1, 9, SIZE_HW), normals.astype(np.float32), ids


def truth_labels(index: int, rng: np.random.Generator) -> list[Label]:
    meters, normals, ids = random_scene(rng)
    hole = np.ones(SIZE_HW, bool)
    hole[:4] = False
    return [
        depth(meters, hole),
        make_label(Task.NORMALS, normals, hole),
        make_label(Task.SEMANTIC, ids, classes=CLASSES),
    ]


def make_shards(
    folder: Path,
    labels: LabelMaker = truth_labels,
    *,
    count: int = 3,
    classes: tuple[str, ...] = CLASSES,
    key: str = "photo",
    reverse_keys: bool = False,
    photo_seed: int = 0,
    **more: Any,
) -> Path:
    """A folder of shards; photo and scene of an index are the same in every set."""
    folder.mkdir(parents=True)
    samples, tasks, depth_kind = [], dict[Task, None](), DepthKind.METRIC
    for index in range(count):
        data = encode_jpeg(np.random.default_rng([photo_seed, index]).integers(0, 255, (*SIZE_HW, 3), dtype=np.uint8))
        meta: dict[str, Any] = {"name": f"{index}.jpg", "photo_sha256": hashlib.sha256(data).hexdigest()}
        files = {"jpg": data}
        for label in labels(index, np.random.default_rng(index)):
            files |= encode(label)
            tasks[label.task] = None
            if label.task is Task.DEPTH:
                meta["depth_kind"] = depth_kind = label.depth_kind or DepthKind.METRIC
            if label.task is Task.INSTANCE:
                meta |= write_meta(label)
            if label.task is Task.REFERRING:
                meta["referring"] = list(label.classes)
        number = count - 1 - index if reverse_keys else index
        samples.append(Sample(f"{key}{number}", {**files, "json": json.dumps(meta).encode()}))
    entry = write_shard(folder / "shard-000000.tar", samples)
    write_manifest(
        folder, Manifest(tasks=tuple(tasks), shards=(entry,), classes=classes, depth_kind=depth_kind, **more)
    )
    return folder
