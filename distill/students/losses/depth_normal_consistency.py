"""Agreement of predicted normals with those of the predicted depth."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from distill.students.losses.reduction import weighted_mean
from distill.tasks import unwarp_depth

_SAME_SURFACE = 0.1
"""Neighbors that differ by more than this fraction in depth are on two surfaces, with no normal in between."""


def consistency_loss(
    warped: Float[Tensor, "b h w"],
    normals: Float[Tensor, "b 3 h w"],
    weight: Float[Tensor, "b h w"],
    fov_deg: float,
) -> Float[Tensor, ""]:
    """1 - cosine between the predicted normals and those of the predicted warped depth, away from depth steps."""
    depth_m = unwarp_depth(warped)
    found = normals_of_depth(depth_m, fov_deg)
    inner = depth_m[:, 1:-1, 1:-1]
    jumps = torch.stack([depth_m[:, 1:-1, 2:], depth_m[:, 1:-1, :-2], depth_m[:, 2:, 1:-1], depth_m[:, :-2, 1:-1]])
    whole = ((jumps - inner).abs() < _SAME_SURFACE * inner).all(dim=0)
    cosine = (found * normals[:, :, 1:-1, 1:-1]).sum(dim=1)
    return weighted_mean(1.0 - cosine, weight[:, 1:-1, 1:-1] * whole)


def normals_of_depth(depth_m: Float[Tensor, "b h w"], fov_deg: float) -> Float[Tensor, "b 3 h-2 w-2"]:
    """Unit normals (x right, y up, z toward the camera) of all but the border pixels of a z-depth.

    The cross product of the central differences to the right and up, of points under a pinhole camera with this
    horizontal field of view and a centered principal point.
    """
    height, width = depth_m.shape[1:]
    slope = math.tan(math.radians(fov_deg) / 2)
    right = ((torch.arange(width, device=depth_m.device) + 0.5) / width * 2 - 1) * slope
    up = (1 - (torch.arange(height, device=depth_m.device) + 0.5) / height * 2) * slope * height / width
    points = torch.stack([depth_m * right, depth_m * up.view(-1, 1), -depth_m], dim=1)
    across = points[:, :, 1:-1, 2:] - points[:, :, 1:-1, :-2]
    upward = points[:, :, :-2, 1:-1] - points[:, :, 2:, 1:-1]
    return F.normalize(torch.linalg.cross(across, upward, dim=1), dim=1, eps=1e-9)
