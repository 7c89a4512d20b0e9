"""One head per task: raw maps for the losses, final values for users.

A head's *raw* map is at head stride. `activate` gives what the losses compare; `postprocess` gives what users get, at any
size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from distill.students.model.neck import separable
from distill.students.model.resample import upsample, upsample_ids, upsample_vectors
from distill.tasks import FAR_WARP, DepthKind

Outputs = dict[str, Tensor]

_WITHIN_RATIO = 0.25
"""Metric depth is "right" within this share of itself: the 1.25 of delta1."""
_WITHIN_RELATIVE = 0.05
"""A relative depth is "right" within this part of its [0, 1] range."""
_WITHIN_ANGLE = math.radians(22.5)
"""A normal is "right" within this angle: the middle one of the usual thresholds."""

_PEAK_WINDOW = 7
"""Pixels at head stride around a center in which no other one is looked for; source: Panoptic-DeepLab."""
_LOW_SCORE = 0.1
"""Heat below which a peak is no center; the same source."""


class DepthHead(nn.Module):
    """Depth and the spread (Laplace) that is expected around it.

    Metric depth is predicted as its warp 1 - (1 + d/10)^-2, in [0, warp of 90 m]; relative depth as it is, in [0, 1].
    """

    def __init__(self, channels_in: int, channels: int, depth_kind: DepthKind) -> None:
        super().__init__()
        self.depth_kind = depth_kind
        self.layers = _layers(channels_in, channels, 2)

    def forward(self, fused: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 2 h w"]:
        """The raw map."""
        return self.layers(fused)

    def activate(self, raw: Float[Tensor, "b 2 h w"]) -> tuple[Float[Tensor, "b h w"], Float[Tensor, "b h w"]]:
        """(warped or relative depth in [0, 1], its expected absolute error in the same unit)."""
        top = FAR_WARP if self.depth_kind is DepthKind.METRIC else 1.0
        # The floor of 0.002 is half a painted level; without it the likelihood can fall without bound.
        return raw[:, 0].sigmoid() * top, F.softplus(raw[:, 1]) * 0.1 + 0.002

    def postprocess(self, raw: Float[Tensor, "b 2 h w"], size_hw: tuple[int, int]) -> Outputs:
        """``depth`` in meters or in the depth kind's [0, 1]; ``depth_confidence``: chance to be within 25 % (or 0.05)."""
        value, spread = self.activate(raw)
        confidence = 1.0 - torch.exp(-self._tolerance(value) / spread)
        value = upsample(value, size_hw)
        if self.depth_kind is DepthKind.METRIC:
            # unwarp_depth(f) for the default constants; a square root is ten times faster than a power in every engine.
            value = 10.0 * (torch.rsqrt(1.0 - value) - 1.0)
        return {"depth": value, "depth_confidence": upsample(confidence, size_hw)}

    def _tolerance(self, value: Tensor) -> Tensor:
        if self.depth_kind is not DepthKind.METRIC:
            return torch.full_like(value, _WITHIN_RELATIVE)
        # 0.25 d moved into the warp by its slope: d f'(d) = 2 (u - u^1.5) with u = 1 - f.
        rest = 1.0 - value
        return _WITHIN_RATIO * 2.0 * (rest - rest * rest.sqrt())


