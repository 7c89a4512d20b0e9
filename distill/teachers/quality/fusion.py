"""Fusion of several labels for one prompt; agreement becomes confidence.

All labels must be on the same grid: align them with the photo first (`distill.teachers.registration.align.warp_label`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from distill.errors import DistillError
from distill.labels import Label
from distill.teachers.tasks import teacher_task


def fuse_labels(labels: Sequence[Label]) -> Label:
    """One label from several; confidence is agreement times the mean confidence of those that agree.

    Raises:
        DistillError: No labels, or labels of different tasks, depth kinds or sizes.
    """
    if not labels:
        raise DistillError("there are no labels to fuse", hint="generate at least one image")
    first = labels[0]
    for label in labels[1:]:
        if (label.task, label.depth_kind, label.size_hw) != (first.task, first.depth_kind, first.size_hw):
            raise DistillError(
                f"a {label.task} label of {label.size_hw} cannot be fused with a {first.task} label of {first.size_hw}",
                hint="align the generated images with the photo first",
            )
    return first if len(labels) == 1 else teacher_task(first.task).fuse(labels)


def agreement(fused: Label, labels: Sequence[Label]) -> float:
    """Remaining share of the labels' own confidence after fusion, in [0, 1]."""
    own = float(np.mean([label.confidence.mean() for label in labels]))
    return float(np.clip(fused.confidence.mean() / own, 0, 1)) if own > 0 else 0.0


def hflip_label(label: Label) -> Label:
    """Label of the left-right mirrored photo."""
    return replace(
        label,
        value=teacher_task(label.task).hflip(label.value),
        valid=np.ascontiguousarray(label.valid[:, ::-1]),
        confidence=np.ascontiguousarray(label.confidence[:, ::-1]),
        layers=tuple(np.ascontiguousarray(layer[:, ::-1]) for layer in label.layers),
    )
