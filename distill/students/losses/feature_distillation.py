"""Features of a large pretrained network as a second teacher: the student's own are drawn toward them.

The frozen network and the layer that maps one space onto the other are needed while a student learns, and left behind.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from distill.config.loss import FeatureDistillationConfig
from distill.students.model.backbone import Backbone, build_backbone, normalization

_LAST_LEVEL = 10**9
"""A stride that no network has: the coarsest level is taken."""


class FeatureDistillation(nn.Module):
    """1 - cos between the student's fused map, mapped by one learned layer, and the frozen network's last level."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: FeatureDistillationConfig, frozen: Backbone, channels: int) -> None:
        super().__init__()
        self._weight, self._size_hw = config.weight, config.size_hw
        # In a list it is no submodule: its weights do not belong into checkpoints, averages or the optimizer.
        self._frozen = [frozen.eval().requires_grad_(False)]
        self.project = nn.Conv2d(channels, frozen.channels[-1], 1)
        mean, std = normalization(config.backbone)
        self.register_buffer("mean", 255.0 * torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", 1.0 / (255.0 * torch.tensor(std)).view(1, 3, 1, 1), persistent=False)

    def forward(self, fused: Float[Tensor, "b c h w"], image: Float[Tensor, "b 3 h2 w2"]) -> Float[Tensor, ""]:
        """The weighted loss; the image is RGB in 0..255, as the student sees it."""
        wanted = self._look(image)
        # Averaged down to the coarser grid: interpolation between its cells would invent features.
        found = self.project(F.adaptive_avg_pool2d(fused, wanted.shape[-2:]))
        return self._weight * (1.0 - F.cosine_similarity(found, wanted, dim=1)).mean()

    @torch.no_grad()
    def _look(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        frozen = self._frozen[0].to(image.device)
        resized = F.interpolate(image, size=self._size_hw, mode="bilinear", align_corners=False, antialias=True)
        return frozen((resized - self.mean) * self.scale)[-1].float()


def build_feature_distillation(config: FeatureDistillationConfig, channels: int) -> FeatureDistillation | None:
    """The feature distillation that the config asks for; None at weight 0.

    Raises:
        UsageError: The network is unknown or cannot work at its size.
        DistillError: Its weights cannot be had.
    """
    if config.weight == 0:
        return None
    frozen = build_backbone(
        config.backbone, pretrained=config.pretrained, finest_stride=_LAST_LEVEL, size_hw=config.size_hw
    )
    return FeatureDistillation(config, frozen, channels)
