"""A runner's outputs as lossless files, stored like labels: what a student predicts can teach another one."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Shaped, UInt16
from numpy import ndarray

from distill.export.runners import Outputs
from distill.images import encode_map
from distill.labels import label_format
from distill.spec import StudentSpec
from distill.tasks import TASKS, DepthKind, Task
from distill.visualization import draw_normals

DEPTH_FORMULA = "0: invalid; else meters = 10 * ((1 - v / 65535) ** -0.5 - 1); 65535: beyond what can be told apart"
RELATIVE_FORMULA = "0: invalid; else value = (v - 1) / 65534, in [0, 1]"
_STRIP_PX = 64
NORMALS_FORMULA = "0,0,0: invalid; else x = 1 - 2 R / 255, y = 2 G / 255 - 1, z = 2 B / 255 - 1"


def encode_outputs(outputs: Outputs, spec: StudentSpec, *, confidence: bool = False) -> dict[str, bytes]:
    """The maps of one picture as PNG files, by extension, such as ``depth.png`` and ``depth.confidence.png``."""
    files = {f"{task}.png": encode_map(values) for task, values in to_stored_maps(outputs, spec).items()}
    if confidence:
        for task in spec.tasks:
            values = np.clip(outputs[f"{task}_confidence"], 0, 1) * 255
            files[f"{task}.confidence.png"] = encode_map(np.rint(values).astype(np.uint8))
    return files


def describe_maps(spec: StudentSpec) -> dict[str, Any]:
    """How to read the files that `encode_outputs` writes, for ``predictions.json``."""
    described: dict[str, dict[str, Any]] = {}
    if spec.depth is not None:
        metric = spec.depth.depth_kind is DepthKind.METRIC
        described["depth"] = {
            "file": "depth.png, 16-bit gray",
            "depth_kind": str(spec.depth.depth_kind),
            "unit": spec.depth.unit,
            "value": DEPTH_FORMULA if metric else RELATIVE_FORMULA,
        }
    if spec.normals is not None:
        described["normals"] = {"file": "normals.png, RGB", "frame": spec.normals.frame, "value": NORMALS_FORMULA}
    if spec.semantic is not None:
        described["semantic"] = {
            "file": "semantic.png, 8-bit gray",
            "classes": list(spec.semantic.classes),
            "ignore": spec.semantic.ignore,
            "value": "index into classes",
        }
    if spec.instance is not None:
        described["instance"] = {"file": "instance.png, 16-bit gray", "value": "0: background; else an instance"}
    for name, entry in described.items():
        entry["confidence"] = f"{name}.confidence.png, 8-bit gray: chance to be right = v / 255"
    return described


def to_stored_maps(outputs: Outputs, spec: StudentSpec) -> dict[Task, Shaped[ndarray, "h w *c"]]:
    """The maps of one picture as integers, as `distill.labels` stores them."""
    return {task: _stored(task, outputs[task], spec) for task in spec.tasks}


def _stored(task: Task, value: ndarray, spec: StudentSpec) -> ndarray:
    if task is Task.SEMANTIC:
        return value
    if task is Task.INSTANCE:
        return value.astype(np.uint16)
    if task is Task.DEPTH:
        depth_kind = spec.depth.depth_kind if spec.depth else DepthKind.METRIC
        if depth_kind is DepthKind.METRIC and value.dtype == np.float32:
            return _store_meters(value)
        return label_format(task).encode_value(value, np.isfinite(value), TASKS[task], depth_kind)
    finite = np.isfinite(value)
    if finite.all():  # the result of `NormalsFormat`, in 2 ms instead of 30 for 1280x720
        return draw_normals(value)
    return label_format(task).encode_value(value, finite.all(axis=-1), TASKS[task], None)


def _store_meters(depth_m: Float[ndarray, "h w"]) -> UInt16[ndarray, "h w"]:
    """The result of `DepthFormat` for metric depth, up to one level of 65535; in strips that stay in the cache."""
    stored = np.empty(depth_m.shape, np.uint16)
    for top in range(0, depth_m.shape[0], _STRIP_PX):
        rows = slice(top, top + _STRIP_PX)
        # fmax turns NaN into -1; what is no number, or infinite, is stored as invalid.
        value = np.fmax(depth_m[rows], np.float32(-1.0))
        invalid = ~(value > -1) | ~(value < np.inf)
        value = np.maximum(value, 0, out=value)
        value *= np.float32(0.1)
        value += np.float32(1.0)
        np.multiply(value, value, out=value)
        np.divide(np.float32(-65535.0), value, out=value)
        value += np.float32(65535.5)
        stored[rows] = np.maximum(value, 1, out=value)
        stored[rows][invalid] = 0
    return stored
