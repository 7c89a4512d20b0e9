"""Validation scores of a student, as sums that processes can add up; larger is better.

They choose the best weights. `distill evaluate` computes the full set of metrics against ground truth.
"""

from __future__ import annotations

import torch
from torch import Tensor

from distill.spec import StudentSpec
from distill.students.data.batch_targets import Batch
from distill.students.tasks.base import ConstantComparison, TaskScore, student_task
from distill.tasks import Task


class ValidationMetrics:
    """The validation scores of all tasks of a spec."""

    def __init__(self, spec: StudentSpec) -> None:
        self._spec = spec
        self._scores: dict[Task, TaskScore] = {}
        self.reset(torch.device("cpu"))

    def reset(self, device: torch.device) -> None:
        """Set all sums to 0."""
        self._scores = {task: student_task(task).score(self._spec, device) for task in self._spec.tasks}

    def sums(self) -> tuple[Tensor, ...]:
        """All sums, to be added up over processes in place."""
        return tuple(score.sums for score in self._scores.values())

    @torch.no_grad()
    def update(self, outputs: dict[str, Tensor], batch: Batch) -> None:
        """Add the final values of one batch."""
        for task, score in self._scores.items():
            if task in batch.targets:
                score.update(outputs, batch.targets[task], batch.weights[task])

    def compute(self) -> dict[str, float]:
        """The scores so far; ``score``, the mean of one score in [0, 1] per task, chooses the best weights.

        A task without a labeled pixel has no score; if there is none at all, ``score`` is 0.
        """
        scores, parts = dict[str, float](), list[float]()
        for score in self._scores.values():
            found = score.compute()
            if found is not None:
                scores |= found[0]
                parts.append(found[1])
        return scores | {"score": sum(parts) / max(1, len(parts))}

    def compare_with_constant(self) -> dict[Task, ConstantComparison]:
        """Comparison with the best constant prediction, for tasks with a labeled pixel."""
        found = {task: score.compare_with_constant() for task, score in self._scores.items()}
        return {task: comparison for task, comparison in found.items() if comparison is not None}
