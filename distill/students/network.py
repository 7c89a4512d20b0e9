"""A network of the user's own in the place of backbone and neck; heads, losses, graph and export stay ours.

Its class is found by name, and a name is code: only one that the user gave by hand is imported, on the command line or
in the environment. A run folder or a recipe that someone sent cannot choose it.
"""

from __future__ import annotations

import os
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from distill.config.train import TRUSTED_NETWORKS
from distill.errors import UsageError
from distill.optional import import_named


class OwnNetwork(Protocol):
    """What a class has to offer: ``Class(channels)`` builds an `nn.Module`."""

    def __call__(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b channels h2 w2"]:
        """One map of so many channels, at 1/2 to 1/32 of the picture's size; the picture is normalized."""
        ...


def build_own_network(reference: str, channels: int, size_hw: tuple[int, int]) -> nn.Module:
    """The network behind ``package.module:Class``, tried once at this size.

    Raises:
        UsageError: It was not named by the user, cannot be imported or built, or gives something else.
    """
    if reference not in os.environ.get(TRUSTED_NETWORKS, "").split(","):
        raise UsageError(
            f"this student's network is code of its own, {reference}, which is only run when you name it yourself",
            hint=f"if you trust it: {TRUSTED_NETWORKS}={reference} distill ...",
        )
    try:
        network: Any = import_named(reference)(channels)
        was_training = network.training
        with torch.no_grad():
            found = network.eval()(torch.zeros(1, 3, *size_hw)).shape
        network.train(was_training)
    except Exception as error:  # whatever a stranger's code does
        raise UsageError(
            f"{reference}: cannot be built and run at {size_hw[0]}x{size_hw[1]} px: {type(error).__name__}: {error}",
            hint=f"it must be an nn.Module that is built by Class({channels}) and maps a picture to one map",
        ) from error
    if not isinstance(network, nn.Module) or len(found) != 4 or found[1] != channels:
        raise UsageError(
            f"{reference}: gives a map of shape {tuple(found)}", hint=f"it must be (batch, {channels}, height, width)"
        )
    return network
