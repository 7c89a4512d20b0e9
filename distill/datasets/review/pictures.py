"""Pictures of a label for the review page: photo, generated image, label, confidence, and its values."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from distill.datasets.review.items import ReviewItem, task_record
from distill.images import decode_rgb, encode_jpeg
from distill.labels import Label
from distill.labels.conversions import drop_absent_instances, resample_nearest
from distill.labels.formats import label_format
from distill.shards import Manifest, Sample
from distill.tasks import TASKS, DepthKind
from distill.visualization.label_drawers import DrawingFacts, drawer_of
from distill.visualization.segmentation import class_colors

LONGER_SIDE_PX = 400
"""Of all pictures: 30 labels of one task need 3 to 8 MB."""
_JPEG_QUALITY = 82
_MAX_TEXT = 600


def item_pictures(
    item: ReviewItem, sample: Sample, manifest: Manifest, generated: UInt8[ndarray, "h w 3"] | None = None
) -> dict[str, Any]:
    """What the page shows of one label, as JSON values; pictures are data URIs of equal size.

    Args:
        item: The label.
        sample: Its sample.
        manifest: Of its set.
        generated: Image of the teacher, where it is at hand.

    Raises:
        DistillError: The photo or the label is damaged.
    """
    photo, _ = decode_rgb(sample.photo, sample.key)
    scale = min(1.0, LONGER_SIDE_PX / max(photo.shape[:2]))
    size_hw = (max(1, round(photo.shape[0] * scale)), max(1, round(photo.shape[1] * scale)))
    full = sample.label(item.task, manifest)
    label = resample_nearest(full, size_hw)
    drawer = drawer_of(item.task)
    facts = DrawingFacts(depth_kind=label.depth_kind or DepthKind.METRIC, classes=label.classes, layers=label.layers)
    small = _resized(photo, size_hw)
    return {
        "width": size_hw[1],
        "height": size_hw[0],
        "photo": _jpeg(small),
        "generated": _jpeg(_resized(generated, size_hw)) if generated is not None else "",
        "label": (_png if TASKS[item.task].storage == "ids" else _jpeg)(drawer.draw(label.value, label.valid, facts)),
        "values": _png(_value_bytes(label)),
        "certainty": _png(np.rint(255 * np.where(label.valid, label.confidence, 0)).astype(np.uint8)),
        "names": _names(label),
        "colors": _colors(label),
        "metric": label.depth_kind in (None, DepthKind.METRIC),
        "valid": round(float(full.valid_fraction), 4),
        **_facts(sample.meta, item),
    }


def _facts(meta: Mapping[str, Any], item: ReviewItem) -> dict[str, Any]:
    """Origin of a label."""
    record = task_record(meta, item.task)
    return {name: str(record.get(name) or "")[:_MAX_TEXT] for name in ("prompt", "teacher", "model", "license")} | {
        "expected_error": record.get("expected_error")
    }


def _names(label: Label) -> dict[str, str]:
    """Class by id, of the ids that the map shows."""
    if label.instance_classes:
        return {str(number): name for number, name in drop_absent_instances(label).instance_classes.items()}
    present = np.unique(label.value[label.valid]) if label.classes else ()
    return {str(int(i)): label.classes[int(i)] for i in present if int(i) < len(label.classes)}


def _colors(label: Label) -> dict[str, list[int]]:
    """Color by id, of the classes that the map shows; instances have colors of their own."""
    if label.instance_classes or not label.classes:
        return {}
    table = class_colors(max(len(label.classes), 1))
    return {number: table[int(number)].tolist() for number in _names(label)}


def _value_bytes(label: Label) -> UInt8[ndarray, "h w 3"]:
    """The map as it is stored, in the channels of a picture: 16-bit numbers as R = high, G = low byte."""
    info = TASKS[label.task]
    stored = label_format(label.task).encode_value(label.value, label.valid, info, label.depth_kind)
    if stored.ndim == 3:
        return stored.astype(np.uint8)
    zero = np.zeros_like(stored)
    channels = [stored >> 8, stored & 255, zero] if stored.dtype.itemsize == 2 else [zero, stored, zero]
    return np.stack(channels, axis=-1).astype(np.uint8)


def _resized(rgb: UInt8[ndarray, "h w 3"], size_hw: tuple[int, int]) -> UInt8[ndarray, "h2 w2 3"]:
    return cv2.resize(rgb, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_AREA)


def _jpeg(rgb: UInt8[ndarray, "h w 3"]) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(encode_jpeg(rgb, quality=_JPEG_QUALITY)).decode()}"


def _png(picture: UInt8[ndarray, "h w *c"]) -> str:
    buffer = io.BytesIO()
    # Not `encode_map`, which is made for speed: a page is written once and mailed.
    Image.fromarray(picture).save(buffer, "PNG", compress_level=9)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
