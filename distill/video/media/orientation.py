"""Orientation and pixel shape of frames: what a player does before it shows them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import cv2
from jaxtyping import Shaped
from numpy import ndarray

_MAX_ASPECT = 8
"""More elongated pixels are an error in the file."""


@dataclass(frozen=True, slots=True)
class Orientation:
    """One of the eight ways to turn and mirror a frame: transposed first, then mirrored.

    Attributes:
        transpose: Whether rows become columns.
        mirror_x: Whether left and right change places afterwards.
        mirror_y: Whether top and bottom change places afterwards.
    """

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    def apply(self, image: Shaped[ndarray, "h w *c"]) -> Shaped[ndarray, "h2 w2 *c"]:
        """The image as it is shown."""
        if self.transpose:
            image = cv2.transpose(image)
        if self.mirror_x or self.mirror_y:
            image = cv2.flip(image, -1 if self.mirror_x and self.mirror_y else int(self.mirror_x))
        return image

    def __bool__(self) -> bool:
        return self.transpose or self.mirror_x or self.mirror_y


def orientation_of(frame: Any) -> Orientation:
    """Orientation by the display matrix of a decoded frame; angles are rounded to quarter turns.

    The matrix (a b u, c d v, x y w) shows the point (p, q) at (a p + c q + x, b p + d q + y).
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None or data.buffer_size < 36:
        return Orientation()
    a, b, _, c, d = struct.unpack_from("=5i", bytes(data))
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)


def display_size_hw(height: int, width: int, aspect: Fraction | None) -> tuple[int, int]:
    """(height, width) in square pixels; the shorter side grows, so that no detail is lost.

    Args:
        height: Stored rows.
        width: Stored columns.
        aspect: Width of a pixel divided by its height; None or 0: square.
    """
    if not aspect or not 1 / _MAX_ASPECT <= aspect <= _MAX_ASPECT or aspect == 1:
        return height, width
    if aspect > 1:
        return height, max(1, round(width * aspect))
    return max(1, round(height / aspect)), width
