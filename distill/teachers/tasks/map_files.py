"""Numbers of map files to values and validity, as described by `distill.config.maps.MapConfig`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from numpy import ndarray

from distill.config.maps import MapConfig
from distill.errors import DistillError
from distill.labels import Label
from distill.tasks import TASKS


def unpack(stored: Shaped[ndarray, "h w *c"], packing: str, path: Path) -> Shaped[ndarray, "h w *d"]:
    """Numbers of a map that stores them in another form; see `distill.config.maps.MapConfig.packing`.

    Raises:
        DistillError: The map does not have this form.
    """
    if packing == "rotated_bits":
        if stored.dtype != np.uint16 or stored.ndim != 2:
            raise DistillError(f"{path}: rotated bits need a gray image of 16 bits", hint="remove packing")
        return (stored >> 3) | (stored << 13)
    if packing == "float_bytes":
        if stored.dtype != np.uint8 or stored.ndim != 3 or stored.shape[2] != 4:
            raise DistillError(f"{path}: the bytes of floats need four channels of 8 bits", hint="remove packing")
        # The files are written from memory by OpenCV, whose order is B, G, R, A.
        in_file_order = np.ascontiguousarray(stored[..., [2, 1, 0, 3]])
        values: ndarray = in_file_order.view("<f4")[..., 0]
        return values
    return stored


def mask_label(label: Label, mask: Shaped[ndarray, "h w *c"], path: Path) -> Label:
    """The label where the mask is not 0.

    Raises:
        DistillError: The mask has another size or colors.
    """
    keep = single_channel(mask, path) != 0
    if keep.shape != label.size_hw:
        raise DistillError(
            f"{path}: the mask has shape {keep.shape}, its map {label.size_hw}", hint="fix valid in the config"
        )
    valid = label.valid & keep
    value = label.value
    if value.dtype.kind == "u":
        value = np.where(valid, value, value.dtype.type(TASKS[label.task].ignore))
    return replace(label, value=value, valid=valid, confidence=np.where(valid, label.confidence, np.float32(0)))


def scale_stored(
    stored: Shaped[ndarray, "h w"], config: MapConfig
) -> tuple[Float[ndarray, "h w"], Bool[ndarray, "h w"]]:
    """(float32 values, valid) after scale, offset, invalid values and range."""
    value = stored.astype(np.float32) * np.float32(config.scale) + np.float32(config.offset)
    if config.focal_baseline_px_m is not None:
        value = np.float32(config.focal_baseline_px_m) / np.where(value > 0, value, np.float32(np.nan))
    valid = np.isfinite(value)
    for bad in config.invalid:
        valid &= stored != bad
    if config.min_value is not None:
        valid &= value >= config.min_value
    if config.max_value is not None:
        valid &= value <= config.max_value
    return value, valid


def whole_numbers(
    stored: Shaped[ndarray, "h w"], invalid: Sequence[float], where: str
) -> tuple[Int[ndarray, "h w"], Bool[ndarray, "h w"]]:
    """(ids as integers, where they are known): not listed as invalid, and not NaN.

    Raises:
        DistillError: A value is not a whole number.
    """
    known = np.ones(stored.shape, bool)
    for bad in invalid:
        known &= stored != bad
    if stored.dtype.kind == "b":
        return stored.astype(np.uint8), known
    if stored.dtype.kind in "iu":
        return stored, known
    known &= ~np.isnan(stored)
    whole = np.where(known, stored, 0)
    ids = np.clip(whole, -(2**53), 2**53).astype(np.int64)
    if (ids != whole).any():
        shown = float(whole[ids != whole][0])
        raise DistillError(f"{where}: ids are whole numbers, and this map has {shown:g}", hint="store ids as integers")
    return ids, known


def single_channel(stored: Shaped[ndarray, "h w *c"], path: Path) -> Shaped[ndarray, "h w"]:
    """The channel of a gray map, which may be saved as RGB.

    Raises:
        DistillError: The map has colors.
    """
    if stored.ndim == 2:
        return stored
    if stored.shape[2] > 4:
        raise DistillError(
            f"{path}: has shape {stored.shape} instead of one number per pixel",
            hint="store one map per file; of scores per class, the id of the largest",
        )
    if (stored == stored[..., :1]).all():
        return stored[..., 0]
    raise DistillError(
        f"{path}: has colors instead of one number per pixel",
        hint="name the classes of the colors in colors, or the weights of the channels in channels",
    )


def weigh_channels(stored: Shaped[ndarray, "h w *c"], weights: Sequence[float], path: Path) -> Shaped[ndarray, "h w"]:
    """Sum of the channels with these weights.

    Raises:
        DistillError: The map has fewer channels.
    """
    planes = stored if stored.ndim == 3 else stored[..., None]
    if planes.shape[2] < len(weights):
        raise DistillError(f"{path}: has {planes.shape[2]} channels, fewer than channels", hint="fix channels")
    parts = zip(np.moveaxis(planes, -1, 0), weights, strict=False)
    total = sum(plane.astype(np.float64) * weight for plane, weight in parts)
    return np.asarray(total)


def ids_of_colors(stored: Shaped[ndarray, "h w *c"], config: MapConfig, path: Path) -> Int[ndarray, "h w"]:
    """Position in ``config.colors`` of every pixel's color.

    Raises:
        DistillError: The map is not 8-bit RGB, or has a color that is not listed.
    """
    if stored.ndim != 3 or stored.shape[2] != 3 or stored.dtype != np.uint8:
        raise DistillError(f"{path}: has no 8-bit colors", hint="remove colors from the config, or fix the pattern")
    codes = stored @ np.array([1 << 16, 1 << 8, 1], np.int32)
    known = np.array([(red << 16) + (green << 8) + blue for red, green, blue in config.colors.values()], np.int32)
    order = np.argsort(known)
    ids: ndarray = order[np.searchsorted(known[order], codes).clip(max=len(known) - 1)]
    other = known[ids] != codes
    if other.any():
        shown = stored[other][0].tolist()
        raise DistillError(
            f"{path}: color {shown} is not in colors ({other.mean():.1%} of the pixels have such colors)",
            hint="add it to colors with the name ignore, or store the map without loss",
        )
    return ids


def z_depth_of_rays(distance: Float[ndarray, "h w"], focal_px: float) -> Float[ndarray, "h w"]:
    """Distance from the camera plane, of distances along the rays of a camera with its center in the middle."""
    height, width = distance.shape
    u = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / np.float32(focal_px)
    v = (np.arange(height, dtype=np.float32) + 0.5 - height / 2) / np.float32(focal_px)
    z_depth: ndarray = distance / np.sqrt(1 + u[None] ** 2 + v[:, None] ** 2)
    return z_depth
