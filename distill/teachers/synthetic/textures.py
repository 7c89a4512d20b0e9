"""Procedural textures: color of a surface at a position on it.

Colors are linear reflectances in [0, 1]. A pattern fades into its mean where a pixel covers more than about a third of
its period, so that distant surfaces do not alias.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

Pattern = Literal["plain", "checker", "stripes", "noise", "tiles", "bricks", "planks", "panels"]
Color = tuple[float, float, float]

_NOISE_SIDE = 256
_ROW_POINTS = 4096
_NOISE_PER_M = 32.0
"""Samples of the noise table per unit of its argument."""


@dataclass(frozen=True, slots=True)
class Material:
    """Appearance of a surface.

    Attributes:
        pattern: The texture.
        ground: Main color.
        figure: Color of the lines, fields or stripes.
        scale_m: Period of the pattern; `panels`: half the width.
        grain: Strength of the fine noise.
        gloss: Strength of the specular highlight.
    """

    pattern: Pattern
    ground: Color
    figure: Color
    scale_m: float
    grain: float
    gloss: float


def albedo(material: Material, uv_m: Float[ndarray, "2 n"], footprint_m: Float[ndarray, " n"]) -> Float[ndarray, "3 n"]:
    """Colors at positions of a surface.

    Args:
        material: Its appearance.
        uv_m: The positions.
        footprint_m: Size of a pixel at each position.
    """
    ground = np.array(material.ground, np.float32)[:, None]
    figure = np.array(material.figure, np.float32)[:, None]
    share, mean = _draw(material.pattern, uv_m / np.float32(material.scale_m))
    sharp = np.clip(material.scale_m / (2 * footprint_m) - 0.5, 0, 1).astype(np.float32)
    share = mean + (share - mean) * sharp
    fine = np.clip(0.12 / footprint_m - 0.5, 0, 1).astype(np.float32)
    tint = 1 + np.float32(material.grain) * (_noise(uv_m[0] * 1.7 + 3.1, uv_m[1] * 1.7 + 8.3) - np.float32(0.5)) * fine
    return (ground + (figure - ground) * share) * tint


def _draw(pattern: Pattern, uv: Float[ndarray, "2 n"]) -> tuple[Float[ndarray, " n"], float]:
    """(fraction of the figure color, its mean) at coordinates in periods."""
    draw, mean = _PATTERNS[pattern]
    return draw(uv[0], uv[1]).astype(np.float32, copy=False), mean


def _panels(u: Float[ndarray, " n"], v: Float[ndarray, " n"]) -> Bool[ndarray, " n"]:
    """Grooves of inset panels, each 2 wide and 2.2 high."""
    inset = np.maximum(np.abs(u), np.abs((v + 1.1) % 2.2 - 1.1) / 1.1)
    grooves: ndarray = np.abs(inset - 0.7) < 0.07
    return grooves


def _courses(u: Float[ndarray, " n"], v: Float[ndarray, " n"], *, joint: float, tint: float) -> Float[ndarray, " n"]:
    """Rows of bricks or planks: joints in the figure color, each piece with its own tint."""
    row = np.floor(v)
    along = u + row * np.float32(0.37)
    piece = np.floor(along)
    own = _noise(piece * 0.731 + row * 0.377, row * 0.519 + piece * 0.211) * np.float32(tint)
    # Pieces are longer than high; the vertical joint is thinner in proportion.
    joints = ((v - row) < joint) | ((along - piece) < joint * 0.4)
    return np.where(joints, np.float32(1), own)


def _noise(u: Float[ndarray, " n"], v: Float[ndarray, " n"]) -> Float[ndarray, " n"]:
    """Smooth fractal noise in [0, 1] that repeats every 8 units."""
    # OpenCV accepts at most 32767 points per row, so the points are split into rows.
    rows = -(-u.size // _ROW_POINTS)
    places = np.zeros((2, rows * _ROW_POINTS), np.float32)
    places[0, : u.size] = (u * np.float32(_NOISE_PER_M)) % _NOISE_SIDE
    places[1, : v.size] = (v * np.float32(_NOISE_PER_M)) % _NOISE_SIDE
    x, y = places.reshape(2, rows, _ROW_POINTS)
    samples: ndarray = cv2.remap(_noise_table(), x, y, cv2.INTER_LINEAR).ravel()[: u.size]
    return samples


@lru_cache(maxsize=1)
def _noise_table() -> Float[ndarray, "257 257"]:
    """Periodic noise whose amplitude falls as 1/f, as in natural images; first row and column repeated."""
    white = np.random.default_rng(20260420).standard_normal((_NOISE_SIDE, _NOISE_SIDE))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(_NOISE_SIDE), np.fft.fftfreq(_NOISE_SIDE)))
    frequency[0, 0] = np.inf
    pink = np.fft.ifft2(np.fft.fft2(white) / np.maximum(frequency, 2.5 / _NOISE_SIDE)).real
    table = np.clip(0.5 + 0.22 * pink / pink.std(), 0, 1).astype(np.float32)
    return np.pad(table, ((0, 1), (0, 1)), mode="wrap")


_PATTERNS: dict[Pattern, tuple[Callable[[ndarray, ndarray], ndarray], float]] = {
    "plain": (lambda u, v: np.zeros_like(u), 0.0),
    "checker": (lambda u, v: (np.floor(u) + np.floor(v)) % 2, 0.5),
    "stripes": (lambda u, v: (u % 1) < 0.45, 0.45),
    "noise": (lambda u, v: _noise(u * 0.5, v * 0.5), 0.5),
    "tiles": (lambda u, v: ((u % 1) < 0.06) | ((v % 1) < 0.06), 0.116),
    "bricks": (lambda u, v: _courses(u, v * 2.6, joint=0.12, tint=0.45), 0.35),
    "planks": (lambda u, v: _courses(u * 0.25, v * 1.6, joint=0.04, tint=0.8), 0.42),
    "panels": (_panels, 0.1),
}
"""Pattern to its drawing, and the share of the figure color in the long run."""
