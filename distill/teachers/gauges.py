"""Depth labels from one gauge to another that says less."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from distill.errors import UsageError
from distill.labels import Label, is_far
from distill.tasks import Gauge, Task
from distill.teachers.specialists.maps import stretch_to_unit

_LESS_KNOWN = {
    Gauge.METRIC: (Gauge.SCALE_INVARIANT, Gauge.AFFINE_INVARIANT_DEPTH, Gauge.AFFINE_INVARIANT_DISPARITY),
    Gauge.SCALE_INVARIANT: (Gauge.AFFINE_INVARIANT_DEPTH, Gauge.AFFINE_INVARIANT_DISPARITY),
    Gauge.AFFINE_INVARIANT_DEPTH: (),
    Gauge.AFFINE_INVARIANT_DISPARITY: (),
}
"""What each gauge can be brought to. An unknown shift cannot be undone, so the affine ones stay what they are."""


def to_gauge(label: Label, gauge: Gauge) -> Label:
    """A depth label in a gauge that says less: values in [0, 1], larger as the gauge has it.

    Sky and what lies beyond `distill.tasks.FAR_DEPTH_M` has no place on a linear scale of depth and becomes invalid; as
    disparity it is 0.

    Raises:
        UsageError: Not depth, or the gauge says what the label does not know.
    """
    have = label.gauge or Gauge.METRIC
    if label.task is not Task.DEPTH or (gauge is not have and gauge not in _LESS_KNOWN[have]):
        raise UsageError(
            f"{have} {label.task} cannot be brought to {gauge}",
            hint="choose a gauge that says less, or another teacher",
        )
    if gauge is have:
        return label
    depth = label.value.astype(np.float32)
    valid = label.valid & np.isfinite(depth)
    far = is_far(label) if have is Gauge.METRIC else np.zeros_like(valid)
    if gauge is Gauge.AFFINE_INVARIANT_DISPARITY:
        valid &= depth > 0
        value = stretch_to_unit(np.where(far, 0, 1 / np.where(valid, depth, 1)), valid)
    else:
        valid &= ~far
        if gauge is Gauge.SCALE_INVARIANT:
            value = np.where(valid, depth / max(float(depth[valid].max(initial=0)), 1e-6), 0).astype(np.float32)
        else:
            value = stretch_to_unit(depth, valid)
    return replace(label, value=value, valid=valid, confidence=label.confidence * valid, gauge=gauge)