class NormalsHead(nn.Module):
    """Unit normals and the concentration kappa of the angular von Mises-Fisher distribution around them."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.layers = _layers(channels_in, channels, 4)

    def forward(self, fused: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 4 h w"]:
        """The raw map."""
        return self.layers(fused)

    def activate(self, raw: Float[Tensor, "b 4 h w"]) -> tuple[Float[Tensor, "b 3 h w"], Float[Tensor, "b h w"]]:
        """(unit vectors, kappa > 0)."""
        return _unit(raw[:, :3]), F.softplus(raw[:, 3]) + 0.01

    def postprocess(self, raw: Float[Tensor, "b 4 h w"], size_hw: tuple[int, int]) -> Outputs:
        """``normals`` (b, h, w, 3) of unit length; ``normals_confidence``: chance to be within 22.5 degrees."""
        vector, kappa = self.activate(raw)
        confidence = angmf_probability_within(kappa, _WITHIN_ANGLE)
        return {
            "normals": upsample_vectors(vector, size_hw),
            "normals_confidence": upsample(confidence, size_hw),
        }


class SemanticHead(nn.Module):
    """Class scores."""

    def __init__(self, channels_in: int, channels: int, num_classes: int) -> None:
        super().__init__()
        self.layers = _layers(channels_in, channels, num_classes)

    def forward(self, fused: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k h w"]:
        """The raw map: logits."""
        return self.layers(fused)

    def postprocess(
        self, raw: Float[Tensor, "b k h w"], size_hw: tuple[int, int], decide_hw: tuple[int, int]
    ) -> Outputs:
        """``semantic`` uint8 (b, h, w); ``semantic_confidence``: the softmax of the chosen class.

        Args:
            raw: Logits at head stride.
            size_hw: The size wanted.
            decide_hw: The size at which classes are compared.
        """
        logits = F.interpolate(raw, size=decide_hw, mode="bilinear", align_corners=False)
        highest, index = logits.max(dim=1)
        confidence = 1.0 / (logits - highest[:, None]).exp().sum(dim=1)
        return {
            "semantic": upsample_ids(index.to(torch.int32), size_hw).to(torch.uint8),
            "semantic_confidence": upsample(confidence, size_hw),
        }


class InstanceHead(nn.Module):
    """A heat map of instance centers, and from every pixel the way to its center, in parts of the picture's sides.

    Source: Panoptic-DeepLab, arXiv 1911.10194; pixels are grouped inside the graph.
    """

    things: Tensor

    def __init__(self, channels_in: int, channels: int, things: Sequence[int], max_instances: int) -> None:
        """Prepare the layers.

        Args:
            channels_in: Of the fused map.
            channels: Of the head's own layer.
            things: The semantic classes that have instances.
            max_instances: In one picture.
        """
        super().__init__()
        self.layers = _layers(channels_in, channels, 3)
        self.max_instances = max_instances
        self.register_buffer("things", torch.tensor(list(things), dtype=torch.int32), persistent=False)

    def forward(self, fused: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 h w"]:
        """The raw map."""
        return self.layers(fused)

    def activate(self, raw: Float[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b h w"], Float[Tensor, "b 2 h w"]]:
        """(heat in [0, 1], way to the center as (down, right) in parts of the sides)."""
        # A start near no center anywhere: most pixels are none, and would own the first steps.
        return (raw[:, 0] - 3.0).sigmoid(), raw[:, 1:].tanh()

    def postprocess(self, raw: Float[Tensor, "b 3 h w"], classes: Outputs, size_hw: tuple[int, int]) -> Outputs:
        """``instance`` uint8 (b, h, w), 0 = background; ``instance_confidence``: the heat of the pixel's center.

        Args:
            raw: At head stride.
            classes: ``semantic`` and ``semantic_confidence`` at the size wanted.
            size_hw: The size wanted.
        """
        heat, way = self.activate(raw)
        score, center = self._centers(heat)
        ids, sure = self._nearest(way, score, center)
        is_thing = (classes["semantic"].to(torch.int32)[..., None] == self.things).any(dim=-1)
        ids, sure = upsample_ids(ids, size_hw), upsample(sure, size_hw)
        return {
            "instance": torch.where(is_thing, ids, torch.zeros_like(ids)).to(torch.uint8),
            "instance_confidence": torch.where(is_thing, sure, classes["semantic_confidence"]),
        }

    def _centers(self, heat: Float[Tensor, "b h w"]) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b k 2"]]:
        """(heat, place as (down, right) in [0, 1]) of the hottest peaks."""
        height, width = heat.shape[1:]
        peak = F.max_pool2d(heat[:, None], _PEAK_WINDOW, stride=1, padding=_PEAK_WINDOW // 2)[:, 0]
        flat = torch.where(heat >= peak, heat, torch.zeros_like(heat)).flatten(1)
        score, index = flat.topk(min(self.max_instances, height * width), dim=1)
        down = torch.div(index, width, rounding_mode="floor")
        place = torch.stack([(down + 0.5) / height, (index - down * width + 0.5) / width], dim=2)
        return score, place

    def _nearest(
        self, way: Float[Tensor, "b 2 h w"], score: Float[Tensor, "b k"], center: Float[Tensor, "b k 2"]
    ) -> tuple[Int[Tensor, "b h w"], Float[Tensor, "b h w"]]:
        """(1 + the center that each pixel points at, its heat); 0 where no peak is hot enough."""
        height, width = way.shape[2:]
        rows = (torch.arange(height, device=way.device) + 0.5) / height
        columns = (torch.arange(width, device=way.device) + 0.5) / width
        down = (rows[:, None] + way[:, 0])[:, None] - center[:, :, 0, None, None]
        right = (columns + way[:, 1])[:, None] - center[:, :, 1, None, None]
        low_score = (score < _LOW_SCORE).to(way.dtype)[:, :, None, None]
        _, nearest = (down * down + right * right + 100.0 * low_score).min(dim=1)
        sure = score.gather(1, nearest.flatten(1)).view_as(nearest)
        ids = torch.where(sure < _LOW_SCORE, torch.zeros_like(nearest), nearest + 1)
        return ids.to(torch.int32), sure


def angmf_probability_within(kappa: Tensor, angle_rad: float) -> Tensor:
    """The probability that a direction of concentration kappa lies within this angle of its mean.

    The density over the sphere is proportional to exp(-kappa theta); integrated over theta with the area sin(theta).
    """
    tail = torch.exp(-kappa * angle_rad) * (math.cos(angle_rad) + kappa * math.sin(angle_rad))
    return (1.0 - tail) / (1.0 + torch.exp(-kappa * math.pi))


def _layers(channels_in: int, channels: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(separable(channels_in, channels), nn.Conv2d(channels, channels_out, 1))


def _unit(vector: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    return vector * torch.rsqrt((vector * vector).sum(dim=1, keepdim=True) + 1e-12)
