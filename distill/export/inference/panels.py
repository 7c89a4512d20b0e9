"""Visualization of an image and its outputs on one canvas, with captions and legends that are drawn only once."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.export.runners import Outputs
from distill.spec import StudentSpec
from distill.tasks import DepthKind, Task
from distill.visualization import add_caption, draw_confidence, overlay
from distill.visualization.label_drawers import DrawingFacts, drawer_of

MAX_PX = 1920 * 1080
"""Panels are shrunk until the canvas is no larger than this, or than the image; lossless maps have full size."""
_MAX_LEGEND_CLASSES = 24
_WIDE = 1.2
"""Three panels with a larger aspect ratio are arranged in two rows of two cells instead of one row."""


class Panels:
    """Layout of panels for images of one size.

    Attributes:
        panel_hw: Size of each panel, which is sufficient for the engine's outputs if only the canvas is needed.
        size_hw: Size of the canvas.
    """

    def __init__(self, spec: StudentSpec, photo_hw: tuple[int, int], only: Task | None = None) -> None:
        """Compute the layout.

        Args:
            spec: Tasks and meaning of their values.
            photo_hw: (height, width) of the images.
            only: One task blended over the image; None: the image and a panel for each task.
        """
        self._spec, self._only = spec, only
        self._cells = (str(only),) if only else _cells(spec, photo_hw)
        self._drawers = {str(task): drawer_of(task) for task in spec.dense_tasks}
        self._facts = DrawingFacts(
            depth_kind=DepthKind(spec.depth.depth_kind) if spec.depth else DepthKind.METRIC,
            classes=spec.semantic.classes if spec.semantic else (),
        )
        columns = _columns(len(self._cells), photo_hw)
        rows = -(-len(self._cells) // columns)
        height, width = photo_hw
        scale = min(1.0, (max(MAX_PX, height * width) / (rows * columns * height * width)) ** 0.5)
        self.panel_hw = (max(2, round(height * scale)), max(2, round(width * scale)))
        self._canvas, self._places = self._lay_out(rows, columns)
        self.size_hw = (self._canvas.shape[0], self._canvas.shape[1])

    def blank(self) -> UInt8[ndarray, "h2 w2 3"]:
        """Canvas with captions, legends and empty panels."""
        return self._canvas.copy()

    def draw(
        self, rgb: UInt8[ndarray, "h w 3"], outputs: Outputs, canvas: UInt8[ndarray, "h2 w2 3"] | None = None
    ) -> UInt8[ndarray, "h2 w2 3"]:
        """Draw one image; image and maps may be larger than a panel.

        Args:
            rgb: The image.
            outputs: The student's outputs.
            canvas: Used canvas of these panels to draw on; None: a blank one, which at 1920x1294 costs as much as
                drawing.
        """
        photo = _shrink(rgb, self.panel_hw)
        canvas = self.blank() if canvas is None else canvas
        height, width = self.panel_hw
        for cell, (top, left) in zip(self._cells, self._places, strict=True):
            canvas[top : top + height, left : left + width] = self._draw_cell(cell, photo, outputs)
        return canvas

    def _draw_cell(self, cell: str, photo: ndarray, outputs: Outputs) -> ndarray:
        if cell == "photo":
            return photo
        values = _shrink(outputs[cell], self.panel_hw)
        if cell not in self._drawers:
            drawing: ndarray = draw_confidence(values)
            if self._only:
                drawing = overlay(photo, drawing)
            return drawing
        drawer = self._drawers[cell]
        if self._only or drawer.always_over_photo:
            drawing = drawer.draw_over(photo, values, self._facts)
        else:
            drawing = drawer.draw(values, None, self._facts)
        return drawing

    def _lay_out(self, rows: int, columns: int) -> tuple[ndarray, list[tuple[int, int]]]:
        """(canvas with captions and legends, top left corner of each panel)."""
        height, width = self.panel_hw
        blank = np.zeros((height, width, 3), np.uint8)
        captions = {cell: cell.replace("_", " ") for cell in self._cells} if len(self._cells) > 1 else {}
        captioned = [add_caption(blank, captions[cell]) if captions else blank for cell in self._cells]
        top = captioned[0].shape[0] - height
        captioned += [np.zeros_like(captioned[0])] * (rows * columns - len(captioned))
        canvas = np.vstack([np.hstack(captioned[row * columns : (row + 1) * columns]) for row in range(rows)])
        places = [
            (index // columns * (height + top) + top, index % columns * width) for index in range(len(self._cells))
        ]
        return self._add_legends(canvas), places

    def _add_legends(self, canvas: ndarray) -> ndarray:
        # More classes would take more space than the image.
        facts = self._facts if len(self._facts.classes) <= _MAX_LEGEND_CLASSES else replace(self._facts, classes=())
        for cell in self._cells:
            if cell in self._drawers:
                canvas = self._drawers[cell].add_legend(canvas, facts)
        return canvas


def _cells(spec: StudentSpec, photo_hw: tuple[int, int]) -> tuple[str, ...]:
    cells = ("photo", *(str(task) for task in spec.dense_tasks))
    if len(cells) == 3 and photo_hw[1] > _WIDE * photo_hw[0]:
        return (*cells, f"{spec.dense_tasks[0]}_confidence")  # fills the fourth cell
    return cells


def _columns(cells: int, photo_hw: tuple[int, int]) -> int:
    if cells == 2:
        return 2 if photo_hw[1] <= 2.4 * photo_hw[0] else 1
    return 2 if cells == 4 else cells


def _shrink(values: ndarray, size_hw: tuple[int, int]) -> ndarray:
    if values.shape[:2] == size_hw:
        return values
    if values.ndim == 2 and values.dtype == np.uint8:
        method = cv2.INTER_NEAREST  # ids must not be mixed
    else:
        # Down to half the size, bilinear reads every pixel and is five times faster than averaging by area.
        method = cv2.INTER_LINEAR if 2 * size_hw[0] >= values.shape[0] else cv2.INTER_AREA
    resized: ndarray = cv2.resize(values, (size_hw[1], size_hw[0]), interpolation=method)
    return resized
