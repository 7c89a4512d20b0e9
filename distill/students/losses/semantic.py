"""Semantic losses: weighted cross-entropy, and Dice, so that small classes are not forgotten."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from distill.config.loss import SemanticLossConfig
from distill.students.losses.reduction import EPSILON, trim_worst, weighted_mean


def semantic_loss(
    logits: Float[Tensor, "b k h w"],
    target: Int[Tensor, "b h w"],
    weight: Float[Tensor, "b h w"],
    config: SemanticLossConfig,
    trim_fraction: float = 0.0,
    semantic_confidence: Float[Tensor, "b h w"] | None = None,
) -> dict[str, Tensor]:
    """Each term, weighted: ``cross_entropy``, ``dice``, ``soft``.

    Args:
        logits: Class scores.
        target: Class ids; those beyond the classes count as weight 0.
        weight: Per pixel; 0 leaves it out.
        config: Weights of the terms.
        trim_fraction: Fraction of each image's worst pixels to leave out.
        semantic_confidence: How sure the teacher is of the id, in [0, 1]; the term ``soft`` needs it.
    """
    classes = logits.shape[1]
    known = target < classes
    target = torch.where(known, target, 0)
    weight = weight * known
    error = F.cross_entropy(logits, target, reduction="none", label_smoothing=config.label_smoothing)
    weight = trim_worst(error, weight, trim_fraction)
    balanced = balance(weight, target, classes, config.balance) if config.balance > 0 else weight
    terms = {"cross_entropy": config.weight * weighted_mean(error, balanced)}
    if config.dice > 0:
        terms["dice"] = config.dice * dice(logits.softmax(dim=1), target, weight)
    if config.soft > 0 and semantic_confidence is not None and classes > 1:
        divergence = soft_divergence(logits, target, semantic_confidence, config.temperature)
        terms["soft"] = config.soft * weighted_mean(divergence, weight)
    return terms


def soft_divergence(
    logits: Float[Tensor, "b k h w"],
    target: Int[Tensor, "b h w"],
    semantic_confidence: Float[Tensor, "b h w"],
    temperature: float,
) -> Float[Tensor, "b h w"]:
    """T^2 KL(teacher || student), both at temperature T, per pixel.

    The teacher's distribution has `semantic_confidence` on its class and the rest evenly on the others; one that is less sure
    than chance counts as chance. Source of the form: Hinton et al., arXiv 1503.02531.
    """
    classes = logits.shape[1]
    sure = semantic_confidence.clamp(1.0 / classes, 1.0 - 1e-3)
    # (p^(1/T), normalized) of two values: that of the class, and that which all the others share.
    top, rest = sure.pow(1.0 / temperature), ((1.0 - sure) / (classes - 1)).pow(1.0 / temperature)
    total = top + (classes - 1) * rest
    top, rest = top / total, rest / total
    log_answer = (logits / temperature).log_softmax(dim=1)
    on_class = log_answer.gather(1, target[:, None])[:, 0]
    on_others = log_answer.sum(dim=1) - on_class
    entropy = top * top.log() + (classes - 1) * rest * rest.log()
    return temperature**2 * (entropy - top * on_class - rest * on_others)


def balance(
    weight: Float[Tensor, "b h w"], target: Int[Tensor, "b h w"], num_classes: int, power: float
) -> Float[Tensor, "b h w"]:
    """The weights, times (share of the pixel's class in the batch, by weight)^-power."""
    total = _sum_by_class(weight, target, num_classes)
    share = (total / total.sum().clamp(min=EPSILON)).clamp(min=EPSILON)
    return weight * share.pow(-power)[target]


def dice(
    probability: Float[Tensor, "b k h w"], target: Int[Tensor, "b h w"], weight: Float[Tensor, "b h w"]
) -> Float[Tensor, ""]:
    """1 minus the soft Dice overlap over the whole batch, averaged over the classes that the batch holds."""
    classes = probability.shape[1]
    weighted = probability * weight[:, None]
    predicted = weighted.sum(dim=(0, 2, 3))
    labeled = _sum_by_class(weight, target, classes)
    overlap = _sum_by_class(weighted.gather(1, target[:, None])[:, 0], target, classes)
    present = (labeled > 0).to(overlap.dtype)
    return weighted_mean(1.0 - 2.0 * overlap / (predicted + labeled + EPSILON), present)


def _sum_by_class(
    values: Float[Tensor, "b h w"], target: Int[Tensor, "b h w"], num_classes: int
) -> Float[Tensor, " k"]:
    """Sums over the pixels of each class; for each picture first, since a GPU adds to one place one at a time."""
    first = num_classes * torch.arange(len(target), device=target.device).view(-1, 1, 1)
    sums = values.new_zeros(len(target) * num_classes)
    return sums.index_add_(0, (target + first).flatten(), values.flatten()).view(-1, num_classes).sum(dim=0)
