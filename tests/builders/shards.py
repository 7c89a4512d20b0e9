"""Tiny shards: colored blocks on a background, where the color says class, depth and normal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from distill.images import encode_jpeg
from distill.labels import Label, encode
from distill.shards import Manifest, Sample, write_manifest, write_shard
from distill.tasks import DepthKind, Task

CLASSES = ("background", "red", "green")
_COLORS = np.array([[60, 60, 60], [220, 40, 40], [40, 220, 40]], np.uint8)
_NORMALS = np.array([[0, 0, 1], [0.6, 0, 0.8], [0, 0.6, 0.8]], np.float32)
_DEPTHS_M = np.array([8.0, 2.0, 4.0], np.float32)


def write_tiny_shards(
    folder: Path,
    *,
    num_samples: int = 24,
    shard_size: int = 10,
    tasks: Sequence[Task] = (Task.DEPTH, Task.NORMALS, Task.SEMANTIC),
    depth_kind: DepthKind = DepthKind.METRIC,
    classes: tuple[str, ...] = CLASSES,
    size_hw: tuple[int, int] = (48, 64),
    confidence: float = 1.0,
    one_class: bool = False,
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    samples = [_sample(seed, tasks, depth_kind, classes, size_hw, confidence, one_class) for seed in range(num_samples)]
    entries = [
        write_shard(folder / f"shard-{start:06d}.tar", samples[start : start + shard_size])
        for start in range(0, num_samples, shard_size)
    ]
    manifest = Manifest(
        tasks=tuple(tasks),
        depth_kind=depth_kind,
        classes=classes,
        shards=tuple(entries),
        teachers=("blocks",),
        licenses=("CC0",),
    )
    write_manifest(folder, manifest)
    return folder


def _sample(
    seed: int,
    tasks: Sequence[Task],
    depth_kind: DepthKind,
    classes: tuple[str, ...],
    size_hw: tuple[int, int],
    confidence: float,
    one_class: bool,
) -> Sample:
    rng = np.random.default_rng(seed)
    ids = np.zeros(size_hw, np.uint8)
    for block in (1, 2):
        top, left = rng.integers(0, size_hw[0] // 2), rng.integers(0, size_hw[1] // 2)
        ids[top : top + size_hw[0] // 2, left : left + size_hw[1] // 2] = block
    photo = encode_jpeg(_COLORS[ids] + rng.integers(0, 20, (*size_hw, 3), np.uint8))
    depth = _DEPTHS_M[ids] if depth_kind is DepthKind.METRIC else 1 / _DEPTHS_M[ids]
    classes_at = np.ones_like(ids) if one_class else ids
    values = {Task.DEPTH: depth, Task.NORMALS: _NORMALS[ids], Task.SEMANTIC: classes_at}
    valid = np.ones(size_hw, bool)
    sure = np.full(size_hw, confidence, np.float32)
    files = {"jpg": photo}
    for task in tasks:
        files |= encode(Label(task, values[task], valid, sure, depth_kind if task is Task.DEPTH else None, classes))
    sha256 = hashlib.sha256(photo).hexdigest()
    meta = {"name": f"blocks {seed}", "photo_sha256": sha256, "depth_kind": str(depth_kind), "size_hw": size_hw}
    meta["records"] = [{"task": str(task), "quality": 1.0} for task in tasks]
    files["json"] = json.dumps(meta).encode()
    return Sample(f"blocks-{seed:04d}", files)
