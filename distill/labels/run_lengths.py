"""Masks as COCO run lengths, readable with ``pycocotools.mask.decode``.

Runs follow the columns, background first, and are written as text: every length (from the third on, its difference to
the second-last one) in groups of five bits, low bits first, plus 48. Source: ``rleToString`` in
``common/maskApi.c`` of cocodataset/cocoapi.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Int64, Shaped
from numpy import ndarray

_MAX_GROUPS = 13
"""Five bits each: 64 bits and the sign."""


def encode_rle(mask: Bool[ndarray, "h w"]) -> dict[str, Any]:
    """COCO's ``segmentation`` of a mask: ``{"size": [h, w], "counts": text}``."""
    starts, stops = runs_of(find_runs(mask.astype(np.uint8)), 1)
    return segmentation(mask.shape, starts, stops)


def decode_rle(values: dict[str, Any]) -> Bool[ndarray, "h w"]:
    """Mask of a ``segmentation``; the inverse of `encode_rle`.

    Raises:
        ValueError: The text is damaged, or its lengths do not fill the size.
    """
    height, width = values["size"]
    lengths = _from_text(values["counts"])
    if any(length < 0 for length in lengths) or sum(lengths) != height * width:
        raise ValueError(f"run lengths that do not fill {width}x{height} pixels")
    inside = np.arange(len(lengths)) % 2 == 1
    return np.repeat(inside, lengths).reshape(width, height).T


def find_runs(ids: Shaped[ndarray, "h w"]) -> tuple[ndarray, ndarray, ndarray]:
    """(start, stop, id) of the runs of equal ids along the columns."""
    flat = np.ascontiguousarray(ids.T).reshape(-1)
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate([[0], changes])[: flat.size]
    return starts, np.concatenate([changes, [flat.size]])[: starts.size], flat[starts]


def runs_of(runs: tuple[ndarray, ndarray, ndarray], number: int) -> tuple[ndarray, ndarray]:
    """(starts, stops) of the runs of one id."""
    starts, stops, ids = runs
    return starts[ids == number], stops[ids == number]


def segmentation(size_hw: tuple[int, ...], starts: ndarray, stops: ndarray) -> dict[str, Any]:
    """COCO's ``segmentation`` of the runs of a mask of this size."""
    height, width = size_hw
    edges = np.stack([starts, stops], 1).reshape(-1)
    lengths = np.diff(np.concatenate([[0], edges, [height * width]]))
    if lengths.size > 1 and lengths[-1] == 0:
        lengths = lengths[:-1]
    return {"size": [height, width], "counts": _to_text(lengths)}


def _to_text(lengths: Int64[ndarray, " n"]) -> str:
    values = lengths.astype(np.int64)
    values[3:] -= lengths[1:-2]
    active = np.ones(values.size, bool)
    groups, used = [], []
    for _ in range(_MAX_GROUPS):
        group, values = values & 31, values >> 5
        more = np.where(group & 16, values != -1, values != 0)
        groups.append((group | (more << 5)) + 48)
        used.append(active)
        active = active & more
        if not active.any():
            break
    text: str = np.stack(groups, 1)[np.stack(used, 1)].astype(np.uint8).tobytes().decode("ascii")
    return text


def _from_text(text: str) -> list[int]:
    lengths: list[int] = []
    value = shift = 0
    for letter in text.encode("ascii"):
        group = letter - 48
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            if shift >= 5 * _MAX_GROUPS:
                raise ValueError("a run length of more than 64 bits")
            continue
        if group & 16:
            value -= 1 << shift
        lengths.append(value + lengths[-2] if len(lengths) > 2 else value)
        value = shift = 0
    return lengths
