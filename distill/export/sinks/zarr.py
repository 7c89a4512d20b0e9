"""Maps as Zarr arrays, written by hand: the format is a folder of JSON and chunks, and needs no package to be made."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distill.export.inference.map_encoding import describe_maps, store_maps
from distill.export.inference.pipeline import Picture
from distill.export.runners import Outputs
from distill.export.sinks.base import Sink, make_folder, write_file
from distill.spec import StudentSpec
from distill.tasks import Task

_TYPES = {Task.DEPTH: "<u2", Task.NORMALS: "|u1", Task.SEMANTIC: "|u1", Task.INSTANCE: "<u2"}
_TIMES = "time_s"


class ZarrSink(Sink):
    """A Zarr (version 2) group: an array per task with one zlib chunk per frame, and the times."""

    name = "zarr"
    stages = ("zarr", "")

    def __init__(
        self, work: Path, folder: Path, spec: StudentSpec, size_hw: tuple[int, int], *, workers: int = 1
    ) -> None:
        super().__init__(work, workers=workers)
        self._folder, self._spec, self._size_hw = folder, spec, size_hw
        self._files: list[Path] = []
        for name in (*spec.answers, _TIMES):
            make_folder(folder / name)

    def prepare(self, picture: Picture, outputs: Outputs) -> list[Path]:
        """The chunks of this frame, written."""
        chunks = {_TIMES: np.array([picture.pts_s], "<f8").tobytes()}
        for task, values in store_maps(outputs, self._spec).items():
            chunks[task] = zlib.compress(np.ascontiguousarray(values, _TYPES[task]).tobytes(), 1)
        paths = []
        for name, data in chunks.items():
            index = [picture.index, *[0] * (len(self._frame_shape(name)))]
            paths.append(self._folder / name / ".".join(map(str, index)))
            write_file(paths[-1], data)
        return paths

    def write(self, picture: Picture, prepared: list[Path]) -> None:
        """Remember the chunks of the segment."""
        self._files += prepared

    def end_segment(self, segment: int) -> list[Path]:
        """The chunks of the segment."""
        files, self._files = self._files, []
        return files

    def finish(self, segments: Sequence[Sequence[Path]]) -> list[Path]:
        """The group, described."""
        frames = sum(len(files) for files in segments) // (1 + len(self._spec.answers))
        self._describe(_TIMES, frames, "<f8", None, {"unit": "s"})
        described = describe_maps(self._spec)
        for task in self._spec.answers:
            self._describe(task, frames, _TYPES[task], {"id": "zlib", "level": 1}, described[task])
        write_file(self._folder / ".zgroup", json.dumps({"zarr_format": 2}).encode())
        return [self._folder]

    def _frame_shape(self, name: str) -> tuple[int, ...]:
        if name == _TIMES:
            return ()
        return (*self._size_hw, 3) if name == Task.NORMALS else self._size_hw

    def _describe(self, name: str, frames: int, dtype: str, compressor: Any, about: dict[str, Any]) -> None:
        shape = self._frame_shape(name)
        header = {
            "zarr_format": 2,
            "shape": [frames, *shape],
            "chunks": [1, *shape],
            "dtype": dtype,
            "compressor": compressor,
            "fill_value": 0,
            "filters": None,
            "order": "C",
        }
        write_file(self._folder / name / ".zarray", json.dumps(header, indent=2).encode())
        write_file(self._folder / name / ".zattrs", json.dumps(about, indent=2).encode())
