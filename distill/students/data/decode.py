"""One sample's files as arrays at the student's working size: the photo, and each label with its confidence."""

from __future__ import annotations

import io
from collections.abc import Mapping

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8
from numpy import ndarray
from PIL import Image, ImageOps

from distill.errors import DistillError
from distill.images import MAX_PIXELS, decode_map, decode_rgb
from distill.tasks import IGNORE_INSTANCE, IGNORE_SEMANTIC, Task

CHANNELS = {Task.DEPTH: (), Task.NORMALS: (3,), Task.SEMANTIC: (), Task.INSTANCE: ()}
STORED_DTYPES = {Task.DEPTH: np.uint16, Task.NORMALS: np.uint8, Task.SEMANTIC: np.uint8, Task.INSTANCE: np.uint16}
_NUM_IDS = 65536
_ROUNDING_PX = 2
_EXIF_ORIENTATION = 0x0112
_FIRST_SIDEWAYS = 5
"""EXIF orientations from this one on swap height and width."""


def decode_photo(data: bytes, size_hw: tuple[int, int], name: str) -> UInt8[ndarray, "h w 3"]:
    """The photo at this size, orientation applied; bilinear and antialiased, as the student's own graph resizes.

    JPEGs are decoded at a reduced scale of at least twice the size: 3 times faster at 2 megapixels, 20 times at 24,
    and 0.9 of 255 levels away from the full decode on average.
    """
    height, width = size_hw
    picture = _open_reduced(data, size_hw)
    if picture is None:
        picture = Image.fromarray(decode_rgb(data, name)[0])
    try:
        # Pillow's bilinear filter is the antialiased triangle that torch's antialias=True was ported from.
        return np.asarray(
            ImageOps.exif_transpose(picture).convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
        )
    except OSError as error:
        raise DistillError(f"{name}: the photo is damaged: {error}", hint="label the photos again") from error


def _open_reduced(data: bytes, size_hw: tuple[int, int]) -> Image.Image | None:
    """The JPEG, to be decoded at a reduced scale; None for every other format, which must be decoded whole."""
    try:
        picture = Image.open(io.BytesIO(data), formats=["JPEG"])
    except OSError:
        return None
    if picture.mode not in ("RGB", "L") or picture.width * picture.height > MAX_PIXELS:
        return None
    height, width = size_hw
    if picture.getexif().get(_EXIF_ORIENTATION, 1) >= _FIRST_SIDEWAYS:
        height, width = width, height
    picture.draft(None, (2 * width, 2 * height))
    return picture


def decode_task(
    task: Task,
    files: dict[str, bytes],
    class_of: Mapping[int, int],
    size_hw: tuple[int, int],
    name: str,
    num_classes: int | None = None,
    photo_hw: tuple[int, int] | None = None,
) -> tuple[Shaped[ndarray, "h w *c"], UInt8[ndarray, "h w"]]:
    """(stored values, confidence; 0 where invalid) at this size; all invalid where the sample lacks the task.

    Raises:
        DistillError: A map is damaged, of another kind, of another shape than the photo (`photo_hw`), or holds a class
            beyond the `num_classes` of the list.
    """
    source = task
    if task is Task.SEMANTIC and "semantic.png" not in files:
        source = Task.INSTANCE if "instance.png" in files else Task.REFERRING
    if f"{source}.png" not in files:
        return np.zeros((*size_hw, *CHANNELS[task]), STORED_DTYPES[task]), np.zeros(size_hw, np.uint8)
    stored = decode_map(files[f"{source}.png"], f"{name}.{source}.png")
    if source is not task:
        stored = _as_classes(stored, source, class_of)
    if stored.dtype != STORED_DTYPES[task] or stored.shape[2:] != CHANNELS[task]:
        raise DistillError(f"{name}.{task}.png holds {stored.dtype} of shape {stored.shape}", hint="rebuild the shard")
    if photo_hw is not None and not _has_shape_of(stored.shape[:2], photo_hw):
        raise DistillError(
            f"{name}.{source}.png is {stored.shape[0]}x{stored.shape[1]}, its photo {photo_hw[0]}x{photo_hw[1]}",
            hint="maps may be smaller than their photo, but show all of it, the same way up; label it again",
        )
    value = _resize_nearest(stored, size_hw)
    if task is Task.SEMANTIC:
        valid = value != IGNORE_SEMANTIC
        largest = int(np.where(valid, value, 0).max())
        if num_classes is not None and largest >= num_classes:
            raise DistillError(
                f"{name}.{source}.png holds class {largest}, and the list has {num_classes} (0 to {num_classes - 1})",
                hint="mend the map, or the class list in the shards' dataset.json; 255 means no label",
            )
    elif task is Task.INSTANCE:
        valid = value != IGNORE_INSTANCE
    elif task is Task.NORMALS:
        valid = value.any(axis=-1)
    else:
        valid = value > 0
    confidence_name = f"{source}.confidence.png"
    if confidence_name not in files:
        return value, np.where(valid, 255, 0).astype(np.uint8)
    confidence = _resize_nearest(decode_map(files[confidence_name], f"{name}.{confidence_name}"), size_hw)
    return value, np.where(valid, confidence, 0).astype(np.uint8)


def _has_shape_of(map_hw: tuple[int, ...], photo_hw: tuple[int, int]) -> bool:
    """Whether sides have the same ratio, up to the rounding of each to whole pixels."""
    (height, width), (photo_height, photo_width) = map_hw, photo_hw
    return abs(height * photo_width - width * photo_height) <= max(photo_height, photo_width) * _ROUNDING_PX


def _as_classes(stored: Shaped[ndarray, "h w"], source: Task, class_of: Mapping[int, int]) -> UInt8[ndarray, "h w"]:
    """Ids of instances, or of things referred to, as classes; 0 is background."""
    table = np.zeros(_NUM_IDS, np.uint8)
    table[IGNORE_INSTANCE if source is Task.INSTANCE else IGNORE_SEMANTIC] = IGNORE_SEMANTIC
    for number, index in class_of.items():
        table[number] = index
    return table[stored]


def _resize_nearest(stored: Shaped[ndarray, "h w *c"], size_hw: tuple[int, int]) -> Shaped[ndarray, "h2 w2 *c"]:
    # Nearest: anything smoother invents depths and normals between two surfaces, and classes that nobody painted.
    return cv2.resize(stored, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_NEAREST_EXACT)
