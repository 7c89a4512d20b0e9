"""Edges: the probability that an occlusion boundary or object contour passes through a pixel."""

from __future__ import annotations

import math
from collections.abc import Mapping

import cv2
import numpy as np
import torch
from jaxtyping import Float, Shaped
from numpy import ndarray
from torch import Tensor
from torch.nn import functional as F

from distill.config.loss import EdgesLossConfig
from distill.config.train import StudentConfig
from distill.spec import EdgesSpec, StudentSpec
from distill.students.losses.reduction import LIKE_SHAPES, correlation, mean_per_image, weighted_mean
from distill.students.model.resample import upsample
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
    resize_nearest,
)
from distill.tasks import DepthKind, Task

_RAREST = 1e-4
"""Lower limit of the fraction of edge pixels in a batch: a batch without edges must not divide by 0."""
_LEVELS = 254.0
_THRESHOLDS = 9
_RADIUS = 0.0075
"""Allowed distance of a predicted edge from a true one, as a fraction of the image's diagonal (BSDS500)."""


class EdgesHead(TaskHead):
    """Edge logit of every pixel."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.layers = head_layers(channels_in, channels, 1)

    def activate(self, raw: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b h w"]:
        """Edge probability."""
        return raw[:, 0].sigmoid()

    def postprocess(self, raw: Float[Tensor, "b 1 h w"], context: PostprocessContext) -> Outputs:
        """``edges`` in [0, 1]; ``edges_confidence``: probability of the more likely of edge and no edge.

        Trained with `EdgesLossConfig.balance` above 0 the probabilities are too high, because edges count more.
        """
        # Logits to the working size first: a thin line that is enlarged as a probability becomes a wide plateau.
        logits = F.interpolate(raw, size=context.work_hw, mode="bilinear", align_corners=False)
        probability = upsample(self.activate(logits), context.size_hw)
        return {"edges": probability, "edges_confidence": torch.maximum(probability, 1 - probability)}

    def losses(self, inputs: LossInputs) -> TaskLoss:
        """The term of `edges_loss`. The worst pixels are not trimmed: in an edge map those are mostly true edges."""
        config = inputs.config.edges
        return TaskLoss({"cross_entropy": edges_loss(inputs.raw[:, 0], inputs.target, inputs.weight, config)})

    def label_error(
        self, raw: Float[Tensor, "b 1 h w"], target: Float[Tensor, "b h w"], weight: Float[Tensor, "b h w"]
    ) -> Float[Tensor, " b"]:
        """Mean absolute error times (1/4 + 1 - correlation); see `distill.students.losses.reduction.LIKE_SHAPES`."""
        probability = self.activate(raw)
        shape = 1.0 - correlation(probability[:, None], target[:, None], weight)
        return mean_per_image((probability - target).abs(), weight) * (LIKE_SHAPES + shape)


def edges_loss(
    logits: Float[Tensor, "b h w"],
    target: Float[Tensor, "b h w"],
    weight: Float[Tensor, "b h w"],
    config: EdgesLossConfig,
) -> Float[Tensor, ""]:
    """Class-balanced cross-entropy with soft targets.

    At balance 1 edges and other pixels have half of the weight each. Source: HED, arXiv 1504.06375, equation 2.
    """
    error = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    share = weighted_mean(target, weight).clamp(_RAREST, 1 - _RAREST)
    balanced = weight * (target * share**-config.balance + (1 - target) * (1 - share) ** -config.balance)
    return config.weight * weighted_mean(error, balanced)


class EdgesScore:
    """Per threshold the predicted pixels, those near a true edge, and true edges near a prediction.

    Then the labeled pixels, those near a true edge, and true edges.

    Without thinning, so only for choosing weights.
    """

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(3 * _THRESHOLDS + 3, dtype=torch.float64, device=device)

    def update(self, outputs: Mapping[str, Tensor], target: Tensor, weight: Tensor) -> None:
        """Add one batch."""
        known = weight > 0
        true = (target >= 0.5) & known
        radius = max(1, round(_RADIUS * math.hypot(*target.shape[1:])))
        near_true = _near(true.float(), radius) > 0
        predicted = torch.where(known, outputs["edges"], 0.0)
        near_predicted = _near(predicted, radius)
        counts = []
        for index in range(_THRESHOLDS):
            threshold = (index + 1) / (_THRESHOLDS + 1)
            found = known & (predicted >= threshold)
            counts += [found.sum(), (found & near_true).sum(), (true & (near_predicted >= threshold)).sum()]
        self.sums += torch.stack([*counts, known.sum(), (known & near_true).sum(), true.sum()]).double()

    def compute(self) -> tuple[dict[str, float], float] | None:
        """``edges_f``, which is the score: the F-score at the best threshold over all images."""
        if not bool(self.sums[-1] > 0):
            return None
        predicted, hits, found = self.sums[:-3].view(_THRESHOLDS, 3).unbind(dim=1)
        precision, recall = hits / predicted.clamp(min=1), found / self.sums[-1]
        best = float((2 * precision * recall / (precision + recall).clamp(min=1e-9)).max())
        return {"edges_f": best}, best

    def compare_with_constant(self) -> ConstantComparison | None:
        """Of an edge at every pixel, whose recall is 1."""
        found = self.compute()
        if found is None:
            return None
        precision = float(self.sums[-2] / self.sums[-3])
        constant = 2 * precision / (1 + precision)
        return ConstantComparison("F-score", found[1], constant, found[1] > constant + 1e-6)


def _near(maps: Float[Tensor, "b h w"], radius: int) -> Float[Tensor, "b h w"]:
    """Maximum within a square window."""
    return F.max_pool2d(maps[:, None], 2 * radius + 1, stride=1, padding=radius)[:, 0]


class EdgesTask(StudentTask):
    """Edges on the student side."""

    task = Task.EDGES

    def output_spec(self, labels: LabelFacts) -> EdgesSpec:
        """The spec has no choices."""
        return EdgesSpec()

    def build_head(self, config: StudentConfig, spec: StudentSpec) -> EdgesHead:
        """A new head."""
        return EdgesHead(config.neck_channels, config.head_channels)

    def resize(self, stored: Shaped[ndarray, "h w"], size_hw: tuple[int, int]) -> Shaped[ndarray, "h2 w2"]:
        """Stored values at another size; lines are dilated before they shrink, since nearest alone would lose them."""
        ratios = [before / after for before, after in zip(stored.shape, size_hw, strict=True)]
        if max(ratios) <= 1:
            return resize_nearest(stored, size_hw)
        known = stored != self.info.ignore
        window = np.ones([max(1, math.ceil(ratio)) for ratio in ratios], np.uint8)
        dilated = cv2.dilate(np.where(known, stored, 0).astype(stored.dtype), window)
        small = resize_nearest(dilated, size_hw)
        return np.where(resize_nearest(known.astype(np.uint8), size_hw) > 0, small, self.info.ignore).astype(
            stored.dtype
        )

    def target(self, stored: Shaped[Tensor, "b h w"], depth_kind: DepthKind | None) -> Float[Tensor, "b h w"]:
        """Probability in [0, 1]."""
        return (stored.float() / _LEVELS).clamp(max=1.0)

    def score(self, spec: StudentSpec, device: torch.device) -> TaskScore:
        """A new validation score."""
        return EdgesScore(device)


TASK = EdgesTask()
