"""Class masks as COCO run lengths: one JSON file per video, readable with ``pycocotools.mask.decode``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from jaxtyping import UInt8
from numpy import ndarray

from distill.export.inference.stages import PipelineItem
from distill.export.runners import Outputs
from distill.export.sinks.base import JsonLinesSink, write_error
from distill.files import remove_if_possible, temporary_path
from distill.labels.run_lengths import find_runs, runs_of, segmentation
from distill.spec import StudentSpec
from distill.tasks import Task


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
        runs, annotations = find_runs(ids), []
        for number in range(len(self._classes)):
            starts, stops = runs_of(runs, number)
            if not starts.size:
                continue
            annotations.append(
                {
                    "image_id": item.index,
                    "category_id": number,
                    "iscrowd": 1,
                    "area": int((stops - starts).sum()),
                    "bbox": _box(starts, stops, height),
                    "segmentation": segmentation((height, width), starts, stops),
                }
            )
        image = {"id": item.index, "file_name": item.key, "height": height, "width": width}
        return [json.dumps({"image": {**image, "time_s": round(item.pts_s, 6)}, "annotations": annotations})]

    def finish(self, segments: Sequence[Sequence[Path]]) -> list[Path]:
        """Join all lines to one JSON file."""
        temporary = temporary_path(self.out)
        parts = [path for files in segments for path in files]
        try:
            with temporary.open("x") as file:
                self._gather(parts, file)
            temporary.replace(self.out)
        except OSError as error:
            remove_if_possible(temporary)
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


def _box(starts: ndarray, stops: ndarray, height: int) -> list[int]:
    """COCO's (left, top, width, height) in pixels."""
    left, right = int(starts[0]) // height, int(stops[-1] - 1) // height
    if (starts // height != (stops - 1) // height).any():
        top, bottom = 0, height - 1  # a run that continues in the next column touches both borders
    else:
        top, bottom = int((starts % height).min()), int(((stops - 1) % height).max())
    return [left, top, right - left + 1, bottom - top + 1]
