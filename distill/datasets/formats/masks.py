"""Masks as polygons and boxes: the pixels of COCO's polygons and of Ultralytics' ones, and instances in layers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from distill.errors import DistillError
from distill.images.file_format import check_pixel_count
from distill.labels import Label
from distill.labels.instance_layers import stack_masks
from distill.labels.run_lengths import decode_rle
from distill.tasks import IGNORE_INSTANCE, Task

MAX_INSTANCES = 10_000
"""In one photo."""
_SCALE = 5
"""Polygons are drawn on a grid that is finer by this factor."""


def polygon_mask(points: Float[ndarray, "n 2"], size_hw: tuple[int, int]) -> Bool[ndarray, "h w"]:
    """Pixels of a COCO polygon, exactly those of ``pycocotools``; points are (x, y).

    Source: ``rleFrPoly`` in ``common/maskApi.c`` of cocodataset/cocoapi.
    """
    height, width = size_hw
    corners = np.trunc(_SCALE * points + 0.5).astype(np.int64)
    x, y = _boundary(np.concatenate([corners, corners[:1]]))
    moves = np.flatnonzero(x[1:] != x[:-1]) + 1
    column = (np.where(x[moves] < x[moves - 1], x[moves], x[moves] - 1) + 0.5) / _SCALE - 0.5
    row = np.minimum(y[moves], y[moves - 1])
    kept = (np.floor(column) == column) & (column >= 0) & (column <= width - 1)
    row_px = np.ceil(np.clip((row[kept] + 0.5) / _SCALE - 0.5, 0, height)).astype(np.int64)
    places = column[kept].astype(np.int64) * height + row_px
    flips = np.bincount(places, minlength=height * width + 1)[: height * width]
    inside: ndarray = (np.cumsum(flips) % 2 == 1).reshape(width, height).T
    return inside


def _boundary(corners: ndarray) -> tuple[ndarray, ndarray]:
    """(x, y) of dense points along the edges between the corners."""
    parts = []
    for (x0, y0), (x1, y1) in zip(corners[:-1].tolist(), corners[1:].tolist(), strict=True):
        dx, dy = abs(x1 - x0), abs(y1 - y0)
        steps = np.arange(max(dx, dy) + 1)
        along_x = dx >= dy
        is_flipped = x0 > x1 if along_x else y0 > y1
        xs, ys, xe, ye = (x1, y1, x0, y0) if is_flipped else (x0, y0, x1, y1)
        order = steps[::-1] if is_flipped else steps
        if along_x:
            slope = (ye - ys) / dx if dx else 0.0
            parts.append((order + xs, np.trunc(ys + slope * order + 0.5).astype(np.int64)))
        else:
            slope = (xe - xs) / dy
            parts.append((np.trunc(xs + slope * order + 0.5).astype(np.int64), order + ys))
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def outline(mask: Bool[ndarray, "h w"]) -> list[ndarray]:
    """(x, y) corner pixels of the outer outline of each part of a mask; holes are left out."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [part.reshape(-1, 2) for part in found]


def join_outlines(parts: Sequence[ndarray]) -> ndarray:
    """One closed outline through several: there and back along the shortest lines, which enclose nothing."""
    joined = parts[0]
    for part in sorted(parts[1:], key=lambda part: float(_gap(parts[0], part)[0])):
        _, at, start = _gap(joined, part)
        rolled = np.roll(part, -start, axis=0)
        joined = np.concatenate([joined[: at + 1], rolled, rolled[:1], joined[at:]])
    return joined


def _gap(first: ndarray, second: ndarray) -> tuple[float, int, int]:
    """(distance, index, index) of the nearest points of two outlines."""
    from scipy.spatial import cKDTree

    distances, places = cKDTree(first).query(second)
    start = int(distances.argmin())
    return float(distances[start]), int(places[start]), start


