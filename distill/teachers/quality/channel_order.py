"""Order of the color channels of a depth image: with the right one, its colors are on the path of the depth codes."""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.teachers.codecs.colormaps import project, split_reversed

# tuned: benchmarks/damaged_answers.py
_TAU = 30.0
"""Distance to the path beyond which a color is off it; as for depths."""
_OFF, _BETTER = 0.025, 0.4
"""Fraction of pixels off the path from which other orders are tried, and its ratio with the right one. Real images have
at most 0.015, and at least 0.032 with other orders; noise is off the path in every order."""
_LONGEST_PX = 100
"""Every n-th pixel is looked at, so that the longer side has about this many."""


def explain_channels(rgb: UInt8[ndarray, "h w 3"], colormap: str) -> str:
    """The order that the channels of a depth image have in place of RGB; empty if RGB fits."""
    step = max(1, round(max(rgb.shape[:2]) / _LONGEST_PX))
    pixels = rgb[step // 2 :: step, step // 2 :: step].reshape(-1, 3)
    name, _ = split_reversed(colormap)

    def off_path(order: tuple[int, ...]) -> float:
        return float((project(np.ascontiguousarray(pixels[:, order]), name)[1] > _TAU).mean()) if len(pixels) else 0.0

    given, *others = itertools.permutations(range(3))
    off = off_path(given)
    if off <= _OFF:
        return ""
    best, order = min((off_path(order), order) for order in others)
    # The image's channels are the inverse of the order that restores them.
    return "".join("RGB"[order.index(channel)] for channel in range(3)) if best < _BETTER * off else ""
