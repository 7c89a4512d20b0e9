"""Normal losses: the angle, and a likelihood that teaches how sure the student is."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from distill.config.loss import NormalsLossConfig
from distill.students.losses.reduction import trim_worst, weighted_mean
from distill.tasks import unwarp_depth

_COSINE_LIMIT = 1.0 - 1e-6
"""The slope of the arc cosine is infinite at 1; beyond this (0.08 degrees) the gradient is cut."""


def normals_loss(
    vector: Float[Tensor, "b 3 h w"],
    kappa: Float[Tensor, "b h w"],
    target: Float[Tensor, "b 3 h w"],
    weight: Float[Tensor, "b h w"],
    config: NormalsLossConfig,
    trim_fraction: float = 0.0,
) -> dict[str, Tensor]:
    """Each term, weighted: ``cosine`` and ``confidence``."""
    cosine = (vector * target).sum(dim=1)
    weight = trim_worst(1.0 - cosine, weight, trim_fraction)
    return {
        "cosine": config.weight * weighted_mean(1.0 - cosine, weight),
        "confidence": config.confidence * weighted_mean(angmf_nll(cosine.detach(), kappa), weight),
    }


def angmf_nll(cosine: Float[Tensor, "b h w"], kappa: Float[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """Minus the log likelihood of the angular von Mises-Fisher distribution, up to a constant.

    Source: DSINE (Bae and Davison), -log(k^2 + 1) + k theta + log(1 + exp(-k pi)).
    """
    angle = torch.acos(cosine.clamp(-_COSINE_LIMIT, _COSINE_LIMIT))
    return kappa * angle - torch.log1p(kappa * kappa) + torch.log1p(torch.exp(-kappa * math.pi))


_SAME_SURFACE = 0.1
"""Neighbors that differ by more than this share in depth lie on two surfaces, between which there is no normal."""


def consistency_loss(
    warped: Float[Tensor, "b h w"],
    normals: Float[Tensor, "b 3 h w"],
    weight: Float[Tensor, "b h w"],
    fov_deg: float,
) -> Float[Tensor, ""]:
    """1 - cosine between the predicted normals and those of the predicted depth, where the surface is whole."""
    depth_m = unwarp_depth(warped)
    found = normals_of_depth(depth_m, fov_deg)
    inner = depth_m[:, 1:-1, 1:-1]
    jumps = torch.stack([depth_m[:, 1:-1, 2:], depth_m[:, 1:-1, :-2], depth_m[:, 2:, 1:-1], depth_m[:, :-2, 1:-1]])
    whole = ((jumps - inner).abs() < _SAME_SURFACE * inner).all(dim=0)
    cosine = (found * normals[:, :, 1:-1, 1:-1]).sum(dim=1)
    return weighted_mean(1.0 - cosine, weight[:, 1:-1, 1:-1] * whole)


def normals_of_depth(depth_m: Float[Tensor, "b h w"], fov_deg: float) -> Float[Tensor, "b 3 h2 w2"]:
    """Unit normals (x right, y up, z toward the camera) of all but the border pixels of a z-depth.

    The cross product of the ways to the right and up, by central differences of the points under a pinhole camera with
    this horizontal field of view and its axis in the middle.
    """
    height, width = depth_m.shape[1:]
    slope = math.tan(math.radians(fov_deg) / 2)
    right = ((torch.arange(width, device=depth_m.device) + 0.5) / width * 2 - 1) * slope
    up = (1 - (torch.arange(height, device=depth_m.device) + 0.5) / height * 2) * slope * height / width
    points = torch.stack([depth_m * right, depth_m * up.view(-1, 1), -depth_m], dim=1)
    across = points[:, :, 1:-1, 2:] - points[:, :, 1:-1, :-2]
    upward = points[:, :, :-2, 1:-1] - points[:, :, 2:, 1:-1]
    return F.normalize(torch.linalg.cross(across, upward, dim=1), dim=1, eps=1e-9)
