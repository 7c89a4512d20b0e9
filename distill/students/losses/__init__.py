"""Losses, weighted by validity, teacher confidence and image quality."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from distill.recipe.training import LossRecipe
from distill.students.heads import DepthHead, NormalsHead
from distill.students.losses.depth import depth_loss
from distill.students.losses.normals import normals_loss
from distill.students.losses.semantic import semantic_loss
from distill.students.resample import enlarge_at
from distill.students.student import Student
from distill.students.targets import Batch
from distill.tasks import Task


def student_losses(
    student: Student, raw: dict[Task, Tensor], batch: Batch, recipe: LossRecipe, phase_hw: tuple[int, int] = (0, 0)
) -> dict[str, Tensor]:
    """Every term of every task, weighted and ready to be summed, keyed ``<task>_<term>``.

    Raw maps are enlarged to the labels' size first: at head stride one pixel in sixteen of the labels would be
    learned from.
    Then every `recipe.stride`-th row and column from `phase_hw` on is compared, which changes from step to step:
    all labels are learned from in the long run; at stride 2 a step of nano takes 0.8 of the time.
    """
    size_hw = (batch.image.shape[2], batch.image.shape[3])
    batch = batch.every(recipe.stride, phase_hw)
    losses: dict[str, Tensor] = {}
    for task in student.spec.tasks:
        head: Any = student.heads[str(task)]
        weight = batch.weights[task]
        enlarged = enlarge_at(raw[task], size_hw, recipe.stride, phase_hw)
        if isinstance(head, DepthHead):
            assert batch.depth is not None
            value, spread = head.coordinates(enlarged)
            terms = depth_loss(value, spread, batch.depth, weight, recipe.depth, head.gauge, recipe.trim)
            terms = {name: recipe.depth.weight * term for name, term in terms.items()}
        elif isinstance(head, NormalsHead):
            assert batch.normals is not None
            vector, kappa = head.coordinates(enlarged)
            terms = normals_loss(vector, kappa, batch.normals, weight, recipe.normals, recipe.trim)
        else:
            assert batch.semantic is not None
            terms = semantic_loss(enlarged, batch.semantic, weight, recipe.semantic, recipe.trim)
        losses |= {f"{task}_{name}": term for name, term in terms.items()}
    return losses
