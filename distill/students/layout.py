"""How pictures and weights lie in memory while a student is trained."""

from __future__ import annotations

import torch
from torch import nn

_FEW_CHANNELS = 16


def memory_format(network: nn.Module, device: torch.device) -> torch.memory_format:
    """Channels last, which is the faster order; the plain one where that is not safe.

    On CPUs, torch 2.14 writes beyond its memory in the backward pass of a convolution of 1x1 with a stride over few
    channels last (FastViT and MobileOne begin with one): the process dies, now or later.
    """
    if device.type == "cpu" and any(_writes_beyond(layer) for layer in network.modules()):
        return torch.contiguous_format
    return torch.channels_last


def _writes_beyond(layer: nn.Module) -> bool:
    return (
        isinstance(layer, nn.Conv2d)
        and layer.kernel_size == (1, 1)
        and max(layer.stride) > 1
        and layer.in_channels // layer.groups < _FEW_CHANNELS
    )
