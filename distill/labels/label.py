"""A label map (values, confidence, valid mask) and its stored form.

Files of one task in a shard sample (`distill.labels.formats`):

* ``depth.png``: uint16, 0 = invalid. Metric: ``v = max(1, round(65535 * warp_depth(d)))``. Relative depth kinds: values
  in [0, 1], ``v = 1 + round(65534 * x)``.
* ``normals.png``: 8-bit RGB, ``R = (1-x)/2, G = (1+y)/2, B = (1+z)/2``; 0,0,0 = invalid.
* ``semantic.png``, ``referring.png``: uint8 ids, 255 = ignore.
* ``instance.png``: uint16 ids of the instances in front, 0 = background, 65535 = ignore. The sample's json lists the
  instances; the part of one that others cover is there as run lengths (`distill.labels.instance_layers`).
* unit maps: uint8, ``v = round(254 * x)``, 255 = ignore.
* ``<task>.confidence.png``: uint8, ``round(255 * confidence)``; 0 where invalid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt16
from numpy import ndarray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from distill.errors import DistillError
from distill.images import decode_map, encode_map
from distill.labels.formats import label_format
from distill.labels.instance_layers import count_pixels, decode_covered, encode_covered, present_ids
from distill.tasks import (
    BACKGROUND_INSTANCE,
    FAR_WARP,
    IGNORE_INSTANCE,
    TASKS,
    DepthKind,
    Task,
    unwarp_depth,
    warp_depth,
)

_SKY_M = float(unwarp_depth(65533.5 / 65535))


@dataclass(frozen=True, slots=True)
class Label:
    """Label map of one photo for one task, from a teacher or from ground truth.

    The map covers the whole photo; it may be coarser than the photo.

    Attributes:
        task: Meaning of the values.
        value: depth float32 (h, w), meters or [0, 1] by depth kind; normals float32 (h, w, 3) unit vectors; semantic
            and referring uint8 (h, w); instance uint16 (h, w); unit maps float32 (h, w) in [0, 1].
        valid: bool (h, w); values elsewhere are undefined.
        confidence: float32 (h, w) in [0, 1]; 0 where invalid.
        depth_kind: Depth only.
        classes: Semantic, referring and instance: names; semantic and referring ids index them.
        instance_classes: Instance only: instance id to class name.
        layers: Instance only: uint16 (h, w), ids of the instances behind those of `value`, 0 = none; see
            `distill.labels.instance_layers`.
    """

    task: Task
    value: Shaped[ndarray, "h w *c"]
    valid: Bool[ndarray, "h w"]
    confidence: Float[ndarray, "h w"]
    depth_kind: DepthKind | None = None
    classes: tuple[str, ...] = ()
    instance_classes: Mapping[int, str] = field(default_factory=dict[int, str])
    layers: tuple[UInt16[ndarray, "h w"], ...] = ()

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) of the map."""
        return self.valid.shape[0], self.valid.shape[1]

    @property
    def valid_fraction(self) -> float:
        """Fraction of valid pixels, in [0, 1]."""
        return float(np.mean(self.valid)) if self.valid.size else 0.0

    @property
    def instance_layers(self) -> list[UInt16[ndarray, "h w"]]:
        """Instance only: all layers of ids, from front to back; 0 where there is no instance or no label."""
        known = self.valid & (self.value != IGNORE_INSTANCE)
        return [np.where(known, self.value, BACKGROUND_INSTANCE).astype(np.uint16), *self.layers]


@dataclass(frozen=True, slots=True)
class LabelContext:
    """Facts of a sample that a label map needs and does not contain."""

    depth_kind: DepthKind | None = None
    classes: tuple[str, ...] = ()
    instance_classes: Mapping[int, str] = field(default_factory=dict[int, str])
    covered: Mapping[int, str] = field(default_factory=dict[int, str])
    """Instance id to the run lengths of the part that others cover."""
    visible: Mapping[int, float] = field(default_factory=dict[int, float])
    """Instance id to the visible fraction of its mask, of covered instances."""


def read_meta(task: Task, meta: Mapping[str, Any], classes: tuple[str, ...] = ()) -> LabelContext:
    """Context of a task's label, from the sample's json and the class list of the manifest.

    Raises:
        DistillError: The list of instances is damaged.
    """
    info = TASKS[task]
    by_list = {"classes": classes, "referring": tuple(meta.get("referring") or ())}
    instances = _instance_rows(meta) if info.class_list == "instance_classes" else ()
    return LabelContext(
        depth_kind=DepthKind(meta.get("depth_kind") or DepthKind.METRIC) if info.has_depth_kind else None,
        classes=by_list.get(info.class_list, ()),
        instance_classes={row.number: row.name for row in instances},
        covered={row.number: row.covered for row in instances if row.covered},
        visible={row.number: row.visible_pixels / row.pixels for row in instances if row.covered},
    )


