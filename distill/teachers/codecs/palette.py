"""Classes as colors, and back: semantic and referring answers.

A pixel gets the class of the legend's nearest color in RGB; a color far from all, or halfway between two, is invalid.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8
from numpy import ndarray

from distill.errors import UsageError
from distill.labels import Label
from distill.tasks import IGNORE_SEMANTIC, MAX_CLASSES, Task
from distill.teachers.base import RGB
from distill.teachers.codecs.color_lut import (
    HALF_UNITS,
    ColorLUT,
    gaussian_weight,
    residuals_of,
    second_values_of,
    values_of,
)

BACKGROUND = "background"
TAU = 40.0
"""A color farther than this from every legend color is ignored; medians of real classes are within 15."""
MARGIN = 12.0
"""A color whose distance to a second class is less than this larger is ignored."""
CONFIDENCE_SIGMA = 20.0
"""Width of the Gaussian confidence over the distance to the legend's color."""
EDGE_TAU = 10.0
"""At class borders, a color farther than this from its own is a blend, perhaps across a third class."""


def encode_palette_rgb(
    ids: Integer[ndarray, "h w"], legend: Mapping[str, RGB], *, ignore_color: RGB = (0, 0, 0)
) -> UInt8[ndarray, "h w 3"]:
    """Generated image of class ids (legend order); ids beyond the legend get ``ignore_color``."""
    colors = np.array([ignore_color] * (MAX_CLASSES + 1), np.uint8)
    colors[: len(legend)] = check_legend(legend)
    encoded: ndarray = colors[ids]
    return encoded


def decode_palette_rgb(
    generated: UInt8[ndarray, "h w 3"],
    legend: Mapping[str, RGB],
    *,
    task: Task = Task.SEMANTIC,
    tau: float = TAU,
    margin: float = MARGIN,
) -> Label:
    """Classes of a generated image, at the image's own size; ids index the legend in its own order.

    Raises:
        UsageError: The legend is empty, has more than 255 classes, or gives one color to two classes.
    """
    colors = check_legend(legend)
    # One table for every order of the same colors: permuted legends need no new table.
    order = np.lexsort(colors.T)
    codes = _table(tuple(map(tuple, colors[order].tolist()))).look_up(generated)
    rename = np.zeros(256, np.uint8)
    rename[: len(order)] = order
    nearest = values_of(codes).astype(np.uint8)
    residuals, margins = residuals_of(codes), second_values_of(codes)
    border = cv2.morphologyEx(nearest, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    # Integers on both sides: a float would convert a megapixel of bytes to doubles, 1 ms each time.
    valid = (residuals <= min(255, int(HALF_UNITS * tau))) & (margins >= min(255, math.ceil(HALF_UNITS * margin)))
    valid &= ~border | (residuals <= int(HALF_UNITS * EDGE_TAU))
    value = cv2.LUT(nearest, rename)
    value[~valid] = IGNORE_SEMANTIC
    confidence = cv2.multiply(
        cv2.LUT(residuals, gaussian_weight(CONFIDENCE_SIGMA)), cv2.LUT(margins, _margin_confidence())
    )
    return Label(
        task=task,
        value=value,
        valid=valid,
        confidence=np.multiply(confidence, valid, out=confidence),
        classes=tuple(legend),
    )


def is_explained(generated: UInt8[ndarray, "h w 3"], colors: Sequence[RGB]) -> Bool[ndarray, "h w"]:
    """Pixels within `TAU` of one of the colors."""
    table = _table(tuple(sorted(set(colors), key=lambda color: color[::-1])))  # the order of `decode_palette_rgb`
    explained: ndarray = residuals_of(table.look_up(generated)) <= int(HALF_UNITS * TAU)
    return explained


def check_legend(legend: Mapping[str, RGB]) -> UInt8[ndarray, "k 3"]:
    """Colors of a legend, in order.

    Raises:
        UsageError: Empty, more than 255 classes, or one color twice.
    """
    if not 1 <= len(legend) <= MAX_CLASSES:
        raise UsageError(
            f"a legend of {len(legend)} classes cannot be decoded", hint=f"name 1 to {MAX_CLASSES} classes with colors"
        )
    owner: dict[RGB, str] = {}
    for name, color in legend.items():
        if color in owner:
            raise UsageError(
                f"the legend gives {color} to both {owner[color]!r} and {name!r}",
                hint="give each class its own color",
            )
        owner[color] = name
    return np.array(list(legend.values()), np.uint8)


@functools.lru_cache(maxsize=4)
def _table(colors: tuple[RGB, ...]) -> ColorLUT:
    points = np.array(colors, np.int64)

    def read(generated: UInt8[ndarray, "n 3"]) -> tuple[ndarray, ndarray, ndarray]:
        # Integers to the end: equal distances are equal, and the first color wins.
        own = generated.astype(np.int64)
        best_2 = np.full(len(own), 1 << 40)
        second_2 = best_2.copy()
        best = np.zeros(len(own), np.int64)
        for number, point in enumerate(points):
            distance_2 = ((own - point) ** 2).sum(axis=1)
            nearer = distance_2 < best_2
            second_2 = np.where(nearer, best_2, np.minimum(second_2, distance_2))
            best = np.where(nearer, number, best)
            best_2 = np.where(nearer, distance_2, best_2)
        distance = np.sqrt(best_2)
        margin = np.floor(np.minimum((np.sqrt(second_2) - distance) * HALF_UNITS, 255))
        return best, margin, distance

    return ColorLUT(read)


def _margin_confidence() -> Float[ndarray, " 256"]:
    """Confidence for margins of 0 to 127.5 units to the second class: 0 at 0, nearly 1 from 64 on."""
    margin = np.arange(256) / HALF_UNITS
    return (1 - np.exp(-0.5 * (margin / 24) ** 2)).astype(np.float32)
