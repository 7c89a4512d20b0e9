"""Flat colors of a generated image: which there are, and which of them is the background."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray

from distill.teachers.base import RGB

BLACK: RGB = (0, 0, 0)
"""The background of generators that are not told another one."""
MIN_SHARE = 3e-4
"""A color with a smaller fraction of the image is no flat color."""
_TAU = 25.0
"""Pixels within this distance (L2, of 255) of a flat color belong to it."""
_SNAP = 8.0
"""Generated black is (0, 1, 1) as often as not: a color this close to black is black."""
_GRAY_SPREAD = 16
MANY_PIXELS = 400_000
"""Of more pixels, every fourth shows the same colors."""
_MOST = 8
_SAMPLES = 50_000
"""Of more pixels, every second, third ... is looked at."""
_RING_PX = 3
_SURROUNDS = 0.6
"""A background without a name covers this fraction of the pixels along the image's border ..."""
_SIDE = 0.05
"""... and this fraction of each side; black, of the whole border."""
_TOP = 0.9
"""A color along three sides, as behind a person at the lower border, covers this much of the upper one."""


@dataclass(frozen=True, slots=True)
class FlatColor:
    """One color and its fraction of the image."""

    color: RGB
    share: float


def flat_colors(generated: UInt8[ndarray, "h w 3"], among: Bool[ndarray, "h w"]) -> list[FlatColor]:
    """Flat colors of the selected pixels, largest first; blends at their borders do not count."""
    inner = cv2.erode(among.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1) > 0
    places = np.flatnonzero(inner)
    step = 1 + len(places) // _SAMPLES
    pixels = generated.reshape(-1, 3)[places[::step]]
    shares = [(color, count * step / among.size) for color, count in _clusters(pixels)]
    return [FlatColor(color, share) for color, share in shares if share >= MIN_SHARE]


def distance(generated: UInt8[ndarray, "h w 3"], color: RGB) -> ndarray:
    """L2 distance of every pixel to a color, float32."""
    difference = cv2.absdiff(generated, np.array([*color, 0], np.float64)).astype(np.float32)
    return np.sqrt(cv2.transform(cv2.multiply(difference, difference), np.ones((1, 3), np.float32)))


def possible_backgrounds(generated: UInt8[ndarray, "h w 3"]) -> tuple[RGB, ...]:
    """Flat colors that may be the background: one, none, or black and another gray, which only a prompt tells apart.

    Black wins where it covers 5 % of the image's border. Any other color must cover 60 % of the border and part of all
    four sides; or, behind an object at the lower border, of three sides and nearly all of the upper one. An object that
    fills much of the image does neither.
    """
    sides = _sides(generated)
    ring = np.concatenate(sides)
    along = {color: count / len(ring) for color, count in _clusters(ring)}
    black = along.pop(BLACK, 0.0)
    color = next(iter(along), BLACK)
    covered = [float((_far(side, color) <= _TAU).mean()) for side in sides]
    num_sides = sum(fraction >= _SIDE for fraction in covered)
    surrounds = along.get(color, 0.0) >= _SURROUNDS and (num_sides == 4 or (num_sides == 3 and covered[0] >= _TOP))
    if black >= _SIDE:
        return (BLACK, color) if surrounds and is_gray(color) else (BLACK,)
    return (color,) if surrounds else ()


def is_gray(color: RGB) -> bool:
    """White, gray or black, which rarely stand for an object."""
    return max(color) - min(color) < _GRAY_SPREAD


def fraction_of(generated: UInt8[ndarray, "h w 3"], color: RGB) -> float:
    """Fraction of the pixels with a color; of a large image, every fourth pixel is counted."""
    if generated.shape[0] * generated.shape[1] > MANY_PIXELS:
        generated = np.ascontiguousarray(generated[::2, ::2])
    return float((distance(generated, color) <= _TAU).mean())


def fraction_along_border(generated: UInt8[ndarray, "h w 3"], color: RGB) -> float:
    """Fraction of the pixels along the image's border with a color."""
    return float((_far(np.concatenate(_sides(generated)), color) <= _TAU).mean())


def is_same(one: RGB, other: RGB) -> bool:
    """Whether two colors are one flat color."""
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) <= _TAU**2


def _sides(generated: UInt8[ndarray, "h w 3"]) -> list[UInt8[ndarray, "n 3"]]:
    """Pixels along the upper, lower, left and right side."""
    strips = generated[:_RING_PX], generated[-_RING_PX:], generated[:, :_RING_PX], generated[:, -_RING_PX:]
    return [strip.reshape(-1, 3) for strip in strips]


def _clusters(pixels: UInt8[ndarray, "n 3"]) -> list[tuple[RGB, int]]:
    """(color, number of pixels) of the densest clusters, largest first."""
    found: list[tuple[RGB, int]] = []
    left = pixels
    while len(left) and len(found) < _MOST:
        bins = (left >> 4).astype(np.int32) @ np.array([256, 16, 1], np.int32)
        densest = int(np.argmax(np.bincount(bins, minlength=1)))
        center = np.median(left[bins == densest], axis=0)
        near = _far(left, tuple(center)) <= _TAU
        if not near.any():
            break
        red, green, blue = (int(value) for value in np.rint(np.median(left[near], axis=0)))
        color = (red, green, blue)
        found.append((BLACK if sum(value**2 for value in color) <= _SNAP**2 else color, int(near.sum())))
        left = left[~near]
    return sorted(found, key=lambda item: -item[1])


def _far(pixels: UInt8[ndarray, "n 3"], color: tuple[float, ...]) -> ndarray:
    difference = pixels.astype(np.float32) - np.array(color, np.float32)
    far: ndarray = np.sqrt(np.einsum("nc,nc->n", difference, difference))
    return far
