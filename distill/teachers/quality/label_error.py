"""Labels against truth: how wrong a label is, and which of its pixels are right. For calibration and benchmarks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from distill.label_ops import resample_nearest
from distill.labels import Label, is_beyond_range
from distill.metrics.depth_alignment import align_depth, default_alignment
from distill.tasks import BACKGROUND_INSTANCE, FAR_DEPTH_M, IGNORE_SEMANTIC, DepthKind, Task

GOOD_BELOW = {Task.DEPTH: 0.1, Task.NORMALS: 15.0, Task.SEMANTIC: 0.1, Task.INSTANCE: 0.3, Task.REFERRING: 0.1}
"""A label with a smaller error is good: AbsRel, mean degrees, share of wrong or missing pixels, 1 - mask quality."""
RIGHT_DEPTH = 0.1
"""A depth pixel is right within this share of the truth."""
RIGHT_DEG = 15.0
"""A normal is right within this angle."""
_NEAREST_M = 0.1


@dataclass(frozen=True, slots=True)
class LabelError:
    """A label held against the truth.

    Attributes:
        error: Of the whole label; the unit is that of `GOOD_BELOW`.
        right: Per pixel of the label.
        known: Where label and truth both say something.
    """

    error: float
    right: Bool[ndarray, "h w"]
    known: Bool[ndarray, "h w"]


def label_error(label: Label, truth: Label) -> LabelError | None:
    """The label held against the truth of the same photo and task; None where they share no pixel.

    Pixels of the truth are picked at the label's grid. Relative depth is aligned first, with the weakest alignment that
    its depth kind allows.
    """
    picked = resample_nearest(truth, label.size_hw)
    known = label.valid & picked.valid
    if not known.any():
        return None
    if label.task is Task.DEPTH:
        wrong = _depth_errors(label, picked, known)
        return LabelError(float(wrong[known].mean()), wrong <= RIGHT_DEPTH, known)
    if label.task is Task.NORMALS:
        cosine = np.clip((label.value * picked.value).sum(axis=-1), -1, 1)
        wrong = np.degrees(np.arccos(cosine))
        return LabelError(float(wrong[known].mean()), wrong <= RIGHT_DEG, known)
    if label.task is Task.INSTANCE:
        return _instance_error(label, picked, known)
    right = _renamed(label, picked.classes) == picked.value
    missing = 1 - known.sum() / picked.valid.sum()
    return LabelError(float((~right)[known].mean() + 0.5 * missing), right, known)


def _depth_errors(label: Label, truth: Label, known: Bool[ndarray, "h w"]) -> Float[ndarray, "h w"]:
    """Relative errors, at most 1; sky is right where both say sky."""
    depth_kind, value = label.depth_kind or DepthKind.METRIC, label.value
    truth_far = is_beyond_range(truth)
    both_far = np.zeros(known.shape, bool)
    if depth_kind is DepthKind.METRIC:
        both_far = is_beyond_range(label) & truth_far
    else:
        near = known & ~truth_far
        if near.any():
            value = align_depth(
                value,
                truth.value,
                near,
                alignment=default_alignment(depth_kind),
                depth_kind=depth_kind,
                min_depth_m=_NEAREST_M,
                max_depth_m=FAR_DEPTH_M,
            )
    wrong = np.minimum(np.abs(value - truth.value) / np.maximum(truth.value, _NEAREST_M), 1.0)
    return np.where(both_far, 0.0, wrong)


def _renamed(label: Label, classes: tuple[str, ...]) -> ndarray:
    """The label's ids in another class list; -1 for a class that it does not know."""
    table = np.full(256, -1, np.int16)
    for number, name in enumerate(label.classes):
        table[number] = classes.index(name) if name in classes else -1
    table[IGNORE_SEMANTIC] = -1
    return table[label.value]


def _instance_error(label: Label, truth: Label, known: Bool[ndarray, "h w"]) -> LabelError:
    """Masks matched one to one by overlap; the error is 1 - 2 * (sum of IoUs) / (masks painted + true masks)."""
    from scipy.optimize import linear_sum_assignment

    ours, theirs = sorted(label.instance_classes), sorted(truth.instance_classes)
    place_ours, place_theirs = np.zeros(65536, np.int64), np.zeros(65536, np.int64)
    place_ours[ours], place_theirs[theirs] = np.arange(1, len(ours) + 1), np.arange(1, len(theirs) + 1)
    a, b = place_ours[label.value], place_theirs[truth.value]
    shape = len(ours) + 1, len(theirs) + 1
    overlap = np.bincount((a * shape[1] + b)[known], minlength=shape[0] * shape[1]).reshape(shape)
    union = overlap.sum(axis=1, keepdims=True) + overlap.sum(axis=0, keepdims=True) - overlap
    iou = (overlap / np.maximum(union, 1))[1:, 1:]
    rows, columns = linear_sum_assignment(iou, maximize=True)
    total = len(ours) + len(theirs)
    error = 1 - 2 * float(iou[rows, columns].sum()) / total if total else 0.0
    matched = np.full(shape[0], -1)
    matched[BACKGROUND_INSTANCE] = 0
    matched[rows + 1] = np.where(iou[rows, columns] > 0, columns + 1, -1)
    return LabelError(error, matched[a] == b, known)


def restrict_to_prompted(truth: Label, label: Label) -> Label:
    """The truth about those classes of things that the label was asked for; instances of others are background."""
    if label.task is not Task.INSTANCE:
        return truth
    kept = {number: name for number, name in truth.instance_classes.items() if name in label.classes}
    value = np.where(np.isin(truth.value, list(kept)) | ~truth.valid, truth.value, BACKGROUND_INSTANCE)
    return replace(truth, value=value.astype(truth.value.dtype), instance_classes=kept)
