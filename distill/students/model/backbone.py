"""Feature pyramids from timm backbones of any layout and strides, and custom networks."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from distill.config.train import TRUSTED_BACKBONES
from distill.errors import DistillError, UsageError
from distill.optional import import_named

_PROBE_S = 5.0
"""Time limit for the hub's answer. Its own client retries for 46 s per file without a network."""


class Backbone(nn.Module):
    """A timm trunk that returns its levels from fine to coarse, channels first.

    Attributes:
        channels: Of each level.
        strides: Of each level, relative to the input.
    """

    def __init__(self, trunk: nn.Module, *, finest_stride: int, size_hw: tuple[int, int]) -> None:
        super().__init__()
        self.trunk = trunk
        self._is_nhwc = str(getattr(trunk, "output_fmt", "NCHW")).endswith("NHWC")
        info: Any = trunk.feature_info
        strides = list(info.reduction())
        # Levels finer than the heads are not needed; a trunk that starts coarser returns all of its levels.
        self._first = next((i for i, stride in enumerate(strides) if stride >= finest_stride), len(strides) - 1)
        self.channels = tuple(info.channels()[self._first :])
        self.strides = tuple(strides[self._first :])
        self._check(size_hw)

    def _check(self, size_hw: tuple[int, int]) -> None:
        """Run once at the working size: some trunks only fail here if it does not suit them."""
        was_training = self.training
        with torch.no_grad():
            levels = self.eval()(torch.zeros(1, 3, *size_hw))
        self.train(was_training)
        found = tuple(level.shape[1] for level in levels)
        if found != self.channels:
            raise ValueError(f"has {found} channels, but declares {self.channels}")

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
        """The levels, fine to coarse, each (b, c, h, w)."""
        levels = self.trunk(image)[self._first :]
        return [level.permute(0, 3, 1, 2) for level in levels] if self._is_nhwc else list(levels)


def build_backbone(name: str, *, pretrained: bool, finest_stride: int, size_hw: tuple[int, int]) -> Backbone:
    """The timm backbone of this name, at this working size.

    Raises:
        UsageError: timm has no such model, it has no feature maps, or it cannot work at this size.
        DistillError: Its weights cannot be downloaded.
    """
    import timm

    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('_', maxsplit=1)[0]}*")[:3]
        raise UsageError(
            f"timm has no model named {name!r}",
            hint=f"for example {', '.join(near) or 'mobilenetv4_conv_small'}; timm.list_models() lists all",
        )
    failure: Exception | None = None
    # Transformers with absolute positions need the size; convolutional trunks refuse the argument.
    choices: tuple[dict[str, Any], ...] = ({}, {"img_size": size_hw})
    for arguments in choices:
        try:
            with _hub(pretrained):
                trunk = timm.create_model(name, pretrained=pretrained, features_only=True, **arguments)
            return Backbone(trunk, finest_stride=finest_stride, size_hw=size_hw)
        except OSError as error:
            raise DistillError(
                f"the pretrained weights of {name} cannot be downloaded: the Hugging Face hub does not answer",
                hint="set student.pretrained=false, or put them into the Hugging Face cache (HF_HOME) first",
            ) from error
        except (RuntimeError, AssertionError, TypeError, ValueError, AttributeError, IndexError) as error:
            failure = failure or error
    reason = str(failure).split("\n")[0]
    raise UsageError(
        f"the backbone {name} has no feature maps at {size_hw[0]}x{size_hw[1]} px: {reason}",
        hint="choose another student.backbone, or another student.size_hw",
    ) from failure


def normalization(name: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """(mean, std) of the input that the backbone's published weights expect."""
    import timm

    config: Any = timm.get_pretrained_cfg(name)
    if config is None:
        return (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return config.mean, config.std


@contextlib.contextmanager
def _hub(wanted: bool) -> Iterator[None]:
    """Context in which the hub's client only uses its cache if the hub does not answer soon."""
    from huggingface_hub import constants

    if not wanted or constants.HF_HUB_OFFLINE or _hub_answers(constants.ENDPOINT):
        yield
        return
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = False


def _hub_answers(endpoint: str) -> bool:
    from huggingface_hub import get_session

    try:
        get_session().head(endpoint, timeout=_PROBE_S)
    except Exception:  # the client's own error types changed between its versions
        return False
    return True


_FEW_CHANNELS = 16


def memory_format(network: nn.Module, device: torch.device) -> torch.memory_format:
    """Channels last, which is faster, or the default order where channels last is not safe.

    On CPUs, torch 2.14 writes out of bounds in the backward pass of a strided 1x1 convolution over few channels in
    channels-last order (FastViT and MobileOne start with one): the process crashes, immediately or later.
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


@runtime_checkable
class CustomBackbone(Protocol):
    """Interface of a custom network: ``Class(channels)`` builds an `nn.Module`."""

    def __call__(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b channels h2 w2"]:
        """One map of this many channels at 1/2 to 1/32 of the image's size; the image is normalized."""
        ...


def build_custom_backbone(reference: str, channels: int, size_hw: tuple[int, int]) -> nn.Module:
    """The network behind ``package.module:Class``, tried once at this size.

    Raises:
        UsageError: It is not listed by the user, cannot be imported or built, or returns a map of another shape.
    """
    if reference not in os.environ.get(TRUSTED_BACKBONES, "").split(","):
        raise UsageError(
            f"this student's network is custom code, {reference}, which only runs if you allow it",
            hint=f"if you trust it: {TRUSTED_BACKBONES}={reference} distill ...",
        )
    try:
        network: Any = import_named(reference)(channels)
        was_training = network.training
        with torch.no_grad():
            found = network.eval()(torch.zeros(1, 3, *size_hw)).shape
        network.train(was_training)
    except Exception as error:  # foreign code can raise anything
        raise UsageError(
            f"{reference}: cannot be built and run at {size_hw[0]}x{size_hw[1]} px: {type(error).__name__}: {error}",
            hint=f"it must be an nn.Module that is built by Class({channels}) and maps an image to one map",
        ) from error
    if not isinstance(network, nn.Module) or len(found) != 4 or found[1] != channels:
        raise UsageError(
            f"{reference}: returns a map of shape {tuple(found)}", hint=f"it must be (batch, {channels}, height, width)"
        )
    return network
