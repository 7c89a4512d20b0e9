"""Statistics of the colors of a generated image, from which tasks recognize their images and those of other tasks."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from numpy import ndarray

from distill.teachers.codecs.colormaps import project

# tuned: benchmarks/damaged_answers.py
_LONGEST_PX = 200
"""Every n-th pixel is counted, so that the longer side has about this many."""
_USUAL = 14
"""Largest difference of a channel from the most frequent color."""
_GRAY_SPREAD = 24
"""Difference of the channels up to which a color is gray; JPEG adds a little color."""
_PATH_TAU = 22.0
"""Distance to the depth path up to which a color is on it."""
_SAMPLE = 8000
"""Number of pixels that are projected on the depth path."""
_POSITIONS, _OCCURS = 64, 0.003
"""Positions on the path; one occurs if it has this fraction of the pixels."""
_UNIT_TAU, _FACING = 0.2, -0.2
"""Normals: largest difference of the length from 1, and smallest component toward the camera."""
_SKY = (255, 0, 255)
"""Sky of normals images."""
_LINE_RATIO = 8.0
"""Lines are at least this many times as long as wide."""
_FRAME = 0.05
"""Part of the longer side along the border where lines are not counted."""
_BRIGHT = 96
"""Lowest gray level of lines, unless the image is darker."""


@dataclass(frozen=True, slots=True)
class ColorStats:
    """Statistics of the colors of an image; fractions of its pixels unless stated otherwise.

    Attributes:
        frequent: Within 14 levels of the most frequent color.
        num_colors: Number of equally frequent colors with the same entropy.
        gray: Gray pixels.
        num_grays: Number of equally frequent gray levels with the same entropy, without the most frequent one.
        depth: Pixels on the depth path, as a fraction of those that have not the most frequent color.
        depth_run: Longest run of neighboring positions (of 64) on the path that all occur: 7 or more in depth images,
            3 at most in segmentations.
        num_depth_runs: Number of such runs.
        normals: Unit vectors that do not point away from the camera, and sky.
        lines: Bright pixels of long, thin shapes on a dark background.
        areas: Other bright pixels on a dark background.
        reach: Smaller side of the bounding box of all lines, as a fraction of the image's side.
    """

    frequent: float
    num_colors: float
    gray: float
    num_grays: float
    depth: float
    depth_run: int
    num_depth_runs: int
    normals: float
    lines: float
    areas: float
    reach: float

    @property
    def are_flat(self) -> bool:
        """Whether nearly all pixels have one of a few colors, as in a segmentation."""
        return self.num_colors < 11 and not self.are_depth and not self.are_normals

    @property
    def are_depth(self) -> bool:
        """Whether the colors run along the depth path, as in a depth image."""
        return self.depth > 0.85 and self.depth_run > 5

    @property
    def are_gray_depth(self) -> bool:
        """Whether the colors are many levels of gray."""
        return self.gray > 0.95 and self.num_grays > 12 and self.frequent < 0.8

    @property
    def are_normals(self) -> bool:
        """Whether the colors are unit vectors of several directions."""
        return self.normals > 0.75 and self.frequent < 0.9

    @property
    def are_edges(self) -> bool:
        """Whether the image shows light lines all over a dark background."""
        return self.gray > 0.8 and 0.004 < self.lines < 0.3 and self.areas < self.lines / 2 and self.reach > 0.5


def measure_colors(rgb: UInt8[ndarray, "h w 3"], small: UInt8[ndarray, "h2 w2 3"] | None = None) -> ColorStats:
    """Statistics of the colors of an image, of which ``small`` is a smaller version."""
    step = max(1, round(max(rgb.shape[:2]) / _LONGEST_PX))
    pixels = rgb[step // 2 :: step, step // 2 :: step].reshape(-1, 3)
    cell = pixels.astype(np.int32) >> 3
    code = (cell[:, 0] << 10) + (cell[:, 1] << 5) + cell[:, 2]
    # Of 32768 cells, a few hundred occur.
    every, table, total = np.bincount(code, minlength=32768), _table(), max(1, len(code))
    cells = np.flatnonzero(every)
    counts = every[cells]
    color, gray, group = table.color[cells], table.gray[cells], table.coarse[cells]
    coarse = np.bincount(group, counts, minlength=4096)
    mode_cells = np.where(group == coarse.argmax(), counts, 0)
    mode = (color * mode_cells[:, None]).sum(axis=0) / mode_cells.sum()
    usual = np.abs(color - mode).max(axis=1) <= _USUAL
    is_usual = np.zeros(len(every), bool)
    is_usual[cells] = usual
    depth, depth_run, num_depth_runs = _depths(pixels, is_usual[code])
    lines, areas, reach = _lines(rgb if small is None else small)
    return ColorStats(
        frequent=float(counts[usual].sum() / total),
        num_colors=_effective(coarse),
        gray=float(counts[gray].sum() / total),
        num_grays=_effective(np.bincount(table.level[cells][gray], np.where(usual, 0, counts)[gray])),
        depth=depth,
        depth_run=depth_run,
        num_depth_runs=num_depth_runs,
        normals=float(counts[table.normal[cells]].sum() / total),
        lines=lines,
        areas=areas,
        reach=reach,
    )


@dataclass(frozen=True, slots=True)
class _ColorTable:
    """Properties of 32 levels of each channel."""

    color: Float[ndarray, "n 3"]
    coarse: Int[ndarray, " n"]
    gray: Bool[ndarray, " n"]
    level: Int[ndarray, " n"]
    normal: Bool[ndarray, " n"]


@functools.cache
def _table() -> _ColorTable:
    cell = np.stack(np.unravel_index(np.arange(32768), (32, 32, 32)), axis=1)
    color = np.rint(cell * (255 / 31)).astype(np.uint8)
    vector = color / np.float32(127.5) - 1
    unit = (np.abs(np.linalg.norm(vector, axis=1) - 1) <= _UNIT_TAU) & (vector[:, 2] > _FACING)
    sky = np.abs(color.astype(int) - np.array(_SKY)).max(axis=1) <= 24
    return _ColorTable(
        color=color.astype(np.float32),
        coarse=(cell[:, 0] >> 1 << 8) + (cell[:, 1] >> 1 << 4) + (cell[:, 2] >> 1),
        gray=np.ptp(color, axis=1) <= _GRAY_SPREAD,
        level=color.mean(axis=1).astype(int) >> 2,
        normal=unit | sky,
    )


def _depths(pixels: UInt8[ndarray, "n 3"], usual: Bool[ndarray, " n"]) -> tuple[float, int, int]:
    """(depth, depth_run, num_depth_runs) as in `ColorStats`."""
    step = max(1, len(pixels) // _SAMPLE)
    position, distance = project(pixels[::step], "cube")
    on_path, others = distance <= _PATH_TAU, ~usual[::step]
    run, num_runs = occurring_runs(position[on_path], _OCCURS)
    depth = float(on_path[others].mean()) if others.any() else float(on_path.mean())
    return depth, run, num_runs


def reduce_size(rgb: UInt8[ndarray, "h w 3"], longest_px: int) -> UInt8[ndarray, "h2 w2 3"]:
    """The image reduced by a whole factor to at least this size: several times faster than to the exact size."""
    factor = max(rgb.shape[:2]) // longest_px
    if factor < 2 or min(rgb.shape[:2]) < factor:
        return rgb
    height, width = rgb.shape[0] // factor, rgb.shape[1] // factor
    cut = rgb[: height * factor, : width * factor]
    reduced: ndarray = cv2.resize(cut, (width, height), interpolation=cv2.INTER_AREA)
    return reduced


def occurring_runs(position: Float[ndarray, " n"], least: float) -> tuple[int, int]:
    """(longest run of neighboring cells of [0, 1] that occur, number of runs).

    Args:
        position: In [0, 1].
        least: Fraction of the positions from which a cell (of 64) occurs.
    """
    counts = np.bincount((position * (_POSITIONS - 1e-3)).astype(int), minlength=_POSITIONS)
    occurs = np.concatenate([[False], counts > least * max(1, counts.sum()), [False]])
    starts, ends = (np.flatnonzero(np.diff(occurs.astype(np.int8)) == sign) for sign in (1, -1))
    return int((ends - starts).max(initial=0)), len(starts)


def _effective(counts: Shaped[ndarray, " n"]) -> float:
    """Exponential of the entropy; 1 without counts."""
    share = counts[counts > 0] / max(1, counts.sum())
    return float(np.exp(-(share * np.log(share)).sum()))


def _lines(rgb: UInt8[ndarray, "h w 3"]) -> tuple[float, float, float]:
    """(lines, areas, reach) as in `ColorStats`; 0 for an image that is not mostly dark."""
    scale = min(1.0, 2 * _LONGEST_PX / max(rgb.shape[:2]))
    size = max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale))
    gray = cv2.cvtColor(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    edge = round(_FRAME * max(gray.shape))
    gray = gray[edge : gray.shape[0] - edge, edge : gray.shape[1] - edge]  # a frame is no line of the scene
    if not gray.size or np.median(gray) > _BRIGHT:
        return 0.0, 0.0, 0.0
    bright: Bool[ndarray, "h w"] = gray > min(_BRIGHT, 0.4 * int(gray.max()) + 1)
    _, _, stats, _ = cv2.connectedComponentsWithStats(bright.astype(np.uint8), connectivity=8)
    stats = stats[1:]  # without the background
    longest: Float[ndarray, " n"] = np.maximum(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT])
    thin = longest**2 >= _LINE_RATIO * stats[:, cv2.CC_STAT_AREA]
    area, total = stats[:, cv2.CC_STAT_AREA], gray.size
    reach = 0.0
    if thin.any():
        spans = [
            (stats[thin, start] + stats[thin, length]).max() - stats[thin, start].min()
            for start, length in ((cv2.CC_STAT_LEFT, cv2.CC_STAT_WIDTH), (cv2.CC_STAT_TOP, cv2.CC_STAT_HEIGHT))
        ]
        reach = float(min(spans[0] / gray.shape[1], spans[1] / gray.shape[0]))
    return float(area[thin].sum() / total), float(area[~thin].sum() / total), reach
