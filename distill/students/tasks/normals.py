"""Normals: unit vectors and the concentration of the angular von Mises-Fisher distribution around them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.nn import functional as F

from distill.config.loss import NormalsLossConfig
from distill.config.train import StudentConfig
from distill.spec import NormalsSpec, StudentSpec
from distill.students.losses.reduction import LIKE_SHAPES, correlation, mean_per_image, trim_worst, weighted_mean
from distill.students.model.resample import upsample, upsample_vectors
from distill.students.tasks.base import (
    ConstantComparison,
    LabelFacts,
    LossInputs,
    Outputs,
    PostprocessContext,
    StudentTask,
    TaskHead,
    TaskLoss,
    TaskScore,
    head_layers,
)
from distill.tasks import DepthKind, Task

_WITHIN_ANGLE = math.radians(22.5)
"""A normal counts as correct within this angle: the middle one of the usual thresholds."""
_COSINE_LIMIT = 1.0 - 1e-6
"""The slope of the arc cosine is infinite at 1; beyond this (0.08 degrees) the gradient is cut."""


class NormalsHead(TaskHead):
    """Unit normals and their concentration kappa."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.layers = head_layers(channels_in, channels, 4)

    def activate(self, raw: Float[Tensor, "b 4 h w"]) -> tuple[Float[Tensor, "b 3 h w"], Float[Tensor, "b h w"]]:
        """(unit vectors, kappa > 0)."""
        return _unit(raw[:, :3]), F.softplus(raw[:, 3]) + 0.01

    def postprocess(self, raw: Float[Tensor, "b 4 h w"], context: PostprocessContext) -> Outputs:
        """``normals`` (b, h, w, 3) of unit length; ``normals_confidence``: probability to be within 22.5 degrees."""
        vector, kappa = self.activate(raw)
        confidence = angmf_probability_within(kappa, _WITHIN_ANGLE)
        return {
            "normals": upsample_vectors(vector, context.size_hw),
            "normals_confidence": upsample(confidence, context.size_hw),
        }

    def losses(self, inputs: LossInputs) -> TaskLoss:
        """The terms of `normals_loss`."""
        vector, kappa = self.activate(inputs.raw)
        config = inputs.config
        return TaskLoss(
            normals_loss(vector, kappa, inputs.target, inputs.weight, config.normals, config.trim_fraction), vector
        )

    def label_error(
        self, raw: Float[Tensor, "b 4 h w"], target: Float[Tensor, "b 3 h w"], weight: Float[Tensor, "b h w"]
    ) -> Float[Tensor, " b"]:
        """Mean of 1 - cosine times (1/4 + 1 - correlation); see `distill.students.losses.reduction.LIKE_SHAPES`."""
        vector = self.activate(raw)[0]
        shape = 1.0 - correlation(vector, target, weight)
        return mean_per_image(1.0 - (vector * target).sum(dim=1), weight) * (LIKE_SHAPES + shape)


def normals_loss(
    vector: Float[Tensor, "b 3 h w"],
    kappa: Float[Tensor, "b h w"],
    target: Float[Tensor, "b 3 h w"],
    weight: Float[Tensor, "b h w"],
    config: NormalsLossConfig,
    trim_fraction: float = 0.0,
) -> dict[str, Tensor]:
    """Terms ``cosine`` and ``confidence``."""
    cosine = (vector * target).sum(dim=1)
    weight = trim_worst(1.0 - cosine, weight, trim_fraction)
    return {
        "cosine": config.weight * weighted_mean(1.0 - cosine, weight),
        "confidence": config.confidence * weighted_mean(angmf_nll(cosine.detach(), kappa), weight),
    }


