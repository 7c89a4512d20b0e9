"""Label maps on disk as a teacher: ground truth or pseudo-labels.

Images are read bit for bit, ``.npy`` without pickle.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Shaped
from numpy import ndarray
from PIL import Image

from distill.config.adapters import MapConfig, MapsConfig
from distill.errors import DistillError
from distill.files import read_file
from distill.images import MAX_PIXELS, Photo
from distill.labels import Label
from distill.tasks import Task
from distill.teachers.base import Specialist, Teacher
from distill.teachers.builder_options import TeacherContext
from distill.teachers.predictive import PredictiveTeacher
from distill.teachers.quality.fusion import hflip_label
from distill.teachers.tasks import teacher_task


class MapsSpecialist(Specialist):
    """Reads the maps of a config."""

    def __init__(self, config: MapsConfig) -> None:
        self._config = config

    def predict(self, photo: Photo) -> list[Label]:
        """Labels of one photo.

        Raises:
            DistillError: The photo is not a file, or a map is missing, unreadable or differs from the config.
        """
        if "path" not in photo.origin or "frame" in photo.origin:
            raise DistillError(
                f"{photo.name}: maps are found by the photo's path, and this photo is not a file",
                hint="give a folder of photos",
            )
        path = Path(str(photo.origin["path"]))
        return [_read_label(task, _find(path, config), config) for task, config in self._config.maps().items()]


def build_maps(config: MapsConfig, folder: Path, context: TeacherContext) -> Teacher:
    """The teacher of a maps config."""
    return PredictiveTeacher(
        MapsSpecialist(config),
        name=config.name,
        license=config.license,
        terms=config.terms,
        tasks=tuple(config.maps()),
        classes=config.classes,
    )


def _find(photo: Path, config: MapConfig) -> Path:
    try:
        relative = config.pattern.format(stem=photo.stem, name=photo.name)
    except (KeyError, IndexError, ValueError) as error:
        raise DistillError(
            f"pattern {config.pattern!r}: only {{stem}} and {{name}} are replaced", hint="fix the config"
        ) from error
    found = photo.parent / relative
    if not found.is_file():
        raise DistillError(f"{found}: no such map for {photo.name}", hint="check the pattern, or remove the photo")
    return found


def read_map(path: Path) -> Shaped[ndarray, "h w *c"]:
    """Numbers of a map file, in RGB order if there are three channels; indices of a palette image.

    Raises:
        DistillError: Unreadable, larger than `distill.images.MAX_PIXELS`, or not a map.
    """
    try:
        data = read_file(path)
        if path.suffix.lower() == ".npy":
            stored = np.load(io.BytesIO(data), allow_pickle=False)
            if not isinstance(stored, ndarray) or stored.ndim not in (2, 3):
                raise DistillError(f"{path}: not an array of shape (h, w) or (h, w, 3)", hint="store one map per file")
            return stored
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DistillError(f"{path}: over {MAX_PIXELS / 1e6:.0f} million pixels", hint="shrink it")
            if image.mode == "P":
                return np.array(image)
        values: ndarray | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except (OSError, ValueError, EOFError, SyntaxError, zipfile.BadZipFile, cv2.error) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise DistillError(f"{path}: the map cannot be read: {reason}", hint="use PNG, TIFF or .npy") from error
    if values is None:
        raise DistillError(f"{path}: not a readable map", hint="use PNG, TIFF or .npy")
    if data[:4] == b"\x89PNG" and data[25] == 0 and data[24] < 8:
        # Gray of 1, 2 or 4 bits is stretched to 0..255 when it is decoded; ids must not be.
        values = values // (255 // (2 ** data[24] - 1))
    if values.ndim == 3:
        values = values[..., 2::-1] if values.shape[2] >= 3 else values[..., 0]
    return values


def _read_label(task: Task, path: Path, config: MapConfig) -> Label:
    reader = teacher_task(task)
    label = reader.label_from_file(read_map(path), config, path)
    if reason := reader.reject(label):
        raise DistillError(f"{path}: {reason}", hint="check the config of these maps, such as frame")
    return hflip_label(label) if config.mirror else label
