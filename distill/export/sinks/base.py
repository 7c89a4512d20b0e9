"""Base classes of sinks: write frames in order to segments, join the segments at the end."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, TextIO

from distill.errors import DistillError
from distill.export.inference.stages import PipelineItem, SegmentEnd, StageTimer, attach_frame, run_stage
from distill.export.runners import Outputs
from distill.files import remove_if_possible, temporary_path, write_hint
from distill.runtime.parallel import prefetch
from distill.video import Ending


class Sink(ABC):
    """One kind of result of one video.

    `prepare` may run in several threads and out of order; `write` runs in order in one thread. The files of a segment
    are complete when `end_segment` returns them, and `finish` can be repeated after an interruption.

    Attributes:
        name: Name on the command line.
        stages: Names of `prepare` and `write` in timings; if the second one is empty, `write` needs no thread.
        workers: Threads of `prepare`.
        work: Folder of the segments.
        ending: What is known about the video after its last frame; set before `finish`.
        notes: What a user should know about the result; complete after `finish`.
    """

    name: ClassVar[str]
    stages: ClassVar[tuple[str, str]]

    def __init__(self, work: Path, *, workers: int = 1) -> None:
        self.work, self.workers = work, workers
        self.ending = Ending()
        self.notes: tuple[str, ...] = ()

    @abstractmethod
    def prepare(self, item: PipelineItem, outputs: Outputs) -> Any:
        """Result for one image, independent of others."""

    def write(self, item: PipelineItem, prepared: Any) -> None:  # noqa: B027  (sinks that prepare everything)
        """Append the prepared result of one image."""

    @abstractmethod
    def end_segment(self, segment: int) -> list[Path]:
        """Complete the segment; returns its files."""

    @abstractmethod
    def finish(self, segments: Sequence[Sequence[Path]]) -> list[Path]:
        """Join the segments; returns the final files."""

    def abandon(self) -> None:  # noqa: B027  (sinks without open files)
        """Drop the current segment."""

    def process(self, items: Iterable[Any], timer: StageTimer) -> Generator[Any, None, None]:
        """The same items after this sink has processed them, in background threads."""
        prepared = run_stage(items, self.stages[0], self.prepare, timer, workers=self.workers)
        return prefetch(self._written(prepared, timer)) if self.stages[1] else self._written(prepared, timer)

    def _written(self, prepared: Iterable[tuple[Any, Any]], timer: StageTimer) -> Generator[Any, None, None]:
        stage = self.stages[1] or self.stages[0]
        for item, ready in prepared:
            with timer.stage(stage):
                if isinstance(item, SegmentEnd):
                    item.files[self.name] = self.end_segment(item.segment)
                else:
                    with attach_frame([item[0]]):
                        self.write(item[0], ready)
            yield item
            del item, ready


class JsonLinesSink(Sink):
    """A sink of text lines, with one part file per segment, written atomically."""

    def __init__(self, work: Path, *, workers: int = 1) -> None:
        super().__init__(work, workers=workers)
        self._file: TextIO | None = None

    def write(self, item: PipelineItem, prepared: Any) -> None:
        """Append lines.

        Raises:
            DistillError: The disk is full.
        """
        try:
            if self._file is None:
                self._file = self._part("partial").open("w")
            self._file.writelines(line + "\n" for line in prepared)
        except OSError as error:
            raise write_error(self.work, error) from error

    def end_segment(self, segment: int) -> list[Path]:
        """Write the part to disk."""
        path = self._part(f"{segment:05d}")
        try:
            file = self._file or self._part("partial").open("w")
            with file:
                file.flush()
                os.fsync(file.fileno())
            self._part("partial").replace(path)
        except OSError as error:
            raise write_error(path, error) from error
        self._file = None
        return [path]

    def abandon(self) -> None:
        """Close the current part."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _part(self, mark: str) -> Path:
        return self.work / f"{self.name}.{mark}.jsonl"


def write_file(path: Path, data: bytes) -> None:
    """Write a file atomically; without fsync, because a segment with a missing file is computed again.

    Raises:
        DistillError: The disk is full or the folder is not writable.
    """
    temporary = temporary_path(path)
    try:
        with temporary.open("xb") as file:
            file.write(data)
        temporary.replace(path)
    except OSError as error:
        remove_if_possible(temporary)
        raise write_error(path, error) from error


def make_folder(folder: Path) -> None:
    """Create a folder if it does not exist.

    Raises:
        DistillError: It cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DistillError(
            f"{folder}: cannot be created as a folder: {error.strerror}", hint="choose another --out"
        ) from error


def write_error(path: Path, error: OSError) -> DistillError:
    """Error for a full or read-only disk."""
    return DistillError(
        f"{path}: cannot be written: {error.strerror or error}",
        hint=write_hint(error),
    )
