"""Lossless maps in the format of labels: a PNG per frame and task, or an FFV1 video per task."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from numpy import ndarray

from distill.export.inference.map_encoding import encode_outputs, to_stored_maps
from distill.export.inference.stages import PipelineItem
from distill.export.runners import Outputs
from distill.export.sinks.base import Sink, make_folder, write_file
from distill.spec import StudentSpec
from distill.tasks import TASKS, Task
from distill.video import GRAY8, GRAY16, PART_SUFFIX, RGB8, VideoWriter, join_videos


class PngMapsSink(Sink):
    """``<frame>.<task>.png`` for every frame."""

    name = "maps"
    stages = ("maps", "")

    def __init__(self, work: Path, folder: Path, spec: StudentSpec, *, confidence: bool, workers: int) -> None:
        super().__init__(work, workers=workers)
        self._folder, self._spec, self._confidence = folder, spec, confidence
        self._files: list[Path] = []
        make_folder(folder)

    def prepare(self, item: PipelineItem, outputs: Outputs) -> list[Path]:
        """Write the files; returns their paths."""
        paths = []
        for extension, data in encode_outputs(outputs, self._spec, confidence=self._confidence).items():
            paths.append(self._folder / f"{item.key}.{extension}")
            write_file(paths[-1], data)
        return paths

    def write(self, item: PipelineItem, prepared: list[Path]) -> None:
        """Collect the paths of the segment."""
        self._files += prepared

    def end_segment(self, segment: int) -> list[Path]:
        """Paths of the segment."""
        files, self._files = self._files, []
        return files

    def finish(self, segments: Sequence[Sequence[Path]]) -> list[Path]:
        """The folder."""
        return [self._folder]


class Ffv1MapsSink(Sink):
    """``<key>.<task>.mkv`` with the integers of the PNG maps, in half the bytes."""

    name = "ffv1"
    stages = ("store", "ffv1")

    def __init__(self, work: Path, stem: Path, spec: StudentSpec, *, time_base: Fraction, rate: Fraction) -> None:
        super().__init__(work)
        self._stem, self._spec, self._time_base, self._rate = stem, spec, time_base, rate
        self._writers: dict[Task, VideoWriter] = {}

    def prepare(self, item: PipelineItem, outputs: Outputs) -> dict[Task, ndarray]:
        """Maps as stored integers."""
        return to_stored_maps(outputs, self._spec)

    def write(self, item: PipelineItem, prepared: dict[Task, ndarray]) -> None:
        """Encode the maps."""
        for task, values in prepared.items():
            if task not in self._writers:
                self._writers[task] = VideoWriter(
                    self._part(task, "partial"),
                    (values.shape[0], values.shape[1]),
                    time_base=self._time_base,
                    rate=self._rate,
                    encoding=ENCODINGS[TASKS[task].dtype, TASKS[task].channels],
                )
            self._writers[task].write(values, item.pts)

    def end_segment(self, segment: int) -> list[Path]:
        """Close the parts, one per task."""
        parts = []
        for task, writer in self._writers.items():
            writer.close()
            parts.append(self._part(task, "partial").replace(self._part(task, f"{segment:05d}")))
        self._writers = {}
        return parts

    def finish(self, segments: Sequence[Sequence[Path]]) -> list[Path]:
        """Join the parts to videos."""
        results = []
        for number, task in enumerate(self._spec.tasks):
            results.append(self._stem.with_name(f"{self._stem.name}.{task}.mkv"))
            join_videos([files[number] for files in segments if files], results[-1], ending=self.ending)
        return results

    def abandon(self) -> None:
        """Drop the current parts."""
        for writer in self._writers.values():
            writer.abandon()
        self._writers = {}

    def _part(self, task: Task, mark: str) -> Path:
        return self.work / f"ffv1.{task}.{mark}{PART_SUFFIX}"


ENCODINGS = {("uint16", ()): GRAY16, ("uint8", ()): GRAY8, ("uint8", (3,)): RGB8}
"""Encoding by `TaskInfo.dtype` and `TaskInfo.channels` of the stored map."""
