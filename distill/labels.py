"""A label map: value, confidence, valid mask; to bytes and back.

How a map is stored (the part of a shard sample that belongs to one task):

* ``depth.png``: uint16, 0 = invalid. Metric: ``v = max(1, round(65535 * warp_depth(d)))``. Relative depth kinds: values lie
  in [0, 1] and ``v = 1 + round(65534 * x)``.
* ``normals.png``: 8-bit RGB as encoded, ``R = (1-x)/2, G = (1+y)/2, B = (1+z)/2``; 0,0,0 = invalid.
* ``semantic.png``, ``referring.png``: uint8 ids, 255 = ignore.
* ``instance.png``: uint16 ids, 0 = background, 65535 = ignore.
* ``<task>.confidence.png``: uint8, ``round(255 * confidence)``; 0 where invalid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8, UInt16
from numpy import ndarray

from distill.errors import DistillError
from distill.images import decode_map, encode_map
from distill.tasks import (
    FAR_WARP,
    IGNORE_INSTANCE,
    IGNORE_SEMANTIC,
    DepthKind,
    Task,
    unwarp_depth,
    warp_depth,
)

_SKY_M = float(unwarp_depth(65533.5 / 65535))


@dataclass(frozen=True, slots=True)
class Label:
    """What a teacher (or the truth) says about every pixel of one photo, for one task.

    The map covers the whole photo; it may be coarser than the photo.

    Attributes:
        task: What the values mean.
        value: depth float32 (h, w), meters or the depth kind's [0, 1]; normals float32 (h, w, 3) unit vectors; semantic and
            referring uint8 (h, w); instance uint16 (h, w).
        valid: bool (h, w); where it is False the value means nothing.
        confidence: float32 (h, w) in [0, 1]; 0 where invalid.
        depth_kind: For depth only.
        classes: For semantic, referring and instance: names; semantic and referring ids index it.
        instance_classes: For instance only: instance id to class name.
    """

    task: Task
    value: Shaped[ndarray, "h w *c"]
    valid: Bool[ndarray, "h w"]
    confidence: Float[ndarray, "h w"]
    depth_kind: DepthKind | None = None
    classes: tuple[str, ...] = ()
    instance_classes: Mapping[int, str] = field(default_factory=dict[int, str])

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) of the map."""
        return self.valid.shape[0], self.valid.shape[1]

    @property
    def valid_fraction(self) -> float:
        """The share of pixels that can be used, in [0, 1]."""
        return float(np.mean(self.valid)) if self.valid.size else 0.0


def encode(label: Label) -> dict[str, bytes]:
    """The files of one label in a shard sample, keyed by extension, such as ``depth.png``."""
    stored = np.where(label.valid, np.rint(np.clip(label.confidence, 0, 1) * 255), 0).astype(np.uint8)
    return {
        f"{label.task}.png": encode_map(_ENCODERS[label.task](label)),
        f"{label.task}.confidence.png": encode_map(stored),
    }


def decode(
    task: Task,
    files: Mapping[str, bytes],
    *,
    depth_kind: DepthKind | None = None,
    classes: tuple[str, ...] = (),
    instance_classes: Mapping[int, str] | None = None,
) -> Label:
    """The label of one task out of a sample's files; the inverse of `encode` up to one stored level.

    Raises:
        DistillError: The map is missing, is no PNG, or has another type than the task stores.
    """
    name = f"{task}.png"
    if name not in files:
        raise DistillError(f"the sample has no {name}", hint=f"label it with --task {task}")
    stored = decode_map(files[name], name)
    if stored.dtype != _STORED_TYPE[task] or stored.ndim != (3 if task is Task.NORMALS else 2):
        raise DistillError(
            f"{name} holds {stored.dtype} of shape {stored.shape}, not a {task} map",
            hint="the shard was not written by distill label; rebuild it",
        )
    if task is Task.DEPTH and depth_kind is None:
        depth_kind = DepthKind.METRIC
    value, valid = _decode_stored(task, stored, depth_kind)
    confidence_name = f"{task}.confidence.png"
    if confidence_name in files:
        confidence = decode_map(files[confidence_name], confidence_name).astype(np.float32) / 255.0
        if confidence.shape != valid.shape:
            raise DistillError(f"{confidence_name} is {confidence.shape}, its map is {valid.shape}")
    else:
        confidence = valid.astype(np.float32)
    return Label(
        task=task,
        value=value,
        valid=valid,
        confidence=np.where(valid, confidence, np.float32(0)),
        depth_kind=depth_kind if task is Task.DEPTH else None,
        classes=classes,
        instance_classes=instance_classes or {},
    )


