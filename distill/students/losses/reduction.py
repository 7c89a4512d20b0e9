"""Weighted reductions over pixels and images, and per-image statistics of maps."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

EPSILON = 1e-6
LIKE_SHAPES = 0.25
"""Part of a label's error that remains when prediction and label are perfectly correlated.

The noisy-label filter compares one error per image. For depth and normals it is the mean error times
(1/4 + 1 - correlation): a flat or shifted wrong label has no larger mean error than a correct label of a hard photo,
but correct labels of hard photos still correlate with the prediction. With a fifth of all labels wrong, the product
found all of them, and 2 to 4 % of the correct ones; the error alone found 39 % of the flat depths, 41 % of the shifted
ones and 81 % of the flat normals. The 1/4 is for errors without effect on the correlation, such as a doubled depth.
"""
_FLAT = 1e-5
"""A product of two deviations, in squares of the maps' unit, below which correlation is rounding noise."""


def weighted_mean(error: Float[Tensor, "*shape"], weight: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Mean over all pixels of the batch by weight; 0, with a gradient of 0, if all weights are 0."""
    return (error * weight).sum() / weight.sum().clamp(min=EPSILON)


def mean_per_image(error: Float[Tensor, "b ..."], weight: Float[Tensor, "b ..."]) -> Float[Tensor, " b"]:
    """Mean over each image's pixels by weight; 0 for an image without weight."""
    return (error * weight).flatten(1).sum(dim=1) / weight.flatten(1).sum(dim=1).clamp(min=EPSILON)


def mean_over_images(values: Float[Tensor, " b"], weight: Float[Tensor, "b ..."]) -> Float[Tensor, ""]:
    """Mean of one value per image, each counted by its total weight."""
    return weighted_mean(values, weight.flatten(1).sum(dim=1))


def trim_worst(
    error: Float[Tensor, "b h w"], weight: Float[Tensor, "b h w"], fraction: float
) -> Float[Tensor, "b h w"]:
    """Weights with this fraction of each image's worst weighted pixels set to 0: most of those are wrong labels."""
    if fraction <= 0:
        return weight
    flat = error.detach().flatten(1)
    used = weight.flatten(1) > 0
    keep = ((1.0 - fraction) * used.sum(dim=1)).ceil().long().clamp(min=1)
    # Unused pixels sort to the end, so the keep-th smallest is a threshold over used ones.
    ordered = flat.masked_fill(~used, torch.inf).sort(dim=1).values
    threshold = ordered.gather(1, (keep - 1)[:, None])
    return torch.where(flat <= threshold, weight.flatten(1), 0.0).view_as(weight)


def normalize(value: Float[Tensor, "b h w"], weight: Float[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """Map minus its median, divided by its mean absolute deviation: per image, over weighted pixels."""
    return (value - median(value, weight)) / deviation(value, weight)


def median(value: Float[Tensor, "b h w"], weight: Float[Tensor, "b h w"]) -> Float[Tensor, "b 1 1"]:
    """Median over each image's weighted pixels; 0 if there are none."""
    used = value.flatten(1).masked_fill(weight.flatten(1) <= 0, torch.nan)
    return used.nanmedian(dim=1).values.nan_to_num(0.0).view(-1, 1, 1)


def deviation(value: Float[Tensor, "b h w"], weight: Float[Tensor, "b h w"]) -> Float[Tensor, "b 1 1"]:
    """Mean absolute deviation from the median over each image's weighted pixels, at least 0.01."""
    # A hundredth of the range at least: a flat prediction, as at the start, would be scaled up without bound.
    return mean_per_image((value - median(value, weight)).abs(), weight).clamp(min=0.01).view(-1, 1, 1)


def correlation(
    one: Float[Tensor, "b c h w"], other: Float[Tensor, "b c h w"], weight: Float[Tensor, "b h w"]
) -> Float[Tensor, " b"]:
    """Pearson correlation of two maps of vectors over each image's weighted pixels; 0 if one is flat."""
    weight = weight[:, None]
    total = weight.flatten(1).sum(dim=1).view(-1, 1, 1, 1).clamp(min=EPSILON)

    def centered(maps: Tensor) -> Tensor:
        middle = (maps * weight).sum(dim=(2, 3), keepdim=True) / total
        return ((maps - middle) * (weight / total).sqrt()).flatten(1)

    a, b = centered(one), centered(other)
    cosine: Tensor = (a * b).sum(dim=1) / (
        torch.linalg.vector_norm(a, dim=1) * torch.linalg.vector_norm(b, dim=1) + _FLAT
    )
    return cosine
