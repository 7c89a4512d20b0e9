"""All loss terms of a batch, weighted by validity, teacher confidence and label quality."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from distill.config.loss import LossConfig
from distill.students.data.batch_targets import Batch
from distill.students.losses.depth_normal_consistency import consistency_loss
from distill.students.model.resample import upsample_at
from distill.students.model.student import Student
from distill.students.tasks.base import LossInputs
from distill.tasks import Task

WeightFn = Callable[[Task, Float[Tensor, " b"]], Float[Tensor, " b"]]
"""(task, label error of each image) to the weight of each image."""


def student_losses(
    student: Student,
    raw: dict[Task, Tensor],
    batch: Batch,
    config: LossConfig,
    phase_hw: tuple[int, int] = (0, 0),
    weight_fn: WeightFn | None = None,
) -> dict[str, Tensor]:
    """Every term of every task, weighted and ready to be summed, keyed ``<task>_<term>``.

    Raw maps are enlarged to the size of the labels first: at head stride only one label pixel in sixteen would be used.
    Then every `config.stride`-th row and column from `phase_hw` on is compared. The phase changes from step to step, so
    that all labels are used in the long run; at stride 2 a step of nano takes 0.8 of the time. `weight_fn` weights the
    labels of whole images.
    """
    size_hw = (batch.image.shape[2], batch.image.shape[3])
    batch = batch.subsample(config.stride, phase_hw)
    losses: dict[str, Tensor] = {}
    activated: dict[Task, Tensor] = {}
    for task in student.spec.tasks:
        head = student.head(task)
        target, weight = batch.targets[task], batch.weights[task]
        enlarged = upsample_at(raw[task], size_hw, config.stride, phase_hw)
        if weight_fn is not None and head.filters_noise:
            error = head.label_error(enlarged.detach(), target, weight)
            weight = weight * weight_fn(task, error).view(-1, 1, 1)
        found = head.losses(LossInputs(enlarged, target, weight, batch.confidence.get(task), config))
        losses |= {f"{task}_{name}": term for name, term in found.terms.items()}
        if found.activated is not None:
            activated[task] = found.activated
    if config.consistency > 0 and config.fov_deg is not None and {Task.DEPTH, Task.NORMALS} <= activated.keys():
        agreement = consistency_loss(
            activated[Task.DEPTH], activated[Task.NORMALS], batch.weights[Task.DEPTH], config.fov_deg
        )
        losses["normals_consistency"] = config.consistency * agreement
    return losses
