"""Instance losses: where the centers are, and which way they lie from every pixel."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from distill.config.loss import InstanceLossConfig
from distill.students.losses.reduction import weighted_mean

_SIGMA = 0.03
"""Width of a center's peak, in parts of the picture's sides; about 6 of 192 px."""


def instance_loss(
    heat: Float[Tensor, "b h w"],
    way: Float[Tensor, "b 2 h w"],
    ids: Int[Tensor, "b h w"],
    weight: Float[Tensor, "b h w"],
    config: InstanceLossConfig,
) -> dict[str, Tensor]:
    """Each term, weighted: ``center`` over all pixels, ``offset`` over those of instances."""
    wanted_heat, wanted_way, on_thing = instance_targets(ids, weight)
    return {
        "center": config.center * weighted_mean((heat - wanted_heat).square(), weight),
        "offset": config.offset * weighted_mean((way - wanted_way).abs().sum(dim=1), weight * on_thing),
    }


def instance_targets(
    ids: Int[Tensor, "b h w"], weight: Float[Tensor, "b h w"]
) -> tuple[Float[Tensor, "b h w"], Float[Tensor, "b 2 h w"], Float[Tensor, "b h w"]]:
    """(heat with a peak of 1 at each center of mass, way there (down, right) in parts of the sides, 1 on instances)."""
    height, width = ids.shape[1:]
    rows = ((torch.arange(height, device=ids.device) + 0.5) / height).view(-1, 1).expand(height, width)
    columns = ((torch.arange(width, device=ids.device) + 0.5) / width).expand(height, width)
    heats, ways = [], []
    for one, used in zip(ids, weight > 0, strict=True):
        kept = torch.where(used, one, torch.zeros_like(one))
        numbers, places = torch.unique(kept, return_inverse=True)
        flat = places.flatten()
        counts = torch.bincount(flat, minlength=len(numbers)).float()
        down = torch.bincount(flat, rows.flatten(), len(numbers)) / counts
        right = torch.bincount(flat, columns.flatten(), len(numbers)) / counts
        ways.append(torch.stack([down[places] - rows, right[places] - columns]))
        real = numbers != 0
        # Few instances at a time: a distance map for each of them is cheap.
        square = (rows - down[real].view(-1, 1, 1)).square() + (columns - right[real].view(-1, 1, 1)).square()
        near = square.amin(dim=0) if bool(real.any()) else torch.full_like(rows, torch.inf)
        heats.append(torch.exp(-near / (2 * _SIGMA**2)))
    on_thing = (ids != 0).to(weight)
    return torch.stack(heats).to(weight), torch.stack(ways).to(weight) * on_thing[:, None], on_thing
