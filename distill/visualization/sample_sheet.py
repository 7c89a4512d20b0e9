"""One sample as a picture: photo, maps and confidences next to each other."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.labels import Label
from distill.tasks import DepthKind
from distill.visualization.colormaps import draw_confidence
from distill.visualization.label_drawers import DrawingFacts, drawer_of
from distill.visualization.legends import contact_sheet

_CELL_PX = 480
_POINT_RGB = (255, 0, 255)


def draw_sample(
    rgb: UInt8[ndarray, "h w 3"], labels: Sequence[Label], points: Sequence[tuple[int, int]] = ()
) -> UInt8[ndarray, "h2 w2 3"]:
    """Photo, and map and confidence of each label, in one picture.

    Args:
        rgb: The photo.
        labels: Its labels, of any size.
        points: (x, y) in pixels of the photo, marked in all parts.
    """
    cells, captions = [_mark(_scaled(rgb), rgb.shape, points)], ["photo"]
    for label in labels:
        drawer = drawer_of(label.task)
        facts = DrawingFacts(
            depth_kind=label.depth_kind or DepthKind.METRIC, classes=label.classes, layers=label.layers
        )
        names = np.unique(label.value[label.valid]).tolist() if label.classes else []
        drawn = _mark(_scaled(drawer.draw(label.value, label.valid, facts)), rgb.shape, points)
        cells.append(drawer.add_legend(drawn, facts, only=[number for number in names if number < len(label.classes)]))
        cells.append(_mark(_scaled(draw_confidence(label.confidence)), rgb.shape, points))
        captions += [str(label.task), f"{label.task} confidence"]
    return contact_sheet(cells, captions, columns=min(3, len(cells)))


def _scaled(picture: UInt8[ndarray, "h w 3"]) -> UInt8[ndarray, "h2 w2 3"]:
    """The picture with a longer side of `_CELL_PX`."""
    scale = _CELL_PX / max(picture.shape[:2])
    size_wh = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    return cv2.resize(picture, size_wh, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)


def _mark(picture: ndarray, photo_shape: Sequence[int], points: Sequence[tuple[int, int]]) -> ndarray:
    picture = picture.copy()
    for x, y in points:
        center = (x * picture.shape[1] // photo_shape[1], y * picture.shape[0] // photo_shape[0])
        cv2.drawMarker(picture, center, _POINT_RGB, cv2.MARKER_CROSS, 16, 2)
    return picture
