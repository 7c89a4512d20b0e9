"""Comparison of two label maps of one photo that belong to different tasks."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from distill.labels import Label
from distill.teachers.tasks import teacher_task
from distill.teachers.tasks.base import BordersOf
from distill.teachers.tasks.comparison_size import bridge_gaps, comparison_size, pick_label


def borders(label: Label) -> Bool[ndarray, "h w"]:
    """Borders of a label, at the size of comparison."""
    value, valid = bridge_gaps(*pick_label(label, comparison_size(label.size_hw)))
    step = teacher_task(label.task).borders(value, label)
    known = cv2.erode(valid.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    found: ndarray = np.asarray(step) & known
    return found


def compare(label: Label, other: Label, borders: BordersOf = borders) -> tuple[float, Float[ndarray, "h w"]] | None:
    """(agreement of two tasks, the same per pixel at the size of comparison); None where they cannot be compared.

    ``borders`` may cache its results.
    """
    for own, reference in ((label, other), (other, label)):
        comparison = teacher_task(own.task).comparisons.get(reference.task)
        if comparison is not None:
            return comparison(own, reference, borders)
    return None
