"""Losses, weighted by validity, teacher confidence and image quality."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from distill.config.loss import LossConfig
from distill.students.data.batch import Batch
from distill.students.losses.depth import depth_loss
from distill.students.losses.instance import instance_loss
from distill.students.losses.label_error import label_error
from distill.students.losses.normals import consistency_loss, normals_loss
from distill.students.losses.semantic import semantic_loss
from distill.students.model.heads import DepthHead, InstanceHead, NormalsHead
from distill.students.model.resample import upsample_at
from distill.students.model.student import Student
from distill.tasks import Task

WeightFn = Callable[[Task, Tensor], Tensor]
"""(task, disagreement of each image) to the weight of each image."""


def student_losses(
    student: Student,
    raw: dict[Task, Tensor],
    batch: Batch,
    config: LossConfig,
    phase_hw: tuple[int, int] = (0, 0),
    weight_fn: WeightFn | None = None,
) -> dict[str, Tensor]:
    """Every term of every task, weighted and ready to be summed, keyed ``<task>_<term>``.

    Raw maps are enlarged to the labels' size first: at head stride one pixel in sixteen of the labels would be
    learned from.
    Then every `config.stride`-th row and column from `phase_hw` on is compared, which changes from step to step:
    all labels are learned from in the long run; at stride 2 a step of nano takes 0.8 of the time. `weight_fn` says which
    images' labels count.
    """
    size_hw = (batch.image.shape[2], batch.image.shape[3])
    seen: dict[Task, Tensor] = {}
    batch = batch.subsample(config.stride, phase_hw)
    losses: dict[str, Tensor] = {}
    for task in student.spec.tasks:
        head: Any = student.heads[str(task)]
        weight = batch.weights[task]
        enlarged = upsample_at(raw[task], size_hw, config.stride, phase_hw)
        if isinstance(head, InstanceHead):
            assert batch.instance is not None
            terms = instance_loss(*head.activate(enlarged), batch.instance, weight, config.instance)
            losses |= {f"{task}_{name}": term for name, term in terms.items()}
            continue
        if weight_fn is not None:
            error = label_error(head, enlarged.detach(), batch, weight)
            weight = weight * weight_fn(task, error).view(-1, 1, 1)
        if isinstance(head, DepthHead):
            assert batch.depth is not None
            value, spread = head.activate(enlarged)
            terms = depth_loss(value, spread, batch.depth, weight, config.depth, head.depth_kind, config.trim_fraction)
            terms = {name: config.depth.weight * term for name, term in terms.items()}
            seen[task] = value
        elif isinstance(head, NormalsHead):
            assert batch.normals is not None
            vector, kappa = head.activate(enlarged)
            terms = normals_loss(vector, kappa, batch.normals, weight, config.normals, config.trim_fraction)
            seen[task] = vector
        else:
            assert batch.semantic is not None
            terms = semantic_loss(
                enlarged, batch.semantic, weight, config.semantic, config.trim_fraction, batch.semantic_confidence
            )
        losses |= {f"{task}_{name}": term for name, term in terms.items()}
    if config.consistency > 0 and config.fov_deg is not None and {Task.DEPTH, Task.NORMALS} <= seen.keys():
        agreement = consistency_loss(seen[Task.DEPTH], seen[Task.NORMALS], batch.weights[Task.DEPTH], config.fov_deg)
        losses["normals_consistency"] = config.consistency * agreement
    return losses
