"""Where the scores come from: by distance, by what the truth sees there, by how the photo was taken."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.commands.scoring.boards import Board
from distill.tasks import Task

_WIDTH_PX = 320
_THIRDS = {"brightness": ("dark", "medium", "bright"), "sharpness": ("blurred", "medium", "sharp")}


def describe_photo(rgb: UInt8[ndarray, "h w 3"]) -> dict[str, float]:
    """Brightness in 0..255, and sharpness: variance of the Laplacian at a width of 320 px, whatever the size."""
    height = max(1, round(rgb.shape[0] * _WIDTH_PX / rgb.shape[1]))
    gray = cv2.cvtColor(cv2.resize(rgb, (_WIDTH_PX, height), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    return {"brightness": float(gray.mean()), "sharpness": float(cv2.Laplacian(gray, cv2.CV_32F).var())}


def slice_scores(
    board: Board, photos: list[dict[str, float]], metric: str, classes: tuple[str, ...]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Kind of slice to slice to contestant to score.

    Args:
        board: After the last photo.
        photos: `describe_photo` of every photo of the board, in order.
        metric: The score of the slices by photo.
        classes: Of the truth.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name, judge in board.judges.items():
        if board.task is Task.DEPTH:
            for band, scores in judge.metrics.bands().items():  # type: ignore[attr-defined]
                found.setdefault("distance (AbsRel)", {}).setdefault(band, {})[name] = scores["abs_rel"]
        if board.task in (Task.DEPTH, Task.NORMALS) and classes:
            unit = "AbsRel" if board.task is Task.DEPTH else "mean, °"
            for group, (error, _) in judge.metrics.by_group.means().items():  # type: ignore[attr-defined]
                if group < len(classes):
                    found.setdefault(f"class ({unit})", {}).setdefault(classes[group], {})[name] = error
    for kind, labels in _THIRDS.items():
        values = np.array([photo[kind] for photo in photos])
        if len(values) < 3 * len(labels):
            continue  # a third of a handful says nothing
        third = np.searchsorted(np.quantile(values, (1 / 3, 2 / 3)), values)
        for index, label in enumerate(labels):
            row = {name: _score(board, name, third == index, metric) for name in board.judges}
            found.setdefault(f"{kind} of the photo ({metric})", {})[label] = row
    return found


def _score(board: Board, name: str, chosen: ndarray, metric: str) -> float:
    rows, scored = board.rows_by_image(name)
    return float(board.judges[name].metrics.pool(rows[chosen & scored].sum(axis=0))[metric])
