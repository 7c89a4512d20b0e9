"""Depth losses: metric on the warp, relative without scale and shift, and the likelihood of the confidence."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from distill.config.loss import DepthLossConfig
from distill.errors import UsageError
from distill.students.losses.reduction import EPSILON, mean_over_images, mean_per_image, trim_worst, weighted_mean
from distill.tasks import FAR_WARP, DepthKind, warp_depth

_NEAREST_WARP = float(warp_depth(0.1))
"""10 cm. The logarithm's slope is 1/d: a few pixels nearer than this would own the gradient."""
_MOST_FAR = math.log(10.0)
_SCALES = 4
_SILOG_LAMBDA = 0.5


def depth_loss(
    value: Float[Tensor, "b h w"],
    spread: Float[Tensor, "b h w"],
    target: Float[Tensor, "b h w"],
    weight: Float[Tensor, "b h w"],
    config: DepthLossConfig,
    depth_kind: DepthKind,
    trim_fraction: float = 0.0,
) -> dict[str, Tensor]:
    """Each term, weighted: ``l1``, ``silog``, ``abs_rel``, ``gradient``, ``confidence``, or ``ssi`` for relative depth kinds.

    Args:
        value: Predicted coordinate in [0, 1]: warped meters, or the relative depth.
        spread: The expected absolute error of it.
        target: The teacher's coordinate.
        weight: Per pixel; 0 leaves it out.
        config: Weights of the terms.
        depth_kind: Of the labels.
        trim_fraction: Fraction of each image's worst pixels to leave out.
    """
    weight = trim_worst((value - target).abs(), weight, trim_fraction)
    if is_metric(config, depth_kind):
        # The sky (90 m and more) has a place in the warp, but no logarithm or edge that means anything.
        finite = weight * (target < FAR_WARP)
        terms = {
            "l1": config.l1 * weighted_mean((value - target).abs(), weight),
            "silog": config.silog * silog(value, target, finite),
            "gradient": config.gradient * gradient_matching(value - target, finite),
        }
        if config.abs_rel > 0:
            terms["abs_rel"] = config.abs_rel * weighted_mean(relative_error(value, target), finite)
        likelihood = laplace_nll(value.detach() - target, spread)
    else:
        normal_value, normal_target = normalize(value, weight), normalize(target, weight)
        residual = normal_value - normal_target
        terms = {
            "ssi": config.ssi * weighted_mean(residual.abs(), weight),
            "gradient": config.gradient * gradient_matching(residual, weight),
        }
        # In the label's own unit, so that "within 0.05" means the same for every image.
        likelihood = laplace_nll((residual * deviation(target, weight)).detach(), spread)
    return terms | {"confidence": config.confidence * weighted_mean(likelihood, weight)}


def is_metric(config: DepthLossConfig, depth_kind: DepthKind) -> bool:
    """Whether meters are compared.

    Raises:
        UsageError: The config wants meters, and the labels have none.
    """
    if config.kind == "metric" and depth_kind is not DepthKind.METRIC:
        raise UsageError(
            f"loss.depth.kind=metric cannot be used on {depth_kind} labels, which have no scale",
            hint="set loss.depth.kind=relative (or auto), or label with a metric teacher",
        )
    return depth_kind is DepthKind.METRIC and config.kind != "relative"


def silog(
    value: Float[Tensor, "b h w"], target: Float[Tensor, "b h w"], weight: Float[Tensor, "b h w"]
) -> Float[Tensor, ""]:
    """The scale-invariant log error sqrt(mean e^2 - 0.5 (mean e)^2) of warped meters, averaged over images."""
    error = _log_meters(value) - _log_meters(target)
    mean_square = mean_per_image(error * error, weight)
    square_mean = mean_per_image(error, weight).square()
    # The slope of a square root is infinite at 0, where a perfect image would be.
    return mean_over_images((mean_square - _SILOG_LAMBDA * square_mean + EPSILON).sqrt(), weight)


def relative_error(value: Float[Tensor, "b h w"], target: Float[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """|d - d*| / d* of warped meters, which punishes what is too far more than what is too near."""
    # A tenfold depth is as wrong as can be; without a bound, the sky in a room would own the gradient.
    return (_log_meters(value) - _log_meters(target)).clamp(max=_MOST_FAR).expm1().abs()


def gradient_matching(residual: Float[Tensor, "b h w"], weight: Float[Tensor, "b h w"]) -> Float[Tensor, ""]:
    """The mean absolute slope of the residual over 4 scales (stride 1 to 8), so that edges lie where the label's do.

    Source: MiDaS, arXiv 1907.01341, equation 11. A difference counts where both of its pixels do.
    """
    total = residual.new_zeros(())
    for scale in range(_SCALES):
        step = 2**scale
        r, w = residual[:, ::step, ::step], weight[:, ::step, ::step]
        if min(r.shape[1:]) < 2:
            break
        across = weighted_mean((r[:, :, 1:] - r[:, :, :-1]).abs(), torch.minimum(w[:, :, 1:], w[:, :, :-1]))
        down = weighted_mean((r[:, 1:] - r[:, :-1]).abs(), torch.minimum(w[:, 1:], w[:, :-1]))
        total = total + across + down
    return total


def normalize(value: Float[Tensor, "b h w"], weight: Float[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """The map minus its median, over its mean absolute deviation: per image, over weighted pixels."""
    return (value - median(value, weight)) / deviation(value, weight)


def median(value: Float[Tensor, "b h w"], weight: Float[Tensor, "b h w"]) -> Float[Tensor, "b 1 1"]:
    """The median over each image's weighted pixels; 0 where there are none."""
    used = value.flatten(1).masked_fill(weight.flatten(1) <= 0, torch.nan)
    return used.nanmedian(dim=1).values.nan_to_num(0.0).view(-1, 1, 1)


def deviation(value: Float[Tensor, "b h w"], weight: Float[Tensor, "b h w"]) -> Float[Tensor, "b 1 1"]:
    """The mean absolute deviation from the median over each image's weighted pixels."""
    # A hundredth of the range at least: a flat prediction, as at the start, would be blown up without bound.
    return mean_per_image((value - median(value, weight)).abs(), weight).clamp(min=0.01).view(-1, 1, 1)


def laplace_nll(error: Float[Tensor, "b h w"], spread: Float[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """Minus the log likelihood of this error under a Laplace distribution of this spread, up to a constant."""
    return error.abs() / spread + spread.log()


def _log_meters(warped: Tensor) -> Tensor:
    # ln(unwarp(f)) up to ln 10, which cancels.
    return (torch.rsqrt(1.0 - warped.clamp(min=_NEAREST_WARP, max=FAR_WARP)) - 1.0).log()
