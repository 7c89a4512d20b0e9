"""What every sink of a video does: take frames in order, leave whole segments behind, join them at the end."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, TextIO

from distill.errors import DistillError
from distill.export.inference.pipeline import PipelineItem, SegmentEnd, StageTimer, attach_frame, run_stage
from distill.export.runners import Outputs
from distill.runtime.parallel import prefetch


class Sink(ABC):
    """One kind of result of one video.

    `prepare` may run in several threads and out of order; `write` runs in order in one. What a segment leaves behind is
    whole before `end_segment` gives its files, and `finish` may be called again after it was cut off.

    Attributes:
        name: What the command line calls it.
        stages: Names of `prepare` and `write` for people; an empty one is nothing worth a thread of its own.
        workers: Threads that prepare.
        work: Folder of the segments.
    """

    name: ClassVar[str]
    stages: ClassVar[tuple[str, str]]

    def __init__(self, work: Path, *, workers: int = 1) -> None:
        self.work, self.workers = work, workers

    @abstractmethod
    def prepare(self, picture: PipelineItem, outputs: Outputs) -> Any:
        """What depends on this picture alone."""

    def write(self, picture: PipelineItem, prepared: Any) -> None:  # noqa: B027  (sinks that prepare everything)
        """Append what was prepared for this picture."""

    @abstractmethod
    def end_segment(self, segment: int) -> list[Path]:
        """The files of the segment, complete on the disk."""

    @abstractmethod
    def finish(self, segments: Sequence[Sequence[Path]]) -> list[Path]:
        """The results, made of the files of all segments."""

    def abandon(self) -> None:  # noqa: B027  (sinks that hold nothing open)
        """Drop the segment that is under way."""

    def process(self, items: Iterable[Any], timer: StageTimer) -> Generator[Any, None, None]:
        """The items again, in the background, once this sink has them."""
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
    """A sink of lines of text: a part file per segment, whole or not there."""

    def __init__(self, work: Path, *, workers: int = 1) -> None:
        super().__init__(work, workers=workers)
        self._file: TextIO | None = None

    def write(self, picture: PipelineItem, prepared: Any) -> None:
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
        """The part, on the disk."""
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
        """Let go of the part."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _part(self, mark: str) -> Path:
        return self.work / f"{self.name}.{mark}.jsonl"


def write_file(path: Path, data: bytes) -> None:
    """A file that is whole or not there; not synced, since a segment that lost one is made again.

    Raises:
        DistillError: The disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise write_error(path, error) from error


def make_folder(folder: Path) -> None:
    """Make the folder if need be.

    Raises:
        DistillError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DistillError(
            f"{folder}: cannot be used as a folder: {error.strerror}", hint="choose another --out"
        ) from error


def write_error(path: Path, error: OSError) -> DistillError:
    """The sentence for a full disk and its like."""
    return DistillError(
        f"{path}: cannot be written: {error.strerror or error}",
        hint="free space or choose another --out, then run the same command again",
    )
