"""Regions of one color: the sequential seed-based flood fill of the paper, exact, at array speed.

Two implementations give the same region. Small regions (thousands of them, in the halos around objects) are filled
pixel by pixel, and are dropped afterwards; once a region reaches the minimum size, it is computed again with connected
components inside a window that grows until it contains the region.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray

_REACH = 2
"""Range of a knight's move: width of the border around the image, and of that between a region and its window."""
_MOVES = [(y, x) for y in range(-2, 3) for x in range(-2, 3) if 0 < y * y + x * x <= 5 and y * y + x * x != 4]
"""The 16 neighbors: 8 nearest pixels and 8 knight's moves."""
_KERNEL = np.zeros((5, 5), np.uint8)
for _y, _x in _MOVES:
    _KERNEL[_y + 2, _x + 2] = 1


class FloodFill:
    """Splits the pixels that are not background into regions, in raster order of their seeds."""

    def __init__(self, generated: UInt8[ndarray, "h w 3"], is_background: Bool[ndarray, "h w"], tau: float) -> None:
        """Set the image; the pixels of a region are at most ``tau`` from its seed's color."""
        self._image = cv2.copyMakeBorder(generated, _REACH, _REACH, _REACH, _REACH, cv2.BORDER_CONSTANT)
        height, width = self._image.shape[:2]
        # A bytearray is fast byte by byte and as an array; both implementations share it.
        self._taken_bytes = bytearray(b"\x01") * (height * width)
        self._taken = np.frombuffer(self._taken_bytes, np.uint8).reshape(height, width)
        self._taken[_REACH:-_REACH, _REACH:-_REACH] = is_background
        self._limit = int(tau**2)
        self._moves = [y * width + x for y, x in _MOVES]

    def components(self, min_pixels: float) -> Iterator[tuple[tuple[int, int], UInt8[ndarray, "h w"]]]:
        """((top, left), mask) of every region of at least ``min_pixels``."""
        width = self._image.shape[1]
        pixels = self._image.tobytes()
        seed = self._taken_bytes.find(0)
        while seed >= 0:
            walked = self._walk(pixels, seed, min_pixels)
            if len(walked) >= min_pixels:
                for pixel in walked:
                    self._taken_bytes[pixel] = 0
                rows, columns = np.divmod(np.array(walked), width)
                box = (int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1)
                (top, left), mask = self._grow(divmod(seed, width), box)
                yield (top - _REACH, left - _REACH), mask
            seed = self._taken_bytes.find(0, seed + 1)

    def _walk(self, pixels: bytes, seed: int, enough: float) -> list[int]:
        """Fill the region of a seed pixel by pixel; stops at ``enough`` pixels."""
        taken, limit, moves = self._taken_bytes, self._limit, self._moves
        red, green, blue = pixels[3 * seed : 3 * seed + 3]
        taken[seed] = 1
        region = [seed]
        for pixel in region:  # grows during iteration
            for move in moves:
                near = pixel + move
                if taken[near]:
                    continue
                at = 3 * near
                if (pixels[at] - red) ** 2 + (pixels[at + 1] - green) ** 2 + (pixels[at + 2] - blue) ** 2 <= limit:
                    taken[near] = 1
                    region.append(near)
            if len(region) >= enough:
                break
        return region

    def _grow(
        self, seed: tuple[int, int], box: tuple[int, int, int, int]
    ) -> tuple[tuple[int, int], UInt8[ndarray, "h w"]]:
        """((top, left), mask) of a seed's region, marked as taken; the window doubles until it contains it."""
        squares = (np.arange(256)[:, None] - self._image[seed].astype(int)) ** 2
        # Saturated bytes are exact for limits below 255, and faster than 16 bits.
        kind = np.uint8 if self._limit < 255 else np.uint16
        near_color = np.minimum(squares, np.iinfo(kind).max).astype(kind)[None]
        height, width = self._taken.shape
        top, left, bottom, right = box
        margin = 32
        while True:
            top, left = max(0, top - margin), max(0, left - margin)
            bottom, right = min(height, bottom + margin), min(width, right + margin)
            window = (slice(top, bottom), slice(left, right))
            red, green, blue = cv2.split(cv2.LUT(self._image[window], near_color))
            close = ((cv2.add(cv2.add(red, green), blue) <= self._limit) & (self._taken[window] == 0)).astype(np.uint8)
            mask = _linked(close, (seed[0] - top, seed[1] - left))
            inside = _inside(mask, (top, left, bottom, right), (height, width))
            if inside:
                self._taken[window] |= mask
                return (top, left), mask
            margin = max(bottom - top, right - left) // 2


def _inside(mask: UInt8[ndarray, "h w"], box: tuple[int, int, int, int], size_hw: tuple[int, int]) -> bool:
    """Whether no move from the region leaves its window, except at the image border."""
    top, left, bottom, right = box
    return not (
        (top > 0 and mask[:_REACH].any())
        or (left > 0 and mask[:, :_REACH].any())
        or (bottom < size_hw[0] and mask[-_REACH:].any())
        or (right < size_hw[1] and mask[:, -_REACH:].any())
    )


def _linked(close: UInt8[ndarray, "h w"], seed: tuple[int, int]) -> UInt8[ndarray, "h w"]:
    """16-connected region of ``close`` from a seed: 8-connected patches, joined by knight's moves."""
    count, patches = cv2.connectedComponents(close, connectivity=8, ltype=cv2.CV_32S)
    chosen = np.zeros(count, np.uint8)
    chosen[patches[seed]] = 1
    while True:
        mask: ndarray = chosen[patches]
        reached = np.unique(patches[(cv2.dilate(mask, _KERNEL) > mask) & (close > 0)])
        if reached.size == 0:
            return mask
        chosen[reached] = 1
