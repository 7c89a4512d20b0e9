"""Numbers of map files to values and validity, as described by `distill.config.adapters.MapConfig`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy import ndarray

from distill.config.adapters import MapConfig
from distill.errors import DistillError


def scale_stored(
    stored: Shaped[ndarray, "h w"], config: MapConfig
) -> tuple[Float[ndarray, "h w"], Bool[ndarray, "h w"]]:
    """(float32 values, valid) after scale, offset, invalid values and range."""
    value = stored.astype(np.float32) * np.float32(config.scale) + np.float32(config.offset)
    valid = np.isfinite(value)
    for bad in config.invalid:
        valid &= stored != bad
    if config.min_value is not None:
        valid &= value >= config.min_value
    if config.max_value is not None:
        valid &= value <= config.max_value
    return value, valid


def single_channel(stored: Shaped[ndarray, "h w *c"], path: Path) -> Shaped[ndarray, "h w"]:
    """The channel of a gray map, which may be saved as RGB.

    Raises:
        DistillError: The map has colors.
    """
    if stored.ndim == 2:
        return stored
    if (stored == stored[..., :1]).all():
        return stored[..., 0]
    raise DistillError(f"{path}: has colors instead of one number per pixel", hint="convert it to ids or depths")
