"""Normal losses: the angle, and a likelihood that teaches how sure the student is."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from distill.config.loss import NormalsLossRecipe
from distill.students.losses.weighted import trim, weighted_mean

_COSINE_LIMIT = 1.0 - 1e-6
"""The slope of the arc cosine is infinite at 1; beyond this (0.08 degrees) the gradient is cut."""


def normals_loss(
    vector: Float[Tensor, "b 3 h w"],
    kappa: Float[Tensor, "b h w"],
    target: Float[Tensor, "b 3 h w"],
    weight: Float[Tensor, "b h w"],
    recipe: NormalsLossRecipe,
    trim_share: float = 0.0,
) -> dict[str, Tensor]:
    """Each term, weighted: ``cosine`` and ``confidence``, or ``angmf`` alone."""
    cosine = (vector * target).sum(dim=1)
    weight = trim(1.0 - cosine, weight, trim_share)
    if recipe.kind == "angmf":
        return {"angmf": recipe.weight * weighted_mean(angmf_nll(cosine, kappa), weight)}
    return {
        "cosine": recipe.weight * weighted_mean(1.0 - cosine, weight),
        "confidence": recipe.confidence * weighted_mean(angmf_nll(cosine.detach(), kappa), weight),
    }


def angmf_nll(cosine: Float[Tensor, "b h w"], kappa: Float[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """Minus the log likelihood of the angular von Mises-Fisher distribution, up to a constant.

    Source: DSINE (Bae and Davison), -log(k^2 + 1) + k theta + log(1 + exp(-k pi)).
    """
    angle = torch.acos(cosine.clamp(-_COSINE_LIMIT, _COSINE_LIMIT))
    return kappa * angle - torch.log1p(kappa * kappa) + torch.log1p(torch.exp(-kappa * math.pi))
