"""Outputs of a runner as lossless maps in the format of labels, so that predictions can train another student."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, Shaped, UInt16
from numpy import ndarray

from distill.export.runners import Outputs
from distill.images import encode_map
from distill.labels.formats import label_format
from distill.spec import StudentSpec
from distill.tasks import TASKS, DepthKind, Task
from distill.visualization import draw_normals

_STRIP_PX = 64
_PIXEL_TYPES = {("uint16", ()): "16-bit gray", ("uint8", ()): "8-bit gray", ("uint8", (3,)): "RGB"}


def encode_outputs(
    outputs: Outputs, spec: StudentSpec, *, confidence: bool = False, size_hw: tuple[int, int] | None = None
) -> dict[str, bytes]:
    """PNG files of one image, by extension, such as ``depth.png`` and ``depth.confidence.png``.

    Args:
        outputs: Outputs of the engine.
        spec: Its tasks.
        confidence: Encode confidence maps as well.
        size_hw: Size of the files, if another one: enlarged without mixing values.
    """
    maps = to_stored_maps(outputs, spec)
    files = {f"{task}.png": encode_map(_at_size(values, size_hw)) for task, values in maps.items()}
    if confidence:
        for task in spec.tasks:
            values = np.rint(np.clip(outputs[f"{task}_confidence"], 0, 1) * 255).astype(np.uint8)
            files[f"{task}.confidence.png"] = encode_map(_at_size(values, size_hw))
    return files


def _at_size(values: Shaped[ndarray, "h w *c"], size_hw: tuple[int, int] | None) -> Shaped[ndarray, "h2 w2 *c"]:
    if size_hw is None or values.shape[:2] == size_hw:
        return values
    resized: ndarray = cv2.resize(values, size_hw[::-1], interpolation=cv2.INTER_NEAREST)
    return resized


def describe_maps(spec: StudentSpec) -> dict[str, Any]:
    """Description of the files of `encode_outputs` for ``predictions.json``, by task."""
    return {str(task): _describe(task, spec) for task in spec.tasks}


def to_stored_maps(outputs: Outputs, spec: StudentSpec) -> dict[Task, Shaped[ndarray, "h w *c"]]:
    """Maps of one image as integers, in the format of `distill.labels`."""
    return {task: _stored(task, outputs[task], _depth_kind(task, spec)) for task in spec.tasks}


def _describe(task: Task, spec: StudentSpec) -> dict[str, Any]:
    info = TASKS[task]
    return {
        "file": f"{task}.png, {_PIXEL_TYPES[info.dtype, info.channels]}",
        **getattr(spec, task).model_dump(mode="json"),
        "value": label_format(task).formula(info, _depth_kind(task, spec)),
        "confidence": f"{task}.confidence.png, 8-bit gray: probability of being correct = v / 255",
    }


def _depth_kind(task: Task, spec: StudentSpec) -> DepthKind | None:
    return spec.depth.depth_kind if TASKS[task].has_depth_kind and spec.depth is not None else None


def _stored(task: Task, value: ndarray, depth_kind: DepthKind | None) -> ndarray:
    info = TASKS[task]
    fast = STORERS.get(info.storage)
    stored = fast(value, info.dtype, depth_kind) if fast is not None else None
    if stored is not None:
        return stored
    finite = np.isfinite(value)
    valid = finite.all(axis=-1) if info.channels else finite
    encoded: ndarray = label_format(task).encode_value(value, valid, info, depth_kind)
    return encoded


def _store_ids(ids: ndarray, dtype: str, depth_kind: DepthKind | None) -> ndarray:
    return ids.astype(dtype, copy=False)


def _store_depth(depth: ndarray, dtype: str, depth_kind: DepthKind | None) -> ndarray | None:
    return _store_meters(depth) if depth_kind is DepthKind.METRIC and depth.dtype == np.float32 else None


def _store_normals(normals: ndarray, dtype: str, depth_kind: DepthKind | None) -> ndarray | None:
    """The result of `NormalsFormat` in 2 ms instead of 30 for 1280x720, if all pixels are valid."""
    return draw_normals(normals) if np.isfinite(normals).all() else None


STORERS: dict[str, Callable[[ndarray, str, DepthKind | None], ndarray | None]] = {
    "ids": _store_ids,
    "depth": _store_depth,
    "normals": _store_normals,
}
"""Faster encoders by `TaskInfo.storage` (optional); None where the `LabelFormat` has to do it."""


def _store_meters(depth_m: Float[ndarray, "h w"]) -> UInt16[ndarray, "h w"]:
    """The result of `DepthFormat` for metric depth, up to one level of 65535; in strips that fit the cache."""
    stored = np.empty(depth_m.shape, np.uint16)
    for top in range(0, depth_m.shape[0], _STRIP_PX):
        rows = slice(top, top + _STRIP_PX)
        # fmax turns NaN into -1; NaN and infinity are stored as invalid.
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
