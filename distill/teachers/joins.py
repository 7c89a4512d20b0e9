"""Labels brought together: onto one class list, one grid, one map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from distill.errors import DistillError
from distill.labels import Label
from distill.tasks import BACKGROUND_INSTANCE, IGNORE_INSTANCE, IGNORE_SEMANTIC, Task


def join_classes(label: Label, classes: Sequence[str]) -> Label:
    """The label with its ids renumbered into another class list; classes that the list does not know become ignore."""
    if label.classes == tuple(classes):
        return label
    index = {name: position for position, name in enumerate(classes)}
    table = np.full(256, IGNORE_SEMANTIC, np.uint8)
    for position, name in enumerate(label.classes):
        table[position] = index.get(name, IGNORE_SEMANTIC)
    value = table[label.value]
    valid = label.valid & (value != IGNORE_SEMANTIC)
    return Label(label.task, value, valid, np.where(valid, label.confidence, np.float32(0)), classes=tuple(classes))


def picked_at(label: Label, size_hw: tuple[int, int]) -> Label:
    """The label on another grid over the same photo; pixels are picked, never mixed."""
    if label.size_hw == size_hw:
        return label
    rows, columns = (
        ((np.arange(size) + 0.5) * have / size).astype(np.intp)
        for size, have in zip(size_hw, label.size_hw, strict=True)
    )
    grid = np.ix_(rows, columns)
    return replace(label, value=label.value[grid], valid=label.valid[grid], confidence=label.confidence[grid])


def join_instances(first: Label, second: Label) -> Label:
    """Two instance maps of one photo as one: ids renumbered from 1; where both claim a pixel, it is ignored.

    Raises:
        DistillError: The maps differ in size, or hold more instances than ids.
    """
    if first.size_hw != second.size_hw:
        raise DistillError(f"instance maps of {first.size_hw} and {second.size_hw} pixels cannot be joined")
    offset = max(first.instance_classes, default=0)
    names = dict(first.instance_classes) | {offset + i: name for i, name in second.instance_classes.items()}
    if len(names) >= IGNORE_INSTANCE:
        raise DistillError(f"{len(names)} instances in one photo are more than there are ids")
    claims_first = first.valid & (first.value != BACKGROUND_INSTANCE)
    claims_second = second.valid & (second.value != BACKGROUND_INSTANCE)
    value = np.where(claims_second, second.value.astype(np.int64) + offset, first.value)
    valid = np.where(claims_second | claims_first, claims_first ^ claims_second, first.valid & second.valid)
    confidence = np.where(claims_second, second.confidence, np.where(claims_first, first.confidence, 0))
    confidence = np.where(claims_first | claims_second, confidence, np.minimum(first.confidence, second.confidence))
    return Label(
        Task.INSTANCE,
        np.where(valid, value, IGNORE_INSTANCE).astype(np.uint16),
        valid,
        np.where(valid, confidence, 0).astype(np.float32),
        classes=tuple(dict.fromkeys((*first.classes, *second.classes))),
        instance_classes=names,
    )