def fill(points: ndarray, size_hw: tuple[int, int]) -> Bool[ndarray, "h w"]:
    """Pixels of an outline of whole (x, y) pixels, its border included, as Ultralytics fills it."""
    mask = np.zeros(size_hw, np.uint8)
    cv2.fillPoly(mask, [points.astype(np.int32).reshape(-1, 1, 2)], 1)
    return mask.astype(bool)


def bounding_box(mask: Bool[ndarray, "h w"]) -> list[int]:
    """[x, y, width, height] of the true pixels."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return [0, 0, 0, 0]
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1]


def instance_label(
    masks: Mapping[int, Bool[ndarray, "h w"]],
    names: Mapping[int, str],
    size_hw: tuple[int, int],
    classes: Sequence[str],
    ignore: Bool[ndarray, "h w"] | None = None,
) -> Label:
    """The label of these masks: of two at a pixel, the smaller one is in front.

    Args:
        masks: Instance id to mask; those without a pixel are left out.
        names: Instance id to class.
        size_hw: Of the photo.
        classes: All classes of the data set.
        ignore: Pixels without a label, where no instance is.
    """
    sizes = {number: int(np.count_nonzero(mask)) for number, mask in masks.items()}
    order = sorted((number for number in masks if sizes[number]), key=lambda number: (sizes[number], number))
    front, *behind = stack_masks(((number, masks[number]) for number in order), size_hw)
    valid = np.ones(size_hw, bool) if ignore is None else ~ignore | (front > 0)
    return Label(
        Task.INSTANCE,
        np.where(valid, front, IGNORE_INSTANCE).astype(np.uint16),
        valid,
        valid.astype(np.float32),
        classes=tuple(classes),
        instance_classes={number: names[number] for number in sorted(order)},
        layers=tuple(behind),
    )


def check_count(count: int, where: str) -> None:
    """Raise if a photo has an absurd number of instances.

    Raises:
        DistillError: It has.
    """
    if count > MAX_INSTANCES:
        raise DistillError(f"{where}: {count} instances in one photo, over the limit of {MAX_INSTANCES}")


def decode_segmentation(values: Any, size_hw: tuple[int, int], where: str) -> Bool[ndarray, "h w"]:
    """Mask of a ``segmentation``: polygons, run lengths as numbers, or as text.

    Raises:
        DistillError: It is none of these, or damaged.
    """
    try:
        if isinstance(values, list) and values:
            mask = np.zeros(size_hw, bool)
            for polygon in values:
                points = np.array(polygon, np.float64)
                if points.ndim != 1 or points.size < 6 or points.size % 2 or not np.isfinite(points).all():
                    raise ValueError("a polygon needs three or more points x, y")
                # Points far outside would take memory for nothing.
                limit = 4 * max(size_hw)
                if np.abs(points).max() > limit:
                    raise ValueError(f"a polygon reaches {np.abs(points).max():.0f} px")
                mask |= polygon_mask(points.reshape(-1, 2), size_hw)
            return mask
        if isinstance(values, dict):
            height, width = values["size"]
            if (height, width) != size_hw:
                raise ValueError(f"run lengths of {width}x{height} px, and the photo has {size_hw[1]}x{size_hw[0]}")
            check_pixel_count((width, height), where)
            counts = values["counts"]
            return decode_rle(values) if isinstance(counts, str) else _from_numbers(counts, size_hw)
        raise ValueError("neither polygons nor run lengths")
    except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
        raise DistillError(f"{where}: the segmentation is wrong: {error}", hint="export it again") from error


def _from_numbers(counts: list[int], size_hw: tuple[int, int]) -> Bool[ndarray, "h w"]:
    lengths = np.array(counts)
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or (lengths < 0).any():
        raise ValueError("run lengths must be whole numbers")
    if int(lengths.sum()) != math.prod(size_hw):
        raise ValueError(f"run lengths of {int(lengths.sum())} pixels")
    mask: ndarray = np.repeat(np.arange(lengths.size) % 2 == 1, lengths).reshape(size_hw[::-1]).T
    return mask
