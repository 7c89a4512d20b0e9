"""Self-training: the averaged student says what the teacher should have said, where it is sure of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from distill.students.data.batch import Batch
from distill.students.model.student import Student
from distill.tasks import DepthKind, Task, warp_depth


@torch.no_grad()
def relabel(student: Student, batch: Batch, wrong: Mapping[Task, Bool[Tensor, " b"]], surest: float) -> Batch:
    """The batch with the student's answers as labels: of weight 1 where a label is wrong and it is sure, else 0.

    Args:
        student: The averaged one.
        batch: After augmentation; it is asked about the photos as the learner sees them.
        wrong: Which photos' labels are doubted, by task.
        surest: Least confidence of an answer that counts.
    """
    size_hw = (batch.image.shape[2], batch.image.shape[3])
    outputs = student.eval().postprocess({task: raw.float() for task, raw in student.raw(batch.image).items()}, size_hw)
    weights = {task: torch.zeros_like(weight) for task, weight in batch.weights.items()}
    values: dict[str, Any] = {}
    for task, chosen in wrong.items():
        sure = outputs[f"{task}_confidence"] >= surest
        weights[task] = (sure & chosen.view(-1, 1, 1)).to(weights[task])
        values[str(task)] = _as_target(task, outputs[str(task)], student)
    if Task.SEMANTIC in wrong:
        values["semantic_confidence"] = outputs["semantic_confidence"]
    return replace(batch, weights=weights, **values)


def _as_target(task: Task, value: Tensor, student: Student) -> Tensor:
    """A final value in the form of the labels."""
    if task is Task.DEPTH:
        assert student.spec.depth is not None
        return warp_depth(value) if student.spec.depth.depth_kind is DepthKind.METRIC else value
    return value.permute(0, 3, 1, 2) if task is Task.NORMALS else value.long()
