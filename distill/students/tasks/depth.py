"""Depth: metric depth is learned on its warp 1 - (1 + d/10)^-2, relative depth without scale and shift."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional as F

from distill.config.train import StudentConfig
from distill.spec import DepthSpec, StudentSpec
from distill.students.losses.depth import depth_loss
from distill.students.losses.reduction import LIKE_SHAPES, correlation, mean_per_image, normalize
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
)
from distill.tasks import FAR_WARP, DepthKind, Task, unwarp_depth, warp_depth

_WITHIN_RATIO = 0.25
"""Metric depth counts as correct within this fraction of itself: the 1.25 of delta1."""
_WITHIN_RELATIVE = 0.05
"""Relative depth counts as correct within this part of its [0, 1] range."""
_MAX_RATIO = 1.25
_BINS, _NEAREST_M, _LOG_RANGE = 1024, 0.05, math.log(100.0 / 0.05)
"""Histogram of depths from 5 cm to 100 m, 0.7 % per bin."""


class DepthHead(TaskHead):
    """Depth and its expected absolute error (Laplace scale).

    Metric depth is predicted as its warp, in [0, warp of 90 m]; relative depth directly, in [0, 1].
    """

    def __init__(self, channels_in: int, channels: int, depth_kind: DepthKind) -> None:
        super().__init__()
        self.depth_kind = depth_kind
        self.layers = head_layers(channels_in, channels, 2)

    def activate(self, raw: Float[Tensor, "b 2 h w"]) -> tuple[Float[Tensor, "b h w"], Float[Tensor, "b h w"]]:
        """(warped or relative depth in [0, 1], its expected absolute error in the same unit)."""
        top = FAR_WARP if self.depth_kind is DepthKind.METRIC else 1.0
        # The minimum of 0.002 is half an 8-bit level; without it the likelihood can fall without bound.
        return raw[:, 0].sigmoid() * top, F.softplus(raw[:, 1]) * 0.1 + 0.002

    def postprocess(self, raw: Float[Tensor, "b 2 h w"], context: PostprocessContext) -> Outputs:
        """``depth`` in meters or in [0, 1]; ``depth_confidence``: probability to be within 25 % (or 0.05)."""
        value, spread = self.activate(raw)
        confidence = 1.0 - torch.exp(-self._tolerance(value) / spread)
        value = upsample(value, context.size_hw)
        if self.depth_kind is DepthKind.METRIC:
            # unwarp_depth(f) for the default constants; a square root is ten times faster than a power in every engine.
            value = 10.0 * (torch.rsqrt(1.0 - value) - 1.0)
        return {"depth": value, "depth_confidence": upsample(confidence, context.size_hw)}

    def losses(self, inputs: LossInputs) -> TaskLoss:
        """The terms of `depth_loss`."""
        config = inputs.config.depth
        value, spread = self.activate(inputs.raw)
        terms = depth_loss(
            value, spread, inputs.target, inputs.weight, config, self.depth_kind, inputs.config.trim_fraction
        )
        return TaskLoss({name: config.weight * term for name, term in terms.items()}, value)

    def label_error(
        self, raw: Float[Tensor, "b 2 h w"], target: Float[Tensor, "b h w"], weight: Float[Tensor, "b h w"]
    ) -> Float[Tensor, " b"]:
        """Mean absolute error times (1/4 + 1 - correlation); relative depth is normalized first.

        See `distill.students.losses.reduction.LIKE_SHAPES` for the reason of the correlation.
        """
        value = self.activate(raw)[0]
        shape = 1.0 - correlation(value[:, None], target[:, None], weight)
        if self.depth_kind is not DepthKind.METRIC:
            value, target = normalize(value, weight), normalize(target, weight)
        return mean_per_image((value - target).abs(), weight) * (LIKE_SHAPES + shape)

    def _tolerance(self, value: Float[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
        if self.depth_kind is not DepthKind.METRIC:
            return torch.full_like(value, _WITHIN_RELATIVE)
        # 0.25 d moved into the warp by its slope: d f'(d) = 2 (u - u^1.5) with u = 1 - f.
        rest = 1.0 - value
        return _WITHIN_RATIO * 2.0 * (rest - rest * rest.sqrt())


class MetricDepthScore:
    """Sums of (AbsRel, delta1, pixels), without the sky; then a histogram of the logarithm of the labels."""

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(3 + _BINS, dtype=torch.float64, device=device)

    def update(self, outputs: Mapping[str, Tensor], target: Tensor, weight: Tensor) -> None:
        """Add one batch."""
        valid = (weight > 0) & (target < FAR_WARP)
        meters, truth = outputs["depth"][valid], unwarp_depth(target[valid]).clamp(min=1e-3)
        ratio = torch.maximum(meters / truth, truth / meters.clamp(min=1e-3))
        found = [((meters - truth).abs() / truth).sum(), (ratio < _MAX_RATIO).sum(), valid.sum()]
        place = (torch.log(truth / _NEAREST_M) / _LOG_RANGE * _BINS).long().clamp(0, _BINS - 1)
        histogram = torch.bincount(place, minlength=_BINS).double()
        self.sums += torch.cat([torch.stack([number.double() for number in found]), histogram])

    def compute(self) -> tuple[dict[str, float], float] | None:
        """``depth_abs_rel`` and ``depth_delta1``; the latter is the score."""
        if not bool(self.sums[2] > 0):
            return None
        error, good = (self.sums[:2] / self.sums[2]).tolist()
        return {"depth_abs_rel": error, "depth_delta1": good}, good

    def compare_with_constant(self) -> ConstantComparison | None:
        """Of the best constant depth, to half a bin of the histogram."""
        if not bool(self.sums[2] > 0):
            return None
        counts = self.sums[3:].cpu()
        meters = _NEAREST_M * torch.exp((torch.arange(_BINS, dtype=torch.float64) + 0.5) / _BINS * _LOG_RANGE)
        used = counts > 0
        errors = (meters[used][:, None] - meters[used]).abs() / meters[used] @ counts[used] / counts.sum()
        constant, half_bin = float(errors.min()), _LOG_RANGE / _BINS / 2
        error = float(self.sums[0] / self.sums[2])
        return ConstantComparison("AbsRel", error, constant, error < constant + half_bin, constant < half_bin)


class RelativeDepthScore:
    """Sums of (error after alignment, fraction of pixels with an error below 0.25, images, error of a constant)."""

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(4, dtype=torch.float64, device=device)

    def update(self, outputs: Mapping[str, Tensor], target: Tensor, weight: Tensor) -> None:
        """Add one batch."""
        valid = (weight > 0).float()
        error = (normalize(outputs["depth"], valid) - normalize(target, valid)).abs()
        close = mean_per_image((error < 0.25).float(), valid)
        used = valid.flatten(1).any(dim=1)
        constant = mean_per_image(normalize(target, valid).abs(), valid)
        found = [mean_per_image(error, valid)[used].sum(), close[used].sum(), used.sum(), constant[used].sum()]
        self.sums += torch.stack([number.double() for number in found])

    def compute(self) -> tuple[dict[str, float], float] | None:
        """``depth_aligned_error`` and ``depth_aligned_close``; the latter is the score."""
        if not bool(self.sums[2] > 0):
            return None
        error, good = (self.sums[:2] / self.sums[2]).tolist()
        return {"depth_aligned_error": error, "depth_aligned_close": good}, good

    def compare_with_constant(self) -> ConstantComparison | None:
        """Of the same depth at all pixels, which is the mean of each label after the alignment."""
        if not bool(self.sums[2] > 0):
            return None
        error, constant = float(self.sums[0] / self.sums[2]), float(self.sums[3] / self.sums[2])
        return ConstantComparison("aligned error", error, constant, error < constant - 1e-6, constant < 1e-3)


class DepthTask(StudentTask):
    """Depth on the student side."""

    task = Task.DEPTH

    def output_spec(self, labels: LabelFacts) -> DepthSpec:
        """Depth kind and unit of the output."""
        kind = labels.depth_kind
        if kind is DepthKind.SCALE_INVARIANT:
            # The relative loss leaves the shift open as well, and the spec must not promise more than was learned.
            kind = DepthKind.AFFINE_INVARIANT_DEPTH
        return DepthSpec(depth_kind=kind, unit="m" if kind is DepthKind.METRIC else "none")

    def build_head(self, config: StudentConfig, spec: StudentSpec) -> DepthHead:
        """A new head."""
        assert spec.depth is not None
        return DepthHead(config.neck_channels, config.head_channels, spec.depth.depth_kind)

    def target(self, stored: Shaped[Tensor, "b h w"], depth_kind: DepthKind | None) -> Float[Tensor, "b h w"]:
        """Warped meters, at most `FAR_WARP` (sky is learned as 90 m), or relative depth; in [0, 1]."""
        # torch supports few operations on uint16; a float32 holds its 65536 levels exactly.
        level = stored.to(torch.float32)
        if depth_kind is DepthKind.METRIC:
            return (level / 65535.0).clamp(max=FAR_WARP)
        return ((level - 1.0) / 65534.0).clamp(min=0.0)

    def zoom(
        self, target: Float[Tensor, "b h w"], zoom: Float[Tensor, " b"], depth_kind: DepthKind
    ) -> Float[Tensor, "b h w"]:
        """Metric depth divided by the zoom; the sky stays."""
        if depth_kind is not DepthKind.METRIC:
            return target
        nearer = warp_depth(unwarp_depth(target) / zoom.view(-1, 1, 1))
        return torch.where(target >= FAR_WARP, target, nearer)

    def score(self, spec: StudentSpec, device: torch.device) -> TaskScore:
        """A new validation score."""
        assert spec.depth is not None
        return (MetricDepthScore if spec.depth.depth_kind is DepthKind.METRIC else RelativeDepthScore)(device)


TASK = DepthTask()
