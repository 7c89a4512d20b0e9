"""Depth loss terms: metric depth on its warp, relative depth without scale and shift, and the confidence likelihood."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from distill.config.loss import DepthLossConfig
from distill.errors import UsageError
from distill.students.losses.reduction import (
    EPSILON,
    deviation,
    mean_over_images,
    mean_per_image,
    normalize,
    trim_worst,
    weighted_mean,
)
from distill.tasks import FAR_WARP, DepthKind, warp_depth

_NEAREST_WARP = float(warp_depth(0.1))
"""10 cm. The logarithm's slope is 1/d: a few pixels nearer than this would dominate the gradient."""
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
    """Terms ``l1``, ``silog``, ``gradient``, ``abs_rel``, ``confidence``; relative depth has ``ssi`` for the first two.

    Args:
        value: Predicted warped meters or relative depth, in [0, 1].
        spread: Its expected absolute error.
        target: The label, in the same unit as `value`.
        weight: Per pixel; 0 leaves it out.
        config: Weights of the terms.
        depth_kind: Of the labels.
        trim_fraction: Fraction of each image's worst pixels to leave out.
    """
    weight = trim_worst((value - target).abs(), weight, trim_fraction)
    if is_metric(config, depth_kind):
        # The sky (90 m and more) has a value in the warp, but its logarithm and edges mean little.
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
        UsageError: The config requires meters, and the labels have none.
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
    """Scale-invariant log error sqrt(mean e^2 - 0.5 (mean e)^2) of warped meters, averaged over images."""
    error = _log_meters(value) - _log_meters(target)
    mean_square = mean_per_image(error * error, weight)
    square_mean = mean_per_image(error, weight).square()
    # The slope of a square root is infinite at 0, the value of a perfect image.
    return mean_over_images((mean_square - _SILOG_LAMBDA * square_mean + EPSILON).sqrt(), weight)


def relative_error(value: Float[Tensor, "b h w"], target: Float[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """|d - d*| / d* of warped meters, which penalizes too large depths more than too small ones."""
    # Clamped at a tenfold depth; without a bound, sky predicted indoors would dominate the gradient.
    return (_log_meters(value) - _log_meters(target)).clamp(max=_MOST_FAR).expm1().abs()


def gradient_matching(residual: Float[Tensor, "b h w"], weight: Float[Tensor, "b h w"]) -> Float[Tensor, ""]:
    """Mean absolute slope of the residual over 4 scales (stride 1 to 8), which aligns edges with those of the label.

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


def laplace_nll(error: Float[Tensor, "b h w"], spread: Float[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """Negative log likelihood of this error under a Laplace distribution of this scale, up to a constant."""
    return error.abs() / spread + spread.log()


def _log_meters(warped: Float[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    # ln(unwarp(f)) up to ln 10, which cancels.
    return (torch.rsqrt(1.0 - warped.clamp(min=_NEAREST_WARP, max=FAR_WARP)) - 1.0).log()
