"""Pictures of what a student answers while it learns: photo, label and answer side by side, one row per photo."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from torch import Tensor

from distill.images import encode_map, write_atomic
from distill.labels import label_format
from distill.spec import StudentSpec
from distill.tasks import TASKS, DepthKind, Task
from distill.visualization import draw_depth, draw_normals, draw_semantic

_HEIGHT_PX = 160


class SampleImageWriter:
    """The first few validation photos of each validation, as ``samples/step-<n>.png``."""

    def __init__(self, run_dir: Path, spec: StudentSpec, count: int) -> None:
        self._folder, self._spec, self._count = run_dir / "samples", spec, count
        self._rows: list[ndarray] = []

    def add(self, stored: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> None:
        """Draw photos of one batch, until there are enough.

        Args:
            stored: The batch as it lies in the shards (see `distill.students.data.dataset`).
            outputs: The student's final values for it.
        """
        for index in range(min(self._count - len(self._rows), len(stored["image"]))):
            cells = [stored["image"][index].cpu().numpy()]
            for task in self._spec.dense_tasks:
                label = stored[str(task)][index].cpu().numpy()
                known = stored[f"{task}_confidence"][index].cpu().numpy() > 0
                cells += [self._draw_label(task, label, known), self._draw(task, outputs[task][index].cpu().numpy())]
            self._rows.append(np.concatenate([_at_height(cell) for cell in cells], axis=1))

    def write(self, step: int) -> None:
        """Write the picture and forget the photos."""
        if self._rows:
            self._folder.mkdir(exist_ok=True)
            write_atomic(self._folder / f"step-{step:07d}.png", encode_map(np.concatenate(self._rows)))
        self._rows = []

    def _draw_label(self, task: Task, stored: ndarray, known: ndarray) -> UInt8[ndarray, "h w 3"]:
        if task is Task.DEPTH:
            depth = label_format(task).decode(stored, TASKS[task], self._depth_kind)[0]
            return draw_depth(depth, known, depth_kind=self._depth_kind)
        if task is Task.NORMALS:
            return draw_normals(label_format(task).decode(stored, TASKS[task], None)[0], known)
        return self._draw(task, np.where(known, stored, 255).astype(np.uint8))

    def _draw(self, task: Task, value: ndarray) -> UInt8[ndarray, "h w 3"]:
        if task is Task.DEPTH:
            return draw_depth(value, depth_kind=self._depth_kind)
        if task is Task.NORMALS:
            return draw_normals(value)
        return draw_semantic(value, len(self._spec.semantic.classes) if self._spec.semantic else 1)

    @property
    def _depth_kind(self) -> DepthKind:
        return self._spec.depth.depth_kind if self._spec.depth else DepthKind.METRIC


def _at_height(rgb: UInt8[ndarray, "h w 3"]) -> UInt8[ndarray, "h2 w2 3"]:
    width = max(1, round(rgb.shape[1] * _HEIGHT_PX / rgb.shape[0]))
    return cv2.resize(rgb, (width, _HEIGHT_PX), interpolation=cv2.INTER_AREA)