def angmf_nll(cosine: Float[Tensor, "b h w"], kappa: Float[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """Negative log likelihood of the angular von Mises-Fisher distribution, up to a constant.

    Source: DSINE (Bae and Davison), -log(k^2 + 1) + k theta + log(1 + exp(-k pi)).
    """
    angle = torch.acos(cosine.clamp(-_COSINE_LIMIT, _COSINE_LIMIT))
    return kappa * angle - torch.log1p(kappa * kappa) + torch.log1p(torch.exp(-kappa * math.pi))


def angmf_probability_within(kappa: Float[Tensor, "*shape"], angle_rad: float) -> Float[Tensor, "*shape"]:
    """Probability that a direction of concentration kappa is within this angle of its mean.

    The density over the sphere is proportional to exp(-kappa theta); integrated over theta with the area sin(theta).
    """
    tail = torch.exp(-kappa * angle_rad) * (math.cos(angle_rad) + kappa * math.sin(angle_rad))
    return (1.0 - tail) / (1.0 + torch.exp(-kappa * math.pi))


def _unit(vector: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    return vector * torch.rsqrt((vector * vector).sum(dim=1, keepdim=True) + 1e-12)


_DIRECTIONS = [
    [x / length, y / length, z / length]
    for x in (-1, 0, 1)
    for y in (-1, 0, 1)
    for z in (0, 1)
    if (length := math.sqrt(x * x + y * y + z * z)) > 0
]
"""Unit vectors toward the camera and around it, 35 to 45 degrees apart."""
_SAME_DEG = 0.5
"""Normals that differ by less on average are the same everywhere."""


class NormalsScore:
    """Sums of (angle in degrees, pixels), then of the angle to each of `_DIRECTIONS`."""

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(2 + len(_DIRECTIONS), dtype=torch.float64, device=device)

    def update(self, outputs: Mapping[str, Tensor], target: Tensor, weight: Tensor) -> None:
        """Add one batch."""
        valid = weight > 0
        cosine = (outputs["normals"] * target.permute(0, 2, 3, 1)).sum(dim=-1)
        degrees = torch.rad2deg(torch.acos(cosine.clamp(-1, 1)))
        fixed = target.permute(0, 2, 3, 1)[valid] @ target.new_tensor(_DIRECTIONS).T
        angles = torch.rad2deg(torch.acos(fixed.clamp(-1, 1))).double().sum(dim=0)
        self.sums += torch.cat([torch.stack([degrees[valid].double().sum(), valid.sum().double()]), angles])

    def compute(self) -> tuple[dict[str, float], float] | None:
        """``normals_mean_deg``; the score is 1 - angle/180."""
        if not bool(self.sums[1] > 0):
            return None
        degrees = float(self.sums[0] / self.sums[1])
        return {"normals_mean_deg": degrees}, 1.0 - degrees / 180.0

    def compare_with_constant(self) -> ConstantComparison | None:
        """Of the best of a few directions that face the camera."""
        if not bool(self.sums[1] > 0):
            return None
        degrees, constant = float(self.sums[0] / self.sums[1]), float(self.sums[2:].min() / self.sums[1])
        return ConstantComparison("mean angle", degrees, constant, degrees < constant - 1e-3, constant < _SAME_DEG)


class NormalsTask(StudentTask):
    """Normals on the student side."""

    task = Task.NORMALS

    def output_spec(self, labels: LabelFacts) -> NormalsSpec:
        """Frame of the output."""
        return NormalsSpec()

    def build_head(self, config: StudentConfig, spec: StudentSpec) -> NormalsHead:
        """A new head."""
        return NormalsHead(config.neck_channels, config.head_channels)

    def target(self, stored: Shaped[Tensor, "b h w 3"], depth_kind: DepthKind | None) -> Float[Tensor, "b 3 h w"]:
        """Unit vectors."""
        vector = stored.permute(0, 3, 1, 2).float() / 127.5 - 1.0
        return _unit(torch.cat([-vector[:, :1], vector[:, 1:]], dim=1))

    def flip(self, target: Float[Tensor, "b 3 h w"], chosen: Bool[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:
        """A mirrored normal has the opposite x."""
        x = torch.where(chosen.view(-1, 1, 1, 1), -target[:, :1], target[:, :1])
        return torch.cat([x, target[:, 1:]], dim=1)

    def score(self, spec: StudentSpec, device: torch.device) -> TaskScore:
        """A new validation score."""
        return NormalsScore(device)


TASK = NormalsTask()
