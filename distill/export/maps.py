"""A runner's outputs as lossless files, stored like labels: what a student predicts can teach another one."""

from __future__ import annotations

from typing import Any

import numpy as np

from distill.export.runners import Outputs
from distill.images import encode_map
from distill.labels import encode_depth, encode_normals
from distill.pictures import draw_normals
from distill.spec import StudentSpec
from distill.tasks import Gauge, Task

DEPTH_FORMULA = "0: invalid; else metres = 10 * ((1 - v / 65535) ** -0.5 - 1); 65535: beyond what can be told apart"
RELATIVE_FORMULA = "0: invalid; else value = (v - 1) / 65534, in [0, 1]"
NORMALS_FORMULA = "0,0,0: invalid; else x = 1 - 2 R / 255, y = 2 G / 255 - 1, z = 2 B / 255 - 1"


def encode_outputs(outputs: Outputs, spec: StudentSpec, *, confidence: bool = False) -> dict[str, bytes]:
    """The maps of one picture as PNG files, by extension, such as ``depth.png`` and ``depth.confidence.png``."""
    files = {f"{task}.png": encode_map(_stored(task, outputs, spec)) for task in spec.tasks}
    if confidence:
        for task in spec.tasks:
            values = np.clip(outputs[f"{task}_confidence"], 0, 1) * 255
            files[f"{task}.confidence.png"] = encode_map(np.rint(values).astype(np.uint8))
    return files


def describe_maps(spec: StudentSpec) -> dict[str, Any]:
    """How to read the files that `encode_outputs` writes, for ``predictions.json``."""
    described: dict[str, dict[str, Any]] = {}
    if spec.depth is not None:
        metric = spec.depth.gauge is Gauge.METRIC
        described["depth"] = {
            "file": "depth.png, 16-bit gray",
            "gauge": str(spec.depth.gauge),
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
    for name, entry in described.items():
        entry["confidence"] = f"{name}.confidence.png, 8-bit gray: chance to be right = v / 255"
    return described


def _stored(task: Task, outputs: Outputs, spec: StudentSpec) -> Any:
    value = outputs[task]
    if task is Task.SEMANTIC:
        return value
    finite = np.isfinite(value)
    if task is Task.DEPTH:
        return encode_depth(value, finite, spec.depth.gauge if spec.depth else Gauge.METRIC)
    if finite.all():  # what `encode_normals` gives, in 2 ms instead of 30 for 1280x720
        return draw_normals(value)
    return encode_normals(value, finite.all(axis=-1))