def _decode_stored(task: Task, stored: ndarray, depth_kind: DepthKind | None) -> tuple[ndarray, ndarray]:
    """Stored integers to (value, valid)."""
    if task is Task.DEPTH:
        return decode_depth(stored, depth_kind or DepthKind.METRIC)
    if task is Task.NORMALS:
        return decode_normals(stored)
    if task is Task.INSTANCE:
        return stored, stored != IGNORE_INSTANCE
    return stored, stored != IGNORE_SEMANTIC


def encode_depth(
    value: Float[ndarray, "h w"], valid: Bool[ndarray, "h w"], depth_kind: DepthKind
) -> UInt16[ndarray, "h w"]:
    """Depth in its depth kind to uint16, 0 = invalid."""
    safe = np.where(valid, value, 0)
    if depth_kind is DepthKind.METRIC:
        # Infinity warps to 1; the level 65535 says "beyond what can be told apart".
        stored = np.maximum(1, np.rint(65535 * np.asarray(warp_depth(np.maximum(safe, 0.0)))))
    else:
        stored = 1 + np.rint(65534 * np.clip(safe, 0, 1))
    return np.where(valid, stored, 0).astype(np.uint16)


def decode_depth(
    stored: UInt16[ndarray, "h w"], depth_kind: DepthKind
) -> tuple[Float[ndarray, "h w"], Bool[ndarray, "h w"]]:
    """(value, valid) of a stored depth map; a stored infinity comes back as the last finite level."""
    valid = stored > 0
    if depth_kind is DepthKind.METRIC:
        # A table of 65536 entries is four times faster than the power, and exact.
        return _METERS[stored], valid
    return ((np.maximum(stored, 1) - 1) / np.float32(65534)).astype(np.float32), valid


def encode_normals(value: Float[ndarray, "h w 3"], valid: Bool[ndarray, "h w"]) -> UInt8[ndarray, "h w 3"]:
    """Unit vectors to the painted 8-bit RGB; 0,0,0 = invalid."""
    sign = np.array([-1, 1, 1], np.float32)
    encoded = np.clip(np.rint((1 + value * sign) * 127.5), 0, 255)
    return np.where(valid[..., None], encoded, 0).astype(np.uint8)


def decode_normals(stored: UInt8[ndarray, "h w 3"]) -> tuple[Float[ndarray, "h w 3"], Bool[ndarray, "h w"]]:
    """(unit vectors, valid) of a stored normal map."""
    valid = stored.any(axis=-1)
    sign = np.array([-1, 1, 1], np.float32)
    vector = (stored.astype(np.float32) / np.float32(127.5) - 1) * sign
    length = np.linalg.norm(vector, axis=-1, keepdims=True)
    return vector / np.maximum(length, np.float32(1e-6)), valid


def _encode_ids(label: Label, ignore: int) -> ndarray:
    return np.where(label.valid, label.value, ignore).astype(_STORED_TYPE[label.task])


_ENCODERS: dict[Task, Callable[[Label], ndarray]] = {
    Task.DEPTH: lambda label: encode_depth(label.value, label.valid, label.depth_kind or DepthKind.METRIC),
    Task.NORMALS: lambda label: encode_normals(label.value, label.valid),
    Task.SEMANTIC: lambda label: _encode_ids(label, IGNORE_SEMANTIC),
    Task.REFERRING: lambda label: _encode_ids(label, IGNORE_SEMANTIC),
    Task.INSTANCE: lambda label: _encode_ids(label, IGNORE_INSTANCE),
}
_STORED_TYPE = {
    Task.DEPTH: np.uint16,
    Task.NORMALS: np.uint8,
    Task.SEMANTIC: np.uint8,
    Task.REFERRING: np.uint8,
    Task.INSTANCE: np.uint16,
}
_LEVELS = np.arange(65536) / 65535.0
_METERS = np.asarray(unwarp_depth(np.minimum(_LEVELS, 65534 / 65535.0))).astype(np.float32)


_BEYOND_Z, _MORE_AWAY = 0.35, 0.1
"""Normals whose z is beyond this point toward or away from the camera, and so much more of them away than toward makes
a map impossible. Floors lie at 0 or, seen by a camera that looks up, a little below."""


def normals_face_away(label: Label) -> bool:
    """Whether normals point away from the camera, as no surface does that it sees: they are in another frame."""
    if not label.valid.any():
        return False
    z = label.value[..., 2][label.valid]
    return bool((z < -_BEYOND_Z).mean() - (z > _BEYOND_Z).mean() > _MORE_AWAY)


def is_sky(label: Label) -> Bool[ndarray, "h w"]:
    """Where a metric depth label says sky itself: infinity, or the last finite level that a shard stores (2550 m)."""
    return np.asarray(label.value >= _SKY_M) & label.valid


def is_beyond_range(label: Label) -> Bool[ndarray, "h w"]:
    """Where a metric depth label says sky or infinity (beyond `distill.tasks.FAR_DEPTH_M`)."""
    return np.asarray(warp_depth(label.value) > FAR_WARP) & label.valid
