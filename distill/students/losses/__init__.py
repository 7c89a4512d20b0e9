"""Losses, weighted by validity, teacher confidence and image quality."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from distill.config.loss import LossRecipe
from distill.students.data.batch import Batch
from distill.students.losses.depth import depth_loss, edge_aware_smoothness
from distill.students.losses.instance import instance_loss
from distill.students.losses.label_error import disagreement
from distill.students.losses.normals import consistency_loss, normals_loss
from distill.students.losses.semantic import semantic_loss
from distill.students.model.heads import DepthHead, InstanceHead, NormalsHead
from distill.students.model.resample import enlarge_at
from distill.students.model.student import Student
from distill.tasks import Task

Doubt = Callable[[Task, Tensor], Tensor]
"""(task, disagreement of each image) to the weight of each image."""


def student_losses(
    student: Student,
    raw: dict[Task, Tensor],
    batch: Batch,
    recipe: LossRecipe,
    phase_hw: tuple[int, int] = (0, 0),
    doubt: Doubt | None = None,
) -> dict[str, Tensor]:
    """Every term of every task, weighted and ready to be summed, keyed ``<task>_<term>``.

    Raw maps are enlarged to the labels' size first: at head stride one pixel in sixteen of the labels would be
    learned from.
    Then every `recipe.stride`-th row and column from `phase_hw` on is compared, which changes from step to step:
    all labels are learned from in the long run; at stride 2 a step of nano takes 0.8 of the time. `doubt` says which
    images' labels count.
    """
    size_hw = (batch.image.shape[2], batch.image.shape[3])
    image = batch.image[..., phase_hw[0] :: recipe.stride, phase_hw[1] :: recipe.stride]
    seen: dict[Task, Tensor] = {}
    batch = batch.every(recipe.stride, phase_hw)
    losses: dict[str, Tensor] = {}
    for task in student.spec.answers:
        head: Any = student.heads[str(task)]
        weight = batch.weights[task]
        enlarged = enlarge_at(raw[task], size_hw, recipe.stride, phase_hw)
        if isinstance(head, InstanceHead):
            assert batch.instance is not None
            terms = instance_loss(*head.coordinates(enlarged), batch.instance, weight, recipe.instance)
            losses |= {f"{task}_{name}": term for name, term in terms.items()}
            continue
        if doubt is not None:
            error = disagreement(head, enlarged.detach(), batch, weight)
            weight = weight * doubt(task, error).view(-1, 1, 1)
        if isinstance(head, DepthHead):
            assert batch.depth is not None
            value, spread = head.coordinates(enlarged)
            terms = depth_loss(value, spread, batch.depth, weight, recipe.depth, head.depth_kind, recipe.trim)
            if recipe.depth.smooth > 0:
                terms["smooth"] = recipe.depth.smooth * edge_aware_smoothness(value, image)
            terms = {name: recipe.depth.weight * term for name, term in terms.items()}
            seen[task] = value
        elif isinstance(head, NormalsHead):
            assert batch.normals is not None
            vector, kappa = head.coordinates(enlarged)
            terms = normals_loss(vector, kappa, batch.normals, weight, recipe.normals, recipe.trim)
            seen[task] = vector
        else:
            assert batch.semantic is not None
            terms = semantic_loss(enlarged, batch.semantic, weight, recipe.semantic, recipe.trim, batch.certainty)
        losses |= {f"{task}_{name}": term for name, term in terms.items()}
    if recipe.consistency > 0 and recipe.fov_deg is not None and {Task.DEPTH, Task.NORMALS} <= seen.keys():
        agreement = consistency_loss(seen[Task.DEPTH], seen[Task.NORMALS], batch.weights[Task.DEPTH], recipe.fov_deg)
        losses["normals_consistency"] = recipe.consistency * agreement
    return losses
