"""Colors of class and instance ids: far apart, independent of the number of classes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import UInt8, UInt16
from numpy import ndarray

from distill.tasks import BACKGROUND_INSTANCE, IGNORE_INSTANCE, MAX_CLASSES

IGNORED_RGB = (62, 62, 66)
_HATCH_RGB = (92, 92, 98)
_BACKGROUND_RGB = (24, 24, 28)
# More than 60 instances cannot be told apart by color; consecutive ids still differ.
_NUM_INSTANCE_COLORS = 60
# The first colors are chosen by hand, calm and far apart; the others by distance from all before.
_FIRST_RGB = (
    (128, 100, 162), (236, 151, 79), (72, 149, 199), (118, 183, 91), (214, 88, 96),
    (241, 206, 99), (70, 178, 157), (196, 122, 176), (150, 116, 86), (168, 196, 222),
)  # fmt: skip


@lru_cache(maxsize=1)
def _colors() -> ndarray:
    """All 255 class colors; the color of class k does not depend on how many classes there are."""
    steps = np.arange(20, 256, 18, dtype=np.uint8)
    candidates = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    lab = _lab(candidates)
    # Too dark looks like ignored pixels, too light like sky; the loudest colors (chroma over 90) hurt in overlays.
    good = (lab[:, 0] > 38) & (lab[:, 0] < 88) & (np.linalg.norm(lab[:, 1:], axis=1) < 90)
    candidates, lab = candidates[good], lab[good]
    chosen = [np.array(rgb, np.uint8) for rgb in _FIRST_RGB]
    reserved = _lab(np.array([*_FIRST_RGB, IGNORED_RGB, _HATCH_RGB], np.uint8))
    distance = np.min(np.linalg.norm(lab[:, None] - reserved[None], axis=-1), axis=1)
    while len(chosen) < MAX_CLASSES:
        best = int(distance.argmax())
        chosen.append(candidates[best])
        distance = np.minimum(distance, np.linalg.norm(lab - lab[best], axis=-1))
    return np.stack(chosen)


def _lab(rgb: ndarray) -> ndarray:
    lab: ndarray = cv2.cvtColor((rgb[:, None] / 255.0).astype(np.float32), cv2.COLOR_RGB2LAB)[:, 0]
    return lab


def class_colors(num_classes: int) -> UInt8[ndarray, "n 3"]:
    """One RGB color per class id."""
    return _colors()[:num_classes]


def draw_semantic(ids: UInt8[ndarray, "h w"], num_classes: int) -> UInt8[ndarray, "h w 3"]:
    """One color per class; what is no class (such as 255, ignore) is dark gray and hatched."""
    table = np.empty((256, 1, 3), np.uint8)
    table[:] = IGNORED_RGB
    table[:num_classes, 0] = class_colors(num_classes)
    picture: ndarray = cv2.applyColorMap(ids, table)
    unknown = ids >= num_classes
    if unknown.any():
        picture[unknown & _stripes(*ids.shape)] = _HATCH_RGB
    return picture


@lru_cache(maxsize=2)
def _stripes(height: int, width: int) -> ndarray:
    """Diagonal stripes; cached, since all frames of a video have the same size."""
    return (np.arange(height)[:, None] + np.arange(width)) % 12 < 3


def draw_instances(
    ids: UInt16[ndarray, "h w"], layers: Sequence[UInt16[ndarray, "h w"]] = ()
) -> UInt8[ndarray, "h w 3"]:
    """One color per instance with a light outline; background nearly black, ignored gray.

    Hidden parts of other instances (`distill.labels.instance_layers`) are outlined in the colors of these.
    """
    # Numbers to color levels first: looking up single bytes is three times faster than rows of three.
    picture: ndarray = cv2.applyColorMap(_instance_levels()[ids], _instance_table())
    # An outline where the right or the lower neighbor is another instance: touching ones stay apart.
    picture[_changes(ids)] = (245, 245, 245)
    for layer in layers:
        border = cv2.dilate(_changes(layer).astype(np.uint8), np.ones((2, 2), np.uint8)) > 0
        border &= layer != BACKGROUND_INSTANCE
        picture[border] = cv2.applyColorMap(_instance_levels()[layer], _instance_table())[border]
    return picture


def _changes(ids: ndarray) -> ndarray:
    """Pixels whose right or lower neighbor has another id."""
    edge = np.zeros(ids.shape, bool)
    edge[:, :-1] |= ids[:, 1:] != ids[:, :-1]
    edge[:-1] |= ids[1:] != ids[:-1]
    return edge


@lru_cache(maxsize=1)
def _instance_levels() -> ndarray:
    """Instance number to level: 0 background, 1 to 60 colors (then again), 255 ignored."""
    levels = ((np.arange(65536) - 1) % _NUM_INSTANCE_COLORS + 1).astype(np.uint8)
    levels[BACKGROUND_INSTANCE], levels[IGNORE_INSTANCE] = 0, 255
    return levels


@lru_cache(maxsize=1)
def _instance_table() -> ndarray:
    table = np.zeros((256, 1, 3), np.uint8)
    table[1 : 1 + _NUM_INSTANCE_COLORS, 0] = class_colors(_NUM_INSTANCE_COLORS)
    table[0], table[255] = _BACKGROUND_RGB, IGNORED_RGB
    return table
