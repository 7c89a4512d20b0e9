"""Operations on labels: class lists, resampling, instances, depth kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Shaped
from numpy import ndarray

from distill.errors import DistillError, UsageError
from distill.labels import Label, is_beyond_range
from distill.labels.instance_layers import present_ids, sort_layers
from distill.tasks import IGNORE_INSTANCE, IGNORE_SEMANTIC, TASKS, DepthKind, Task

_ROUNDING_PX = 2


def has_aspect_of(map_hw: tuple[int, ...], photo_hw: tuple[int, ...]) -> bool:
    """Whether the aspect ratios of a map and its photo are equal, up to rounding of each side to whole pixels."""
    (height, width), (photo_height, photo_width) = map_hw, photo_hw
    return abs(height * photo_width - width * photo_height) <= max(photo_height, photo_width) * _ROUNDING_PX


def remap_classes(label: Label, classes: Sequence[str]) -> Label:
    """The label with the ids of another class list; classes outside the list become ignore."""
    if label.classes == tuple(classes):
        return label
    index = {name: position for position, name in enumerate(classes)}
    table = np.full(256, IGNORE_SEMANTIC, np.uint8)
    for position, name in enumerate(label.classes):
        table[position] = index.get(name, IGNORE_SEMANTIC)
    value = table[label.value]
    valid = label.valid & (value != IGNORE_SEMANTIC)
    return Label(label.task, value, valid, np.where(valid, label.confidence, np.float32(0)), classes=tuple(classes))


def pick_pixels(values: Shaped[ndarray, "h w *c"], size_hw: tuple[int, int]) -> Shaped[ndarray, "h2 w2 *c"]:
    """A map at another size, nearest neighbor."""
    if values.shape[:2] == size_hw:
        return values
    rows, columns = (((np.arange(size_hw[i]) + 0.5) * values.shape[i] / size_hw[i]).astype(np.intp) for i in (0, 1))
    # Rows first, then columns: several times faster than both at once.
    picked: ndarray = values.take(rows, axis=0).take(columns, axis=1)
    return picked


def resample_nearest(label: Label, size_hw: tuple[int, int]) -> Label:
    """The label at another size, nearest neighbor."""
    if label.size_hw == size_hw:
        return label
    value, valid, confidence = (pick_pixels(part, size_hw) for part in (label.value, label.valid, label.confidence))
    layers = tuple(pick_pixels(layer, size_hw) for layer in label.layers)
    return replace(label, value=value, valid=valid, confidence=confidence, layers=layers)


def merge_instances(first: Label, second: Label) -> Label:
    """One instance label from two of the same photo, ids of the second renumbered.

    Instances that overlap keep their whole masks, in layers; the smaller one is in front.

    Raises:
        DistillError: The maps differ in size, or have more instances than ids.
    """
    if first.size_hw != second.size_hw:
        raise DistillError(f"instance maps of sizes {first.size_hw} and {second.size_hw} cannot be merged")
    offset = max(first.instance_classes, default=0)
    names = dict(first.instance_classes) | {offset + i: name for i, name in second.instance_classes.items()}
    if max(names, default=0) >= IGNORE_INSTANCE:
        raise DistillError(f"{len(names)} instances in one photo; at most {IGNORE_INSTANCE - 1} can be stored")
    ours = first.instance_layers
    theirs = [np.where(layer > 0, layer + np.uint16(offset), np.uint16(0)) for layer in second.instance_layers]
    front, *behind = sort_layers([*ours, *theirs])
    is_second = front > offset
    valid = (first.valid & second.valid) | (front > 0)
    confidence = np.where(is_second, second.confidence, first.confidence)
    confidence = np.where(front > 0, confidence, np.minimum(first.confidence, second.confidence))
    return Label(
        Task.INSTANCE,
        np.where(valid, front, IGNORE_INSTANCE).astype(np.uint16),
        valid,
        np.where(valid, confidence, 0).astype(np.float32),
        classes=tuple(dict.fromkeys((*first.classes, *second.classes))),
        instance_classes=names,
        layers=tuple(behind),
    )


def drop_absent_instances(label: Label) -> Label:
    """The label without names of instances that have no pixel; labels of other tasks are unchanged."""
    if not label.instance_classes:
        return label
    present = set(present_ids(label.instance_layers))
    return replace(label, instance_classes={i: name for i, name in label.instance_classes.items() if i in present})


_CONVERSIONS = {
    DepthKind.METRIC: (
        DepthKind.SCALE_INVARIANT,
        DepthKind.AFFINE_INVARIANT_DEPTH,
        DepthKind.AFFINE_INVARIANT_DISPARITY,
    ),
    DepthKind.SCALE_INVARIANT: (DepthKind.AFFINE_INVARIANT_DEPTH, DepthKind.AFFINE_INVARIANT_DISPARITY),
    DepthKind.AFFINE_INVARIANT_DEPTH: (),
    DepthKind.AFFINE_INVARIANT_DISPARITY: (),
}
"""Possible conversions of each depth kind. An unknown shift cannot be undone, so affine ones cannot be converted."""


def convert_depth(label: Label, depth_kind: DepthKind) -> Label:
    """A depth label in a less specific depth kind, with values in [0, 1].

    Sky and depths beyond `distill.tasks.FAR_DEPTH_M` become invalid in linear depth, and 0 in disparity.

    Raises:
        UsageError: Not depth, or the depth kind needs information that the label does not have.
    """
    have = label.depth_kind or DepthKind.METRIC
    if not TASKS[label.task].has_depth_kind or (depth_kind is not have and depth_kind not in _CONVERSIONS[have]):
        raise UsageError(
            f"{have} {label.task} cannot be converted to {depth_kind}",
            hint="choose a less specific depth kind, or another teacher",
        )
    if depth_kind is have:
        return label
    depth = label.value.astype(np.float32)
    valid = label.valid & np.isfinite(depth)
    far = is_beyond_range(label) if have is DepthKind.METRIC else np.zeros_like(valid)
    if depth_kind is DepthKind.AFFINE_INVARIANT_DISPARITY:
        valid &= depth > 0
        value = stretch_to_unit(np.where(far, 0, 1 / np.where(valid, depth, 1)), valid)
    else:
        valid &= ~far
        if depth_kind is DepthKind.SCALE_INVARIANT:
            value = np.where(valid, depth / max(float(depth[valid].max(initial=0)), 1e-6), 0).astype(np.float32)
        else:
            value = stretch_to_unit(depth, valid)
    return replace(label, value=value, valid=valid, confidence=label.confidence * valid, depth_kind=depth_kind)


def stretch_to_unit(value: Shaped[ndarray, "h w"], valid: Bool[ndarray, "h w"]) -> Shaped[ndarray, "h w"]:
    """Relative depth scaled to [0, 1] over the valid pixels."""
    if not valid.any():
        return np.zeros_like(value, np.float32)
    low, high = float(value[valid].min()), float(value[valid].max())
    span = high - low if high > low else 1.0
    stretched: ndarray = np.clip((value - np.float32(low)) / np.float32(span), 0, 1).astype(np.float32)
    return stretched
