"""Several answers to one question as one label, with their agreement as confidence.

All labels must lie on the same grid: place them over the photo first (`distill.teachers.registration.align.warp_label`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from distill.errors import DistillError
from distill.labels import Label
from distill.tasks import BACKGROUND_INSTANCE, IGNORE_INSTANCE, IGNORE_SEMANTIC, DepthKind, Task

DEPTH_SIGMA = 0.1
"""Spread of metric depths (of their logarithms) at which agreement counts exp(-1/2)."""
RELATIVE_SIGMA = 0.05
"""The same for relative depths, in units of [0, 1]."""
ANGLE_SIGMA_DEG = 15.0
"""The same for normals."""
MATCH_IOU = 0.5
"""Masks of two answers that overlap this much are the same instance."""


def fuse_labels(labels: Sequence[Label]) -> Label:
    """One label out of several; confidence is agreement times the mean confidence of those that agree.

    Semantic and referring: a vote per pixel, weighted by confidence; legends may differ in order. Depth: the median;
    relative depths are first brought to the scale (and shift) of the first. Normals: the mean direction. Instances:
    masks matched to the first answer that saw them; an instance that less than half of the answers saw is ignored.

    Raises:
        DistillError: No labels, or labels of different tasks, depth kinds or sizes.
    """
    if not labels:
        raise DistillError("there are no labels to fuse", hint="ask the teacher at least once")
    first = labels[0]
    for label in labels[1:]:
        if (label.task, label.depth_kind, label.size_hw) != (first.task, first.depth_kind, first.size_hw):
            raise DistillError(
                f"a {label.task} label of {label.size_hw} cannot be fused with a {first.task} label of {first.size_hw}",
                hint="place answers over the photo before they are fused",
            )
    if len(labels) == 1:
        return first
    if first.task is Task.DEPTH:
        return _fuse_depth(labels)
    if first.task is Task.NORMALS:
        return _fuse_normals(labels)
    if first.task is Task.INSTANCE:
        return _fuse_instances(labels)
    return _fuse_classes(labels)


def agreement(fused: Label, labels: Sequence[Label]) -> float:
    """How well labels agree with what they were fused into, in [0, 1]: what is left of their own confidence."""
    own = float(np.mean([label.confidence.mean() for label in labels]))
    return float(np.clip(fused.confidence.mean() / own, 0, 1)) if own > 0 else 0.0


def hflip_label(label: Label) -> Label:
    """The label of the left-right mirrored photo: pixels mirrored, and the x of normals negated."""
    value = np.ascontiguousarray(label.value[:, ::-1])
    if label.task is Task.NORMALS:
        value = value * np.array([-1, 1, 1], np.float32)
    return replace(
        label,
        value=value,
        valid=np.ascontiguousarray(label.valid[:, ::-1]),
        confidence=np.ascontiguousarray(label.confidence[:, ::-1]),
    )


def _fuse_classes(labels: Sequence[Label]) -> Label:
    """Class by class, so that 150 classes take no more memory than two."""
    classes = tuple(dict.fromkeys(name for label in labels for name in label.classes))
    values = [_renamed(label, classes) for label in labels]
    best = np.zeros(labels[0].size_hw, np.float32)
    total = np.zeros_like(best)
    count = np.zeros_like(best)
    winner = np.full(labels[0].size_hw, IGNORE_SEMANTIC, np.uint8)
    for number in range(len(classes)):
        weight, votes = np.zeros_like(best), np.zeros_like(best)
        for label, value in zip(labels, values, strict=True):
            mine = label.valid & (value == number)
            weight += label.confidence * mine
            votes += mine
        wins = weight > best
        winner[wins] = number
        count[wins] = votes[wins]
        best = np.maximum(best, weight)
        total += weight
    # Half of all answers or more must say so: one lonely vote among refusals to answer is no agreement.
    valid = (best > 0.5 * total) & (2 * count >= len(labels))
    confidence = best / np.maximum(total, 1e-6) * (best / np.maximum(count, 1)) * (count / len(labels))
    return Label(
        labels[0].task,
        np.where(valid, winner, IGNORE_SEMANTIC).astype(np.uint8),
        valid,
        (confidence * valid).astype(np.float32),
        classes=classes,
    )


def _renamed(label: Label, classes: tuple[str, ...]) -> ndarray:
    table = np.full(256, IGNORE_SEMANTIC, np.uint8)
    table[: len(label.classes)] = [classes.index(name) for name in label.classes]
    return table[label.value]


def _fuse_depth(labels: Sequence[Label]) -> Label:
    depth_kind = labels[0].depth_kind or DepthKind.METRIC
    values = np.stack(
        [label.value if depth_kind is DepthKind.METRIC else _aligned(label, labels[0], depth_kind) for label in labels]
    )
    valid = np.stack([label.valid for label in labels])
    kept = 2 * valid.sum(axis=0) >= len(labels)
    middle = _masked_median(values, valid)
    if depth_kind is DepthKind.METRIC:
        apart = np.abs(np.log(np.maximum(values, 1e-3)) - np.log(np.maximum(middle, 1e-3)))
        sigma = DEPTH_SIGMA
    else:
        apart, sigma = np.abs(values - middle), RELATIVE_SIGMA
    # 1.4826 makes a median deviation comparable with a standard deviation.
    spread = 1.4826 * _masked_median(apart, valid)
    agreement = np.exp(-0.5 * (spread / sigma) ** 2)
    return Label(
        Task.DEPTH, middle.astype(np.float32), kept, _confidence(labels, valid, agreement, kept), depth_kind=depth_kind
    )


def _masked_median(values: Float[ndarray, "n h w"], valid: Bool[ndarray, "n h w"]) -> Float[ndarray, "h w"]:
    """The lower median over the valid ones: one of the values, so nothing is invented between two depths."""
    ordered = np.sort(np.where(valid, values, np.inf), axis=0)
    middle = np.maximum(valid.sum(axis=0) - 1, 0) // 2
    found = np.take_along_axis(ordered, middle[None], axis=0)[0]
    return np.where(np.isfinite(found), found, 0)


def _aligned(label: Label, target: Label, depth_kind: DepthKind) -> Float[ndarray, "h w"]:
    """A relative depth on the scale (and shift, where the depth kind leaves it open) of another one."""
    both = label.valid & target.valid
    if both.sum() < 2:
        return label.value
    mine, theirs = label.value[both].astype(np.float64), target.value[both].astype(np.float64)
    if depth_kind is DepthKind.SCALE_INVARIANT:
        return (label.value * np.median(theirs) / max(float(np.median(mine)), 1e-6)).astype(np.float32)
    slope, offset = np.polyfit(mine, theirs, 1) if np.ptp(mine) > 0 else (1.0, float(theirs.mean() - mine.mean()))
    return np.clip(label.value * slope + offset, 0, 1).astype(np.float32)


def _fuse_normals(labels: Sequence[Label]) -> Label:
    valid = np.stack([label.valid for label in labels])
    weights = np.stack([label.confidence for label in labels]) * valid
    mean = sum(label.value * weight[..., None] for label, weight in zip(labels, weights, strict=True))
    length = np.linalg.norm(mean, axis=-1)
    value = (mean / np.maximum(length, 1e-6)[..., None]).astype(np.float32)
    cosine = np.stack([np.clip((label.value * value).sum(axis=-1), -1, 1) for label in labels])
    apart_deg = (np.degrees(np.arccos(cosine)) * valid).sum(axis=0) / np.maximum(valid.sum(axis=0), 1)
    agreement = np.exp(-0.5 * (apart_deg / ANGLE_SIGMA_DEG) ** 2)
    kept = (2 * valid.sum(axis=0) >= len(labels)) & (length > 1e-6)
    return Label(Task.NORMALS, value, kept, _confidence(labels, valid, agreement, kept))


def _confidence(
    labels: Sequence[Label], valid: Bool[ndarray, "n h w"], agreement: Float[ndarray, "h w"], kept: Bool[ndarray, "h w"]
) -> Float[ndarray, "h w"]:
    own = np.stack([label.confidence for label in labels])
    mean = (own * valid).sum(axis=0) / np.maximum(valid.sum(axis=0), 1)
    return (mean * agreement * (valid.sum(axis=0) / len(labels)) * kept).astype(np.float32)


def _fuse_instances(labels: Sequence[Label]) -> Label:
    """Every answer's masks join the group of the first mask that they overlap with; pixels go by majority."""
    size_hw = labels[0].size_hw
    groups: list[list[tuple[int, int]]] = []
    for number, label in enumerate(labels):
        for instance in label.instance_classes:
            mask = label.value == instance
            home = _best_match(mask, number, labels, groups)
            if home is None:
                groups.append([(number, instance)])
            else:
                home.append((number, instance))
    value = np.full(size_hw, IGNORE_INSTANCE, np.uint16)
    share = np.zeros(size_hw, np.float32)
    background = np.mean([label.valid & (label.value == BACKGROUND_INSTANCE) for label in labels], axis=0)
    value[background > 0.5] = BACKGROUND_INSTANCE
    share[background > 0.5] = background[background > 0.5]
    names: dict[int, str] = {}
    for group in groups:
        if 2 * len(group) < len(labels):
            continue
        votes = np.mean([labels[number].value == instance for number, instance in group], axis=0)
        votes *= len(group) / len(labels)
        wins = (votes >= 0.5) & (votes > share)
        if wins.any():
            names[len(names) + 1] = labels[group[0][0]].instance_classes[group[0][1]]
            value[wins] = len(names)
            share[wins] = votes[wins]
    valid = value != IGNORE_INSTANCE
    own = np.mean([label.confidence for label in labels], axis=0)
    classes = tuple(dict.fromkeys(name for label in labels for name in label.classes))
    return Label(
        Task.INSTANCE, value, valid, (own * share * valid).astype(np.float32), classes=classes, instance_classes=names
    )


def _best_match(
    mask: Bool[ndarray, "h w"], number: int, labels: Sequence[Label], groups: list[list[tuple[int, int]]]
) -> list[tuple[int, int]] | None:
    """The group whose first mask overlaps most, of those that hold no mask of this answer yet."""
    best, found = MATCH_IOU, None
    for group in groups:
        if any(other == number for other, _ in group):
            continue
        theirs = labels[group[0][0]].value == group[0][1]
        union = np.count_nonzero(mask | theirs)
        iou = np.count_nonzero(mask & theirs) / union if union else 0.0
        if iou >= best:
            best, found = iou, group
    return found