class InstanceRow(BaseModel):
    """One instance in a sample's json; ``covered`` are the run lengths of the part that others cover."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, populate_by_name=True)

    number: int = Field(alias="id", gt=BACKGROUND_INSTANCE, lt=IGNORE_INSTANCE)
    name: str = Field(alias="class")
    pixels: int = Field(1, ge=1)
    visible_pixels: int = Field(1, ge=0)
    covered: str = ""


_ROWS = TypeAdapter(tuple[InstanceRow, ...])


def _instance_rows(meta: Mapping[str, Any]) -> tuple[InstanceRow, ...]:
    """The instances of a sample's json, checked."""
    given = meta.get("instances")
    try:
        rows = _ROWS.validate_python(() if given is None else tuple(given) if isinstance(given, list) else given)
    except ValidationError as error:
        first = error.errors()[0]
        raise DistillError(
            f"the sample's json: instances{list(first['loc'])} is wrong: {first['msg']}",
            hint="label the photo again with distill label",
        ) from error
    if len({row.number for row in rows}) < len(rows):
        raise DistillError("the sample's json: two instances have the same id", hint="label the photo again")
    return rows


def write_meta(label: Label) -> dict[str, Any]:
    """Json entries of a label's context; the inverse of `read_meta`."""
    info = TASKS[label.task]
    meta: dict[str, Any] = {}
    if info.has_depth_kind:
        meta["depth_kind"] = str(label.depth_kind or DepthKind.METRIC)
    if info.class_list == "instance_classes":
        visible, pixels = count_pixels(label.instance_layers[:1]), count_pixels(label.instance_layers)
        covered = encode_covered(label.instance_layers)
        rows = [
            InstanceRow(
                number=number,
                name=name,
                pixels=int(pixels[number]),
                visible_pixels=int(visible[number]),
                covered=covered.get(number, ""),
            )
            for number, name in sorted(label.instance_classes.items())
            if pixels[number]
        ]
        # All keys in every row: other readers infer types from the first ones.
        meta["instances"] = [row.model_dump(by_alias=True) for row in rows]
    if info.class_list == "referring":
        meta["referring"] = list(label.classes)
    return meta


def encode(label: Label) -> dict[str, bytes]:
    """Files of one label in a shard sample, by extension, such as ``depth.png``."""
    confidence = np.where(label.valid, np.rint(np.clip(label.confidence, 0, 1) * 255), 0).astype(np.uint8)
    stored = label_format(label.task).encode_value(label.value, label.valid, TASKS[label.task], label.depth_kind)
    return {f"{label.task}.png": encode_map(stored), f"{label.task}.confidence.png": encode_map(confidence)}


def decode(task: Task, files: Mapping[str, bytes], context: LabelContext | None = None) -> Label:
    """Label of one task from a sample's files; the inverse of `encode` up to one stored level.

    Raises:
        DistillError: The map is missing, is not a PNG, has another type than the task stores, or has an instance that
            the context does not name.
    """
    info, named, context = TASKS[task], context, context or LabelContext()
    name = f"{task}.png"
    if name not in files:
        raise DistillError(f"the sample has no {name}", hint=f"label it with --task {task}")
    stored = decode_map(files[name], name)
    if stored.dtype != np.dtype(info.dtype) or stored.shape[2:] != info.channels:
        raise DistillError(
            f"{name} has type {stored.dtype} and shape {stored.shape}; not a {task} map",
            hint="the shard was not written by distill label; rebuild it",
        )
    depth_kind = (context.depth_kind or DepthKind.METRIC) if info.has_depth_kind else None
    value, valid = label_format(task).decode(stored, info, depth_kind)
    confidence_name = f"{task}.confidence.png"
    if confidence_name in files:
        confidence = decode_map(files[confidence_name], confidence_name).astype(np.float32) / 255.0
        if confidence.shape != valid.shape:
            raise DistillError(
                f"{confidence_name} has shape {confidence.shape}, but {name} has {valid.shape}",
                hint="the shard was not written by distill label; rebuild it",
            )
    else:
        confidence = valid.astype(np.float32)
    layers = decode_covered(value, context.covered) if context.covered else ()
    if info.class_list == "instance_classes" and named is not None:
        unnamed = set(present_ids([value])) - set(context.instance_classes)
        if unnamed:
            raise DistillError(
                f"{name} holds instance {min(unnamed)}, which the sample's json does not name",
                hint="add it to the list of instances, or label the photo again",
            )
    return Label(
        task=task,
        value=value,
        valid=valid,
        confidence=np.where(valid, confidence, np.float32(0)),
        depth_kind=depth_kind,
        classes=context.classes,
        instance_classes=context.instance_classes,
        layers=layers,
    )


_MIN_ABS_Z, _MAX_EXCESS = 0.35, 0.1
"""Normals with a z beyond this count as facing the camera or away from it; a larger excess of the second kind is
impossible. Level ground has z = 0 or, seen by a camera that points up, a little less."""


def normals_face_away(label: Label) -> bool:
    """Whether more normals point away from the camera than toward it: they are in another frame."""
    if not label.valid.any():
        return False
    z = label.value[..., 2][label.valid]
    return bool((z < -_MIN_ABS_Z).mean() - (z > _MIN_ABS_Z).mean() > _MAX_EXCESS)


def is_sky(label: Label) -> Bool[ndarray, "h w"]:
    """Where a metric depth label is infinite, or at the last finite level that a shard stores (2550 m)."""
    sky: ndarray = np.asarray(label.value >= _SKY_M) & label.valid
    return sky


def is_beyond_range(label: Label) -> Bool[ndarray, "h w"]:
    """Where a metric depth label is sky or beyond `distill.tasks.FAR_DEPTH_M`."""
    beyond: ndarray = np.asarray(warp_depth(label.value) > FAR_WARP) & label.valid
    return beyond
