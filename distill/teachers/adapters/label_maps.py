"""Label maps that lie on disk as a teacher: ground truth, or someone's pseudo-labels.

Knows files and what their numbers mean; knows no network. Pictures are read bit for bit, ``.npy`` without pickle.
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
from distill.config.teacher import id_table
from distill.errors import DistillError
from distill.images import MAX_PIXELS, Photo, read_file
from distill.label_ops import stretch_to_unit
from distill.labels import Label, normals_face_away
from distill.tasks import IGNORE_INSTANCE, IGNORE_SEMANTIC, DepthKind, Task
from distill.teachers.decoders.normals import frame_matrix


class MapsSpecialist:
    """Reads the maps that a config describes."""

    def __init__(self, config: MapsConfig) -> None:
        self._config = config

    def predict(self, photo: Photo) -> list[Label]:
        """The labels of one photo.

        Raises:
            DistillError: The photo is no file, or a map is missing, unreadable or of another kind than described.
        """
        if "path" not in photo.origin or "frame" in photo.origin:
            raise DistillError(
                f"{photo.name}: maps are found by the photo's path, and this photo is no file",
                hint="give a folder of photos",
            )
        path = Path(str(photo.origin["path"]))
        return [_READERS[task](_find(path, config), config) for task, config in self._config.maps().items()]


def _find(photo: Path, config: MapConfig) -> Path:
    try:
        relative = config.pattern.format(stem=photo.stem, name=photo.name)
    except (KeyError, IndexError, ValueError) as error:
        raise DistillError(
            f"pattern {config.pattern!r}: only {{stem}} and {{name}} can stand in it", hint="fix the config"
        ) from error
    found = photo.parent / relative
    if not found.is_file():
        raise DistillError(f"{found}: no such map for {photo.name}", hint="check the pattern, or remove the photo")
    return found


def read_map(path: Path) -> Shaped[ndarray, "h w *c"]:
    """The stored numbers of a map, RGB order where there are three channels; of a palette picture, the indices.

    Raises:
        DistillError: Unreadable, larger than `distill.images.MAX_PIXELS`, or of a kind that is no map.
    """
    try:
        data = read_file(path)
        if path.suffix.lower() == ".npy":
            values = np.load(io.BytesIO(data), allow_pickle=False)
            if not isinstance(values, ndarray) or values.ndim not in (2, 3):
                raise DistillError(f"{path}: not an array of shape (h, w) or (h, w, 3)", hint="store one map per file")
            return values
        with Image.open(io.BytesIO(data)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise DistillError(f"{path}: over {MAX_PIXELS / 1e6:.0f} million pixels", hint="shrink it")
            if picture.mode == "P":
                return np.array(picture)
        values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
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


def _scaled(stored: ndarray, config: MapConfig) -> tuple[ndarray, ndarray]:
    """(float32 values, valid) after scale, offset, invalid values and range."""
    value = stored.astype(np.float32) * np.float32(config.scale) + np.float32(config.offset)
    valid = np.isfinite(value)
    for bad in config.invalid:
        valid &= stored != bad
    if config.min_value is not None:
        valid &= value >= config.min_value
    if config.max_value is not None:
        valid &= value <= config.max_value
    return value, valid


def _single(stored: ndarray, path: Path) -> ndarray:
    """The one channel of a gray map; a gray map saved as RGB is accepted, a colored one is not."""
    if stored.ndim == 2:
        return stored
    if (stored == stored[..., :1]).all():
        return stored[..., 0]
    raise DistillError(f"{path}: has colors where one number per pixel is expected", hint="convert it to ids or depths")


def _read_depth(path: Path, config: MapConfig) -> Label:
    value, valid = _scaled(_single(read_map(path), path), config)
    if config.depth_kind is DepthKind.METRIC:
        valid &= value > 0
    else:
        value = stretch_to_unit(value, valid)
    return _label(Task.DEPTH, value, valid, config, depth_kind=config.depth_kind)


def _read_normals(path: Path, config: MapConfig) -> Label:
    stored = read_map(path)
    if stored.ndim != 3:
        raise DistillError(f"{path}: a normal map has three channels, this one has one", hint="check the pattern")
    vector = stored.astype(np.float32) * np.float32(config.scale) + np.float32(config.offset)
    length = np.linalg.norm(vector, axis=-1)
    # Half a unit: anything shorter is a hole or a blend, in every data set seen.
    valid = np.isfinite(length) & (length > 0.5)
    for bad in config.invalid:
        valid &= ~(stored == bad).all(axis=-1)
    unit = vector / np.maximum(length, 1e-6)[..., None]
    value = np.where(valid[..., None], unit, 0).astype(np.float32) @ frame_matrix(config.frame)
    label = _label(Task.NORMALS, value, valid, config)
    if normals_face_away(label):
        raise DistillError(
            f"{path}: more normals point away from the camera than toward it", hint="give the frame that they are in"
        )
    return label


def _read_semantic(path: Path, config: MapConfig) -> Label:
    stored = _single(read_map(path), path)
    holes = np.isin(stored, config.invalid)
    kept = np.where(holes, 0, stored)
    if not np.issubdtype(stored.dtype, np.integer) or kept.min(initial=0) < 0 or kept.max(initial=0) > 65535:
        raise DistillError(f"{path}: semantic ids are whole numbers from 0 to 65535, this map holds {stored.dtype}")
    table = np.array(id_table(config.stored_classes, config.classes, config.remap, 65536), np.uint8)
    value = np.where(holes, np.uint8(IGNORE_SEMANTIC), table[kept])
    return _label(Task.SEMANTIC, value, value != IGNORE_SEMANTIC, config, classes=config.classes)


def _read_instance(path: Path, config: MapConfig) -> Label:
    stored = _single(read_map(path), path).astype(np.int64)
    valid = np.ones(stored.shape, bool)
    for bad in config.invalid:
        valid &= stored != bad
    if stored[valid].min(initial=0) < 0 or stored[valid].max(initial=0) >= IGNORE_INSTANCE:
        raise DistillError(f"{path}: instance ids must lie between 0 and {IGNORE_INSTANCE - 1}")
    value = np.where(valid, stored, IGNORE_INSTANCE).astype(np.uint16)
    names = {int(i): config.class_name for i in np.unique(value[valid]) if i}
    return _label(Task.INSTANCE, value, valid, config, classes=(config.class_name,), instances=names)


_READERS = {
    Task.DEPTH: _read_depth,
    Task.NORMALS: _read_normals,
    Task.SEMANTIC: _read_semantic,
    Task.INSTANCE: _read_instance,
}


def _label(
    task: Task,
    value: ndarray,
    valid: ndarray,
    config: MapConfig,
    *,
    depth_kind: DepthKind | None = None,
    classes: tuple[str, ...] = (),
    instances: dict[int, str] | None = None,
) -> Label:
    if config.mirror:
        value, valid = np.ascontiguousarray(value[:, ::-1]), np.ascontiguousarray(valid[:, ::-1])
        if task is Task.NORMALS:
            value = value * np.array([-1, 1, 1], np.float32)
    return Label(task, value, valid, valid.astype(np.float32), depth_kind, classes, instances or {})
