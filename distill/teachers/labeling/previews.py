"""Small pictures of the first photos of a job, for its report: photo, generated image, label, confidence."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.images import Photo, encode_jpeg, write_atomic
from distill.labels import Label
from distill.tasks import IGNORE_SEMANTIC, DepthKind, Task
from distill.teachers.base import TeacherResult
from distill.visualization import (
    add_class_legend,
    add_depth_bar,
    draw_confidence,
    draw_depth,
    draw_instances,
    draw_normals,
    draw_semantic,
)

PREVIEWS = "previews"
WIDTH_PX = 360
"""Of every picture."""


@dataclass(frozen=True, slots=True)
class Preview:
    """A picture on disk and what it shows."""

    position: int
    number: int
    key: str
    what: str
    """``photo``, ``depth generated``, ``depth``, ``depth confidence``, ..."""
    path: Path


def write_preview(out: Path, position: int, number: int, photo: Photo, result: TeacherResult) -> None:
    """Write the pictures of one lesson as small JPEGs into ``previews/``."""
    folder = out / PREVIEWS
    folder.mkdir(exist_ok=True)
    pictures = {"photo": photo.rgb}
    for name, generated in result.generated.items():
        pictures[name if "rejected" in name else f"{name} generated"] = generated
    for task, label in result.labels.items():
        pictures[f"{task} confidence"] = draw_confidence(np.where(label.valid, label.confidence, 0))
    small = {what: _small(picture) for what, picture in pictures.items()}
    small |= {str(task): draw_label(label) for task, label in result.labels.items()}
    for what, picture in small.items():
        name = f"{position:05d}.{number}.{photo.key}.{re.sub(r'[^a-z0-9]+', '_', what.lower())}.jpg"
        write_atomic(folder / name, encode_jpeg(picture, quality=85))


def draw_label(label: Label) -> UInt8[ndarray, "h w 3"]:
    """A label as a small picture for people, with its color bar or legend; invalid pixels are marked."""
    if label.task is Task.DEPTH:
        depth_kind = label.depth_kind or DepthKind.METRIC
        return add_depth_bar(_small(draw_depth(label.value, label.valid, depth_kind=depth_kind)), depth_kind=depth_kind)
    if label.task is Task.NORMALS:
        return _small(draw_normals(label.value, label.valid))
    if label.task is Task.INSTANCE:
        return _small(draw_instances(label.value))
    ids = np.where(label.valid, label.value, IGNORE_SEMANTIC).astype(np.uint8)
    present = [int(i) for i in np.unique(ids) if i < len(label.classes)]
    drawing = _small(draw_semantic(ids, max(len(label.classes), 1)))
    return add_class_legend(drawing, label.classes, only=present) if present else drawing


def read_previews(out: Path) -> list[Preview]:
    """What was written, in order."""
    found = []
    for path in sorted((out / PREVIEWS).glob("*.jpg")):
        position, number, key, what, _ = path.name.split(".")
        found.append(Preview(int(position), int(number), key, what.replace("_", " "), path))
    return found


def _small(picture: UInt8[ndarray, "h w 3"]) -> UInt8[ndarray, "h2 w2 3"]:
    scale = WIDTH_PX / picture.shape[1]
    if scale >= 1:
        return picture
    size_wh = (WIDTH_PX, max(1, round(picture.shape[0] * scale)))
    return cv2.resize(picture, size_wh, interpolation=cv2.INTER_AREA)
