"""Legends, plots and tables of single images for the evaluation report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy import ndarray

from distill.metrics.base import HIGHER, LOWER, task_metric
from distill.report import Bars, Block, ColorKey, ColorScale, Curve, Curves, Histogram, Matrix, Table, Text
from distill.tasks import TASKS, Task
from distill.visualization import class_colors
from distill.visualization.colormaps import INVALID_RGB, NORMAL_COLORS, depth_colors, error_colors


def color_legends(task: Task, found: Mapping[str, Any]) -> list[Block]:
    """What the colors of the pictures mean."""
    blocks: list[Block] = []
    if "classes" in found:
        colors = class_colors(len(found["classes"]))
        blocks.append(ColorKey({name: colors[index].tolist() for index, name in enumerate(found["classes"])}))
    if TASKS[task].drawing == "depth":
        blocks.append(
            ColorScale("depth; the range of a row is that of its truth", _stops(depth_colors()), ("near", "far"))
        )
    if TASKS[task].drawing == "normals":
        blocks.append(ColorKey(NORMAL_COLORS))
    limit = task_metric(task).error_limit
    if limit:
        end, unit = limit
        labels = (f"0{unit}", f"{end / 2:g}{unit}", f"{end:g}{unit} or more")
        blocks.append(ColorScale(f"{task_metric(task).image_error} of a pixel", _stops(error_colors()), labels))
    else:
        blocks.append(ColorKey({"right": error_colors()[0].tolist(), "wrong": error_colors()[-1].tolist()}))
    return [*blocks, ColorKey({"no value": INVALID_RGB})]


def _stops(colors: ndarray) -> list[list[int]]:
    return [[int(value) for value in row] for row in colors[:: max(1, len(colors) // 12)]]


def slice_bars(task: Task, kind: str, rows: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> Bars:
    """Scores of parts of the set."""
    series = {name: [_number(row.get(name)) for row in rows.values()] for name in names[:3]}
    arrow = task_metric(task).columns[TASKS[task].headline][1] if " of the photo" in kind else LOWER
    return Bars(f"by {kind}", list(rows), series, _unit(kind), better=_WAYS.get(arrow, ""))


_WAYS = {HIGHER: "higher", LOWER: "lower"}


def _unit(kind: str) -> str:
    return kind.partition("(")[2].rstrip(")")


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def class_bars(per_class: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> Bars:
    """IoU of every class."""
    series = {name: [_number(row["iou"].get(name)) for row in per_class.values()] for name in names[:3]}
    return Bars("IoU by class", list(per_class), series, "IoU", better="higher")


def reliability_curve(task: Task, rows: Sequence[Mapping[str, Any]]) -> list[Block]:
    """Stated confidence against measured error."""
    if not rows:
        return []
    limit = task_metric(task).error_limit
    stated, errors = [float(row["confidence"]) for row in rows], [float(row["error"]) for row in rows]
    curves = [Curve("measured", stated, errors)]
    if not limit:
        curves.append(Curve("as stated", [0.0, 1.0], [1.0, 0.0]))
    unit = f"mean error{limit[1] and ' in ' + limit[1].strip()}" if limit else "fraction of wrong pixels"
    title = "stated confidence against measured error"
    note = "The line should fall: pixels that state a high confidence should have a small error."
    return [Curves(title, curves, "stated confidence", unit), Text(note, "note")]


def image_error_histogram(task: Task, found: Mapping[str, Any], first: str) -> list[Block]:
    """Histogram of the errors of the images."""
    errors = [_number(row["errors"].get(first)) for row in found.get("per_image", ())]
    known = np.array([value for value in errors if value is not None and math.isfinite(value)])
    if len(known) < 5:
        return []
    top = float(np.quantile(known, 0.98)) or 1.0
    counts, edges = np.histogram(np.minimum(known, top), bins=16, range=(0.0, top))
    label = f"{task_metric(task).image_error} of an image"
    return [Histogram(f"images by error of {first}", edges.tolist(), counts.tolist(), label, "images")]


_MAX_CLASSES = 24


def confusion_matrix(found: Mapping[str, Any], first: str) -> list[Block]:
    """Confusion matrix of the first predictor, in fractions of the true class; the most frequent classes."""
    counts = np.array(found.get("confusion", {}).get(first) or [], np.float64)
    if counts.ndim != 2 or counts.shape[0] != len(found["classes"]) or not counts.any():
        return []
    total = counts.sum(axis=1)
    kept = sorted(np.argsort(-total, kind="stable")[:_MAX_CLASSES].tolist())
    values = [[float(counts[row, column] / total[row]) if total[row] else None for column in kept] for row in kept]
    left = len(found["classes"]) - len(kept)
    note = "Of the pixels of a true class (row), the fraction predicted as each class."
    note += f" The {left} least frequent classes are left out." if left > 0 else ""
    return [Matrix(f"confusion of {first}", [str(found["classes"][index]) for index in kept], values, note)]


_MAX_IMAGES = 500


def image_table(task: Task, found: Mapping[str, Any], names: Sequence[str]) -> Table:
    """Errors of every image, worst first."""
    rows = [[str(row["image"]), *(_number(row["errors"].get(name)) for name in names)] for row in found["per_image"]]
    rows.sort(key=lambda row: -(row[1] if isinstance(row[1], float) and math.isfinite(row[1]) else -1.0))
    note = f"{task_metric(task).image_error} of each image, worst first; a click on a column sorts by it."
    if len(rows) > _MAX_IMAGES:
        note += f" The worst {_MAX_IMAGES} of {len(rows):,}; evaluate.json has the others."
    return Table(["image", *names], rows[:_MAX_IMAGES], note=note)
