"""Class masks as COCO run lengths: one JSON file per video, readable with ``pycocotools.mask.decode``.

Runs follow the columns, background first, and are written as text: every length (from the third on, its difference to
the second-last one) in groups of five bits, low bits first, plus 48. Source: ``rleToString`` in
``common/maskApi.c`` of cocodataset/cocoapi.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from jaxtyping import Bool, Int64, UInt8
from numpy import ndarray

from distill.export.inference.stages import PipelineItem
from distill.export.runners import Outputs
from distill.export.sinks.base import JsonLinesSink, write_error
from distill.spec import StudentSpec
from distill.tasks import Task

_MAX_GROUPS = 13
"""Five bits each: 64 bits and the sign."""


def encode_rle(mask: Bool[ndarray, "h w"]) -> dict[str, Any]:
    """COCO's ``segmentation`` of a mask: ``{"size": [h, w], "counts": text}``."""
    runs = _runs(mask.astype(np.uint8))
    return _segmentation(mask.shape[0], mask.shape[1], *_of_class(runs, 1))


def decode_rle(segmentation: dict[str, Any]) -> Bool[ndarray, "h w"]:
    """Mask of a ``segmentation``; the inverse of `encode_rle`."""
    height, width = segmentation["size"]
    lengths = _from_text(segmentation["counts"])
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(width, height).T


class CocoMasksSink(JsonLinesSink):
    """``<key>.masks.json``: images, categories and one annotation per frame and visible class."""

    name = "masks"
    stages = ("masks", "")

    def __init__(self, work: Path, out: Path, spec: StudentSpec, *, workers: int = 1) -> None:
        super().__init__(work, workers=workers)
        self.out = out
        self._classes = spec.semantic.classes if spec.semantic else ()

    def prepare(self, item: PipelineItem, outputs: Outputs) -> list[str]:
        """One line with the frame and its annotations."""
        ids: UInt8[ndarray, "h w"] = outputs[Task.SEMANTIC]
        height, width = ids.shape
        runs, annotations = _runs(ids), []
        for number in range(len(self._classes)):
            starts, stops = _of_class(runs, number)[:2]
            if not starts.size:
                continue
            segmentation = _segmentation(height, width, starts, stops, ids.size)
            annotations.append(
                {
                    "image_id": item.index,
                    "category_id": number,
                    "iscrowd": 1,
                    "area": int((stops - starts).sum()),
                    "bbox": _box(starts, stops, height),
                    "segmentation": segmentation,
                }
            )
        image = {"id": item.index, "file_name": item.key, "height": height, "width": width}
        return [json.dumps({"image": {**image, "time_s": round(item.pts_s, 6)}, "annotations": annotations})]

    def finish(self, segments: Sequence[Sequence[Path]]) -> list[Path]:
        """Join all lines to one JSON file."""
        temporary = self.out.with_name(f".{self.out.name}.part")
        parts = [path for files in segments for path in files]
        try:
            with temporary.open("w") as file:
                self._gather(parts, file)
            temporary.replace(self.out)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise write_error(self.out, error) from error
        return [self.out]

    def _gather(self, parts: Sequence[Path], file: TextIO) -> None:
        categories = [{"id": number, "name": name} for number, name in enumerate(self._classes)]
        file.write('{"categories": ' + json.dumps(categories) + ',\n"images": [')
        file.writelines(_joined(json.dumps(line["image"]) for line in _lines(parts)))
        file.write('],\n"annotations": [')
        numbered = enumerate(entry for line in _lines(parts) for entry in line["annotations"])
        file.writelines(_joined(json.dumps({"id": number + 1, **entry}) for number, entry in numbered))
        file.write("]}\n")


def _lines(parts: Sequence[Path]) -> Iterator[Any]:
    for part in parts:
        with part.open() as file:
            yield from map(json.loads, file)


def _joined(texts: Iterator[str]) -> Iterator[str]:
    for number, text in enumerate(texts):
        yield (",\n" if number else "\n") + text


def _runs(ids: UInt8[ndarray, "h w"]) -> tuple[ndarray, ndarray, ndarray]:
    """(start, stop, id) of the runs of equal ids along the columns."""
    flat = np.ascontiguousarray(ids.T).reshape(-1)
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate([[0], changes])[: flat.size]
    return starts, np.concatenate([changes, [flat.size]])[: starts.size], flat[starts]


def _of_class(runs: tuple[ndarray, ndarray, ndarray], number: int) -> tuple[ndarray, ndarray, int]:
    starts, stops, ids = runs
    return starts[ids == number], stops[ids == number], int(stops[-1]) if stops.size else 0


def _segmentation(height: int, width: int, starts: ndarray, stops: ndarray, size: int) -> dict[str, Any]:
    edges = np.stack([starts, stops], 1).reshape(-1)
    lengths = np.diff(np.concatenate([[0], edges, [size]]))
    if lengths.size > 1 and lengths[-1] == 0:
        lengths = lengths[:-1]
    return {"size": [height, width], "counts": _to_text(lengths)}


def _box(starts: ndarray, stops: ndarray, height: int) -> list[int]:
    """COCO's (left, top, width, height) in pixels."""
    left, right = int(starts[0]) // height, int(stops[-1] - 1) // height
    if (starts // height != (stops - 1) // height).any():
        top, bottom = 0, height - 1  # a run that continues in the next column touches both borders
    else:
        top, bottom = int((starts % height).min()), int(((stops - 1) % height).max())
    return [left, top, right - left + 1, bottom - top + 1]


def _to_text(lengths: Int64[ndarray, " n"]) -> str:
    values = lengths.astype(np.int64)
    values[3:] -= lengths[1:-2]
    active = np.ones(values.size, bool)
    groups, used = [], []
    for _ in range(_MAX_GROUPS):
        group, values = values & 31, values >> 5
        more = np.where(group & 16, values != -1, values != 0)
        groups.append((group | (more << 5)) + 48)
        used.append(active)
        active = active & more
        if not active.any():
            break
    text: str = np.stack(groups, 1)[np.stack(used, 1)].astype(np.uint8).tobytes().decode("ascii")
    return text


def _from_text(text: str) -> list[int]:
    lengths: list[int] = []
    value = shift = 0
    for letter in text.encode("ascii"):
        group = letter - 48
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        lengths.append(value + lengths[-2] if len(lengths) > 2 else value)
        value = shift = 0
    return lengths
