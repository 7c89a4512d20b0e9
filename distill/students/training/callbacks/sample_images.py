"""Sample images of a run: photo, label and prediction next to each other, one row per photo."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from torch import Tensor

from distill.escaping import for_line
from distill.files import make_folder, write_atomic
from distill.images import encode_map
from distill.labels.formats import label_format
from distill.spec import StudentSpec
from distill.tasks import TASKS, DepthKind, Task
from distill.visualization.label_drawers import DrawingFacts, drawer_of
from distill.visualization.legends import add_caption, add_class_legend, add_depth_bar

_HEIGHT_PX = 160


class SampleImageWriter:
    """The first few validation photos of each validation, as ``samples/step-<n>.png``.

    Attributes:
        picture: The newest image; None before the first one.
    """

    def __init__(self, run_dir: Path, spec: StudentSpec, count: int) -> None:
        self._folder, self._spec, self._count = run_dir / "samples", spec, count
        self._facts = DrawingFacts(
            depth_kind=spec.depth.depth_kind if spec.depth else DepthKind.METRIC,
            classes=spec.semantic.classes if spec.semantic else (),
        )
        self._rows: list[ndarray] = []
        self.picture: UInt8[ndarray, "h w 3"] | None = None

    def add(self, stored: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> None:
        """Draw photos of one batch, up to the number per validation.

        Args:
            stored: The batch of stored integers (see `distill.students.data.dataset`).
            outputs: The student's final values for it.
        """
        for index in range(min(self._count - len(self._rows), len(stored["image"]))):
            cells = [stored["image"][index].cpu().numpy()]
            for task in self._spec.dense_tasks:
                label = stored[str(task)][index].cpu().numpy()
                known = stored[f"{task}_confidence"][index].cpu().numpy() > 0
                predicted = drawer_of(task).draw(outputs[task][index].cpu().numpy(), None, self._facts)
                cells += [self._draw_label(task, label, known), predicted]
            cells = [_at_height(cell) for cell in cells]
            if not self._rows:
                cells = [add_caption(cell, name) for cell, name in zip(cells, self._columns(), strict=True)]
            self._rows.append(np.concatenate(cells, axis=1))

    def write(self, step: int) -> None:
        """Write the image with a header and legends, and start again."""
        if self._rows:
            make_folder(self._folder)
            self.picture = self._with_legends(np.concatenate(self._rows))
            write_atomic(self._folder / f"step-{step:07d}.png", encode_map(self.picture))
        self._rows = []

    def _columns(self) -> list[str]:
        """Headers of the columns."""
        return ["photo", *(f"{task} {part}" for task in self._spec.dense_tasks for part in ("label", "student"))]

    def _with_legends(self, picture: UInt8[ndarray, "h w 3"]) -> UInt8[ndarray, "h2 w 3"]:
        """The image with the legends of depth and classes below it."""
        if Task.DEPTH in self._spec.dense_tasks:
            picture = add_depth_bar(picture, depth_kind=self._facts.depth_kind)
        if Task.SEMANTIC in self._spec.dense_tasks:
            picture = add_class_legend(picture, [for_line(name) for name in self._facts.classes])
        return picture

    def _draw_label(self, task: Task, stored: ndarray, known: ndarray) -> UInt8[ndarray, "h w 3"]:
        value, _ = label_format(task).decode(stored, TASKS[task], self._facts.depth_kind)
        return drawer_of(task).draw(value, known, self._facts)


def _at_height(rgb: UInt8[ndarray, "h w 3"]) -> UInt8[ndarray, "h2 w2 3"]:
    width = max(1, round(rgb.shape[1] * _HEIGHT_PX / rgb.shape[0]))
    resized: ndarray = cv2.resize(rgb, (width, _HEIGHT_PX), interpolation=cv2.INTER_AREA)
    return resized
