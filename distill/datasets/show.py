"""One sample: all its maps as one picture, and their values at points of its photo."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.datasets.shard_set import ShardSet
from distill.datasets.shard_set import open as open_set
from distill.errors import UsageError
from distill.escaping import for_line
from distill.files import write_atomic
from distill.images import decode_rgb, encode_map
from distill.labels import Label
from distill.labels.instance_layers import mask_of
from distill.shards import Sample
from distill.tasks import TASKS, DepthKind
from distill.visualization.sample_sheet import draw_sample

_POINT = re.compile(r"(\d{1,6}),(\d{1,6})")


@dataclass(frozen=True, slots=True)
class ShownSample:
    """Outcome of `show`.

    Attributes:
        key: Of the sample.
        position: In the set, from 0.
        name: Of its photo.
        size_hw: Of its photo, upright.
        labels: By task: size of the map, valid fraction, mean confidence, and what its record states.
        points: Values at each point: x, y, and by task value, unit and confidence.
        out: The picture; None without one.
    """

    key: str
    position: int
    name: str
    size_hw: tuple[int, int]
    labels: Mapping[str, Mapping[str, Any]]
    points: Sequence[Mapping[str, Any]]
    out: Path | None

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {
            "key": self.key,
            "position": self.position,
            "name": self.name,
            "size_hw": list(self.size_hw),
            "labels": {task: dict(values) for task, values in self.labels.items()},
            "points": list(self.points),
            "out": str(self.out) if self.out else None,
        }

    def to_text(self) -> str:
        """Format for a terminal."""
        title = f"{self.key} (sample {self.position}): {self.name}"
        lines = [f"{for_line(title)}, {self.size_hw[0]}x{self.size_hw[1]} px"]
        for task, values in self.labels.items():
            height, width = values["size_hw"]
            origin = ", ".join(str(values[name]) for name in ("teacher", "license") if values.get(name))
            quality = f", quality {values['quality']:.3f}" if values.get("quality") is not None else ""
            lines.append(
                f"  {task}: {height}x{width}, {100 * values['valid_fraction']:.1f} % valid, mean confidence "
                f"{values['mean_confidence']:.3f}{quality}{for_line(f', by {origin}') if origin else ''}"
            )
        for point in self.points:
            lines.append(f"at {point['x']},{point['y']}:")
            lines += [f"  {task}: {for_line(found['text'])}" for task, found in point["values"].items()]
        if self.out:
            lines.append(f"picture: {self.out}")
        return "\n".join(lines)


def show(
    folder: str | Path,
    key: str | int,
    *,
    out: str | Path | None = None,
    at: Sequence[str | tuple[int, int]] = (),
) -> ShownSample:
    """Show one sample: its photo and all maps as one picture, and their values at points of the photo.

    Args:
        folder: Folder of shards.
        key: Key of the sample, the beginning of one key only, or its position from 0.
        out: File for the picture (PNG).
        at: Points ``(x, y)`` or ``"x,y"`` in pixels of the upright photo, from its upper left corner.

    Returns:
        Facts about the labels, and their values at the points.

    Raises:
        UsageError: There is no such sample, or a point is outside of its photo.
        DistillError: The sample is damaged, or the picture cannot be written.

    Example:
        >>> distill.data.show("shards", 17, out="17.png", at=[(320, 240)]).points[0]["values"]["depth"]["value"]
    """
    samples = open_set(folder)
    position = _find(samples, key)
    sample = samples[position]
    rgb, _ = decode_rgb(sample.photo, sample.key)
    points = [_read_point(point, (rgb.shape[0], rgb.shape[1])) for point in at]
    labels = {task: sample.label(task, samples.manifest) for task in sample.tasks}
    if out is not None:
        if Path(out).suffix.lower() != ".png":
            raise UsageError(f"{out}: the picture is a PNG", hint="give --out a name that ends with .png")
        write_atomic(Path(out), encode_map(draw_sample(rgb, list(labels.values()), points)))
    return ShownSample(
        key=sample.key,
        position=position,
        name=str(sample.meta.get("name") or sample.key),
        size_hw=(rgb.shape[0], rgb.shape[1]),
        labels={str(task): _describe(sample, label) for task, label in labels.items()},
        points=[
            {"x": x, "y": y, "values": {str(task): _value_at(label, x, y, rgb) for task, label in labels.items()}}
            for x, y in points
        ],
        out=Path(out) if out is not None else None,
    )


def _find(samples: ShardSet, key: str | int) -> int:
    """Position of a sample.

    Raises:
        UsageError: There is none, or there are several.
    """
    keys = samples.keys
    if str(key) in keys:
        return keys.index(str(key))
    if str(key).isdecimal() and int(key) < len(keys):
        return int(key)
    found = [position for position, name in enumerate(keys) if name.startswith(str(key))]
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} keys begin with {key!r}, such as {keys[found[0]]}" if found else f"has no sample {key!r}"
    raise UsageError(
        f"{samples.folder}: {what}",
        hint=f"give a key such as {keys[0]}, or a position below {len(keys)}" if keys else "",
    )


def _read_point(point: str | tuple[int, int], size_hw: tuple[int, int]) -> tuple[int, int]:
    """(x, y) of a point in the photo.

    Raises:
        UsageError: It is no point, or outside of the photo.
    """
    if isinstance(point, str):
        match = _POINT.fullmatch(point.replace(" ", ""))
        if match is None:
            raise UsageError(f"--at {point}: not a point", hint="give x,y in pixels of the photo, such as 320,240")
        point = int(match[1]), int(match[2])
    x, y = point
    if not (0 <= x < size_hw[1] and 0 <= y < size_hw[0]):
        raise UsageError(
            f"--at {x},{y}: outside of the photo", hint=f"x is from 0 to {size_hw[1] - 1}, y from 0 to {size_hw[0] - 1}"
        )
    return x, y


def _describe(sample: Sample, label: Label) -> dict[str, Any]:
    """Facts about a label."""
    records = [record for record in sample.meta.get("records") or [] if record.get("task") == str(label.task)]
    first = records[0] if records else {}
    return {
        "size_hw": list(label.size_hw),
        "valid_fraction": label.valid_fraction,
        "mean_confidence": float(label.confidence[label.valid].mean()) if label.valid.any() else 0.0,
        "answers": len(records),
        **{name: first.get(name) for name in ("teacher", "license", "quality", "cost_usd", "prompt")},
    }


def _value_at(label: Label, x: int, y: int, rgb: UInt8[ndarray, "h w 3"]) -> dict[str, Any]:
    """Value of a label at a pixel of the photo, as numbers and as text."""
    row, column = y * label.size_hw[0] // rgb.shape[0], x * label.size_hw[1] // rgb.shape[1]
    if not label.valid[row, column]:
        return {"value": None, "unit": "", "confidence": 0.0, "text": "no value"}
    confidence = round(float(label.confidence[row, column]), 3)
    value, unit, text = _READERS[TASKS[label.task].storage](label, row, column)
    return {"value": value, "unit": unit, "confidence": confidence, "text": f"{text} (confidence {confidence:g})"}


def _read_depth(label: Label, row: int, column: int) -> tuple[Any, str, str]:
    value = float(label.value[row, column])
    if label.depth_kind in (None, DepthKind.METRIC):
        return round(value, 4), "m", f"{value:.3f} m"
    return round(value, 4), str(label.depth_kind), f"{value:.4f} ({label.depth_kind})"


def _read_vector(label: Label, row: int, column: int) -> tuple[Any, str, str]:
    vector = label.value[row, column].astype(float)
    turned = float(np.degrees(np.arccos(np.clip(vector[2], -1, 1))))
    x, y, z = (round(part, 4) for part in vector.tolist())
    text = f"x {x:.3f} (right), y {y:.3f} (up), z {z:.3f} (to the camera); {turned:.1f} degrees from the camera's axis"
    return [x, y, z], "unit vector", text


def _read_id(label: Label, row: int, column: int) -> tuple[Any, str, str]:
    number = int(label.value[row, column])
    if TASKS[label.task].class_list != "instance_classes":
        name = label.classes[number] if number < len(label.classes) else "no name"
        return number, name, f"{number} {name}"
    front = [number] if number else []
    hidden = [other for other in label.instance_classes if other != number and _covers(label, other, row, column)]
    if not front + hidden:
        return 0, "background", "background"
    names = [f"instance {found} {label.instance_classes.get(found, 'no name')}" for found in front + hidden]
    return number, label.instance_classes.get(number, ""), ", behind it ".join(names)


def _covers(label: Label, number: int, row: int, column: int) -> bool:
    point = [layer[row : row + 1, column : column + 1] for layer in label.instance_layers]
    return bool(mask_of(point, number).any())


def _read_unit(label: Label, row: int, column: int) -> tuple[Any, str, str]:
    value = float(label.value[row, column])
    return round(value, 4), "probability", f"{value:.3f}"


_READERS = {"depth": _read_depth, "normals": _read_vector, "ids": _read_id, "unit": _read_unit}
"""One reader per `TaskInfo.storage`."""
