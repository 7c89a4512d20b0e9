"""Preview images of the first photos of a job, for its report: photo, generated image, label, confidence."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.files import write_atomic
from distill.images import Photo, encode_jpeg
from distill.labels import Label
from distill.tasks import TASKS, DepthKind
from distill.teachers.base import TeacherResult
from distill.visualization import draw_confidence
from distill.visualization.label_drawers import DrawingFacts, drawer_of

PREVIEWS = "previews"
WIDTH_PX = 360
_MAX_KEY_BYTES = 120
"""Of a key in a file name; keys of tars may be longer than a name can be."""


@dataclass(frozen=True, slots=True)
class Preview:
    """A preview image on disk.

    Attributes:
        position: Number of the photo in the job.
        number: Number of the result of this photo, from 1.
        key: Sample key of the photo.
        what: Content: ``photo``, ``depth generated``, ``depth``, ``depth confidence``, ...
    """

    position: int
    number: int
    key: str
    what: str
    path: Path


def write_preview(out: Path, position: int, number: int, photo: Photo, result: TeacherResult) -> None:
    """Write the images of one result as small JPEGs into ``previews/``."""
    folder = out / PREVIEWS
    folder.mkdir(exist_ok=True)
    images = {"photo": photo.rgb}
    for name, generated in result.generated.items():
        images[name if "rejected" in name else f"{name} generated"] = generated
    for task, label in result.labels.items():
        images[f"{task} confidence"] = draw_confidence(np.where(label.valid, label.confidence, 0))
    small = {what: _shrink(image) for what, image in images.items()}
    small |= {str(task): draw_label(label) for task, label in result.labels.items()}
    for what, image in small.items():
        key = photo.key.encode()[:_MAX_KEY_BYTES].decode(errors="ignore")
        name = f"{position:05d}.{number}.{key}.{re.sub(r'[^a-z0-9]+', '_', what.lower())}.jpg"
        write_atomic(folder / name, encode_jpeg(image, quality=85))


def remove_previews(out: Path, positions: range) -> None:
    """Remove the previews of photos that are labeled again."""
    for position in positions:
        for path in (out / PREVIEWS).glob(f"{position:05d}.*.jpg"):
            path.unlink(missing_ok=True)


def draw_label(label: Label) -> UInt8[ndarray, "h w 3"]:
    """A small drawing of a label; invalid pixels are marked. Legends are on the page, except those of phrases."""
    drawer = drawer_of(label.task)
    facts = DrawingFacts(depth_kind=label.depth_kind or DepthKind.METRIC, classes=label.classes, layers=label.layers)
    drawn = _shrink(drawer.draw(label.value, label.valid, facts))
    if TASKS[label.task].class_list != "referring":
        return drawn
    present = [int(i) for i in np.unique(label.value[label.valid]) if i < len(label.classes)]
    return drawer.add_legend(drawn, facts, only=present)


def read_previews(out: Path) -> list[Preview]:
    """All previews in a folder, in order."""
    found = []
    for path in sorted((out / PREVIEWS).glob("*.jpg")):
        position, number, key, what, _ = path.name.split(".")
        found.append(Preview(int(position), int(number), key, what.replace("_", " "), path))
    return found


def _shrink(image: UInt8[ndarray, "h w 3"]) -> UInt8[ndarray, "h2 w2 3"]:
    """The image, resized to `WIDTH_PX` if it is wider."""
    scale = WIDTH_PX / image.shape[1]
    if scale >= 1:
        return image
    size_wh = (WIDTH_PX, max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)
