"""Decide whether a run has learned anything: compare its validation scores with the best constant predictions."""

from __future__ import annotations

from collections.abc import Mapping

from distill.students.tasks.base import ConstantComparison
from distill.tasks import Task

MIN_STEPS = 50
"""Optimizer steps from which a student should be better than a constant prediction; shorter runs are trials."""


def describe_failure(comparisons: Mapping[Task, ConstantComparison], score: float, steps: int) -> str:
    """Why the run has learned nothing, as a sentence; empty if it has, or is too short to tell.

    Args:
        comparisons: Of the best validation, by task; tasks without a labeled validation pixel are missing.
        score: The best validation's.
        steps: Optimizer steps of the run.
    """
    if not comparisons:
        return "no validation photo has a labeled pixel, so nothing was scored"
    if all(found.is_constant for found in comparisons.values()):
        tasks = " and ".join(comparisons)
        return f"the {tasks} labels of all validation photos have one value everywhere; check the ids of the labels"
    if any(found.is_better for found in comparisons.values()) or (steps < MIN_STEPS and score > 0):
        return ""
    return (
        f"the student is no better than a constant prediction ({describe(comparisons)}); train longer, with another "
        "optim.lr, or on other labels"
    )


def describe(comparisons: Mapping[Task, ConstantComparison]) -> str:
    """The comparisons with which a student is not better, such as ``semantic: mIoU 0.400, ...``."""
    return "; ".join(f"{task}: {found}" for task, found in comparisons.items() if not found.is_better)
