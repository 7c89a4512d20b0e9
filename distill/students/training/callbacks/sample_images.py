"""Sample images of a run: photo, label and prediction next to each other, one row per photo."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from torch import Tensor

from distill.files import make_folder, write_atomic
from distill.images import encode_map
from distill.labels.formats import label_format
from distill.spec import StudentSpec
from distill.tasks import TASKS, DepthKind, Task
from distill.visualization.label_drawers import DrawingFacts, drawer_of

_HEIGHT_PX = 160


class SampleImageWriter:
    """The first few validation photos of each validation, as ``samples/step-<n>.png``."""

    def __init__(self, run_dir: Path, spec: StudentSpec, count: int) -> None:
        self._folder, self._spec, self._count = run_dir / "samples", spec, count
        self._facts = DrawingFacts(
            depth_kind=spec.depth.depth_kind if spec.depth else DepthKind.METRIC,
            classes=spec.semantic.classes if spec.semantic else (),
        )
        self._rows: list[ndarray] = []

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
            self._rows.append(np.concatenate([_at_height(cell) for cell in cells], axis=1))

    def write(self, step: int) -> None:
        """Write the image and start again."""
        if self._rows:
            make_folder(self._folder)
            write_atomic(self._folder / f"step-{step:07d}.png", encode_map(np.concatenate(self._rows)))
        self._rows = []

    def _draw_label(self, task: Task, stored: ndarray, known: ndarray) -> UInt8[ndarray, "h w 3"]:
        value, _ = label_format(task).decode(stored, TASKS[task], self._facts.depth_kind)
        return drawer_of(task).draw(value, known, self._facts)


def _at_height(rgb: UInt8[ndarray, "h w 3"]) -> UInt8[ndarray, "h2 w2 3"]:
    width = max(1, round(rgb.shape[1] * _HEIGHT_PX / rgb.shape[0]))
    resized: ndarray = cv2.resize(rgb, (width, _HEIGHT_PX), interpolation=cv2.INTER_AREA)
    return resized
