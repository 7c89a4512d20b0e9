"""Small sets of shards with labels of all tasks, for tests of operations and formats."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy import ndarray

from distill.datasets.formats.new_sample import new_sample
from distill.datasets.shard_set import ShardSet, open
from distill.datasets.writer import ShardSetWriter
from distill.images import Photo, encode_jpeg, read_photo
from distill.inputs.keys import safe_key
from distill.labels import Label
from distill.labels.instance_layers import stack_masks
from distill.shards import Sample
from distill.tasks import IGNORE_INSTANCE, IGNORE_SEMANTIC, DepthKind, Task

SIZE_HW = (36, 48)
CLASSES = ("road", "car", "traffic light")
THINGS = ("car", "traffic light")
ALL_TASKS = (Task.DEPTH, Task.NORMALS, Task.SEMANTIC, Task.INSTANCE, Task.EDGES)


def photo(seed: int, name: str = "", *, shift: int = 0) -> Photo:
    """A photo unlike that of other seeds; a small `shift` changes it a little, as in the next frame of a video."""
    coarse = np.random.default_rng(seed).integers(30, 200, (8, 8, 3)).astype(np.uint8)
    rgb = cv2.resize(coarse, (96, 72), interpolation=cv2.INTER_CUBIC)
    rgb = np.ascontiguousarray(rgb[4 : 4 + SIZE_HW[0], 4 + shift // 4 : 4 + shift // 4 + SIZE_HW[1]]) + np.uint8(shift)
    name = name or f"photo_{'abcdefghijklmnopqrstuvwxyz'[seed % 26]}{seed // 26 or ''}.jpg"
    stem = name.rpartition(".")[0] or name
    return read_photo(encode_jpeg(rgb), key=safe_key(stem), name=name)


def label(
    task: Task,
    seed: int,
    *,
    classes: Sequence[str] = CLASSES,
    things: Sequence[str] = THINGS,
    kind: DepthKind = DepthKind.METRIC,
    size_hw: tuple[int, int] = SIZE_HW,
) -> Label:
    """A label with invalid pixels, confidences, and (instances) one that covers a part of another."""
    rng = np.random.default_rng((seed, len(task)))
    valid = np.ones(size_hw, bool)
    valid[:3] = False
    confidence = np.where(valid, rng.integers(1, 256, size_hw) / 255, 0).astype(np.float32)
    blocks = np.kron(rng.integers(0, len(classes), (6, 8)), np.ones((6, 6), np.uint8))[: size_hw[0], : size_hw[1]]
    if task is Task.DEPTH:
        value = rng.uniform(0.5, 9, size_hw).astype(np.float32)
        return Label(task, value if kind is DepthKind.METRIC else value / 10, valid, confidence, depth_kind=kind)
    if task is Task.NORMALS:
        vectors = rng.normal((0, 0, 2), 1, (*size_hw, 3)).astype(np.float32)
        return Label(task, vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), valid, confidence)
    if task is Task.EDGES:
        return Label(task, rng.uniform(0, 1, size_hw).astype(np.float32), valid, confidence)
    if task is Task.INSTANCE:
        return instances(valid, confidence, things)
    ids = np.where(valid, blocks, IGNORE_SEMANTIC).astype(np.uint8)
    return Label(task, ids, valid, confidence, classes=tuple(classes))


def instances(valid: ndarray, confidence: ndarray, things: Sequence[str]) -> Label:
    """A large instance, a smaller one in front of it, one next to them with a hole and two parts."""
    rows, columns = np.mgrid[: valid.shape[0], : valid.shape[1]]
    large = (rows > 5) & (rows < 30) & (columns > 2) & (columns < 24)
    small = (rows - 16) ** 2 + (columns - 20) ** 2 < 40
    third = (rows > 8) & (rows < 28) & (columns > 30) & (columns < 44)
    third &= ~((rows > 12) & (rows < 18) & (columns > 34) & (columns < 40))
    third &= rows != 22
    front, *behind = stack_masks(((2, small & valid), (1, large & valid), (3, third & valid)), valid.shape)
    names = {1: things[0], 2: things[-1], 3: things[0]}
    value = np.where(valid | (front > 0), front, IGNORE_INSTANCE).astype(np.uint16)
    return Label(
        Task.INSTANCE,
        value,
        valid | (front > 0),
        np.where(valid | (front > 0), np.maximum(confidence, np.float32(0.2)), 0).astype(np.float32),
        classes=tuple(dict.fromkeys(things)),
        instance_classes=names,
        layers=tuple(behind),
    )


def sample(
    picture: Photo,
    tasks: Iterable[Task] = ALL_TASKS,
    *,
    seed: int = 0,
    license: str = "MIT",
    teacher: str = "hand",
    quality: float | None = 0.9,
    classes: Sequence[str] = CLASSES,
    kind: DepthKind = DepthKind.METRIC,
) -> Sample:
    labels = [label(task, seed, classes=classes, kind=kind) for task in tasks]
    return new_sample(picture, labels, teacher=teacher, license=license, quality=quality)


def write_set(
    folder: Path, samples: Iterable[Sample], *, classes: Sequence[str] = CLASSES, shard_size: int = 3
) -> ShardSet:
    given = list(samples)
    tasks = [task for task in Task if any(task in one.tasks for one in given)]
    with ShardSetWriter(folder, tasks=tasks, classes=classes, shard_size=shard_size) as writer:
        for one in given:
            writer.add(one)
    return open(folder)
