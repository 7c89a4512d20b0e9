"""Light neck: fuses the levels of a feature pyramid into one map at the size of the finest level."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


def separable(channels_in: int, channels_out: int) -> nn.Sequential:
    """Depthwise 3x3, pointwise 1x1, norm, ReLU: a ninth of the cost of a full 3x3 convolution of equal width."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_in, 3, padding=1, groups=channels_in, bias=False),
        nn.Conv2d(channels_in, channels_out, 1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


class FpnNeck(nn.Module):
    """Feature pyramid network: adds coarse levels to finer ones."""

    def __init__(self, channels_in: Sequence[int], channels: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(
            nn.Sequential(nn.Conv2d(wide, channels, 1, bias=False), nn.BatchNorm2d(channels)) for wide in channels_in
        )
        self.smooths = nn.ModuleList(separable(channels, channels) for _ in channels_in)

    def forward(self, levels: list[Tensor]) -> Float[Tensor, "b c h w"]:
        """The fused map; `levels` run from fine to coarse."""
        return self.pyramid(levels)[0]

    def pyramid(self, levels: list[Tensor]) -> list[Tensor]:
        """The fused map of every level, from fine to coarse."""
        fused = self.smooths[-1](self.laterals[-1](levels[-1]))
        maps = [fused]
        for level, lateral, smooth in zip(
            reversed(levels[:-1]), reversed(self.laterals[:-1]), reversed(self.smooths[:-1]), strict=True
        ):
            here = lateral(level)
            above = F.interpolate(fused, size=here.shape[-2:], mode="bilinear", align_corners=False)
            fused = smooth(torch.add(here, above))
            maps.insert(0, fused)
        return maps
