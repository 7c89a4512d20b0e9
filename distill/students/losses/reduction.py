"""Means that know which pixels count, and which of them are too bad to learn from."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

EPSILON = 1e-6


def weighted_mean(error: Float[Tensor, "b ..."], weight: Float[Tensor, "b ..."]) -> Float[Tensor, ""]:
    """The mean over all pixels of the batch by weight; 0, with a gradient of 0, where nothing has weight."""
    return (error * weight).sum() / weight.sum().clamp(min=EPSILON)


def mean_per_image(error: Float[Tensor, "b ..."], weight: Float[Tensor, "b ..."]) -> Float[Tensor, " b"]:
    """The mean over each image's pixels by weight; 0 where an image has none."""
    return (error * weight).flatten(1).sum(dim=1) / weight.flatten(1).sum(dim=1).clamp(min=EPSILON)


def mean_over_images(values: Float[Tensor, " b"], weight: Float[Tensor, "b ..."]) -> Float[Tensor, ""]:
    """The mean of one value per image, each counted by its total weight."""
    return weighted_mean(values, weight.flatten(1).sum(dim=1))


def trim_worst(
    error: Float[Tensor, "b h w"], weight: Float[Tensor, "b h w"], fraction: float
) -> Float[Tensor, "b h w"]:
    """The weights, with each image's worst share of weighted pixels set to 0: most of those are wrong labels."""
    if fraction <= 0:
        return weight
    flat = error.detach().flatten(1)
    used = weight.flatten(1) > 0
    keep = ((1.0 - fraction) * used.sum(dim=1)).ceil().long().clamp(min=1)
    # Unused pixels sort to the end, so the keep-th smallest is a threshold over used ones.
    ordered = flat.masked_fill(~used, torch.inf).sort(dim=1).values
    threshold = ordered.gather(1, (keep - 1)[:, None])
    return torch.where(flat <= threshold, weight.flatten(1), 0.0).view_as(weight)
