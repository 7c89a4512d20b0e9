"""Decode one sample's files at the student's working size: the photo, and each label with its confidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Shaped, UInt8
from numpy import ndarray
from PIL import Image

from distill.errors import DistillError
from distill.images import decode_image, decode_map
from distill.labels.conversions import has_aspect_of
from distill.students.tasks.base import resize_nearest, student_task
from distill.tasks import TASKS, Task


def decode_photo(data: bytes, size_hw: tuple[int, int], name: str) -> UInt8[ndarray, "h w 3"]:
    """The photo at this size, orientation applied; bilinear and antialiased, as in the student's own graph.

    JPEGs are decoded at a reduced scale of at least twice the size: 3 times faster at 2 megapixels, 20 times at 24,
    and 0.9 of 255 levels away from the full decode on average.
    """
    height, width = size_hw
    photo = Image.fromarray(decode_image(data, name, (2 * height, 2 * width)).rgb)
    # Pillow's bilinear filter is the antialiased triangle that torch's antialias=True was ported from.
    return np.asarray(photo.resize((width, height), Image.Resampling.BILINEAR))


def decode_task(
    task: Task,
    files: dict[str, bytes],
    class_of: Mapping[int, int],
    size_hw: tuple[int, int],
    name: str,
    num_classes: int | None = None,
    photo_hw: tuple[int, int] | None = None,
    slivers: Sequence[int] = (),
) -> tuple[Shaped[ndarray, "h w *c"], UInt8[ndarray, "h w"]]:
    """(stored values, confidence with 0 = invalid) at this size; all invalid if the sample lacks the task.

    Instances that overlap are learned from what is visible of them; the pixels of `slivers` are invalid.

    Raises:
        DistillError: A map is damaged, has another type or another aspect ratio than the photo (`photo_hw`), or holds a
            class beyond the `num_classes` of the list.
    """
    rules, info = student_task(task), TASKS[task]
    source = next((source for source in rules.sources if f"{source}.png" in files), rules.sources[-1])
    file = f"{name}.{source}.png"
    if f"{source}.png" not in files:
        return np.zeros((*size_hw, *info.channels), info.dtype), np.zeros(size_hw, np.uint8)
    stored = decode_map(files[f"{source}.png"], file)
    if source is not task:
        stored = rules.from_source(stored, source, class_of)
    elif slivers and info.class_list == "instance_classes":
        stored = np.where(np.isin(stored, slivers), info.ignore, stored).astype(info.dtype)
    if stored.dtype != np.dtype(info.dtype) or stored.shape[2:] != info.channels:
        raise DistillError(f"{file}: {stored.dtype} of shape {stored.shape} is no {task} map", hint="rebuild the shard")
    if photo_hw is not None and not has_aspect_of(stored.shape[:2], photo_hw):
        raise DistillError(
            f"{file} is {stored.shape[0]}x{stored.shape[1]}, its photo {photo_hw[0]}x{photo_hw[1]}",
            hint="maps may be smaller than their photo, but need its aspect ratio and orientation; label it again",
        )
    value = rules.resize(stored, size_hw)
    valid = rules.valid(value)
    rules.check(value, valid, num_classes, file)
    confidence_name = f"{source}.confidence.png"
    if confidence_name not in files:
        return value, np.where(valid, 255, 0).astype(np.uint8)
    confidence = resize_nearest(decode_map(files[confidence_name], f"{name}.{confidence_name}"), size_hw)
    return value, np.where(valid, confidence, 0).astype(np.uint8)
