"""Stages of batch inference: items, timing and errors of stages that run in threads."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from jaxtyping import UInt8
from numpy import ndarray

from distill.errors import DistillError
from distill.export.runners import Outputs
from distill.runtime.parallel import map_ordered, prefetch

Item = TypeVar("Item")

_NICENESS = 5


@dataclass(frozen=True, slots=True)
class PipelineItem:
    """An image in the pipeline: a photo, or a frame of a video.

    Attributes:
        key: Stem of the output files.
        rgb: Input of the engine.
        pts: Play time in the video's time base; 0 for a photo.
        pts_s: Time of the video's own clock in seconds.
        index: Number of the frame in the video.
        source: Name of the photo; None for a frame.
        play_s: Play time in seconds.
        duration: As `distill.video.Frame.duration`.
    """

    key: str
    rgb: UInt8[ndarray, "h w 3"]
    pts: int = 0
    pts_s: float = 0.0
    index: int = 0
    source: Any = None
    play_s: float = 0.0
    duration: int = 0


@dataclass(frozen=True, slots=True)
class SegmentEnd:
    """Marker after the last image of a segment; every stage adds its finished files and its state.

    Attributes:
        segment: Number of the segment.
        stop: Index of the first image after it.
        files: Stage name to files of the segment.
        state: Arrays that the stages need in order to resume, by name.
        end: Whether it is the last segment.
        failure: Error that ended the source early.
    """

    segment: int
    stop: int
    end: bool = False
    failure: DistillError | None = None
    files: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])
    state: dict[str, ndarray] = field(default_factory=dict[str, ndarray])


class FrameError(DistillError):
    """A stage failed on a frame of a video."""


class StageTimer:
    """Working time of each stage, to find the bottleneck. Thread-safe."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.workers: dict[str, int] = {}
        self._lock = threading.Lock()
        self._start, self._cpu_start = time.perf_counter(), time.process_time()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the duration of this block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            passed = time.perf_counter() - start
            with self._lock:
                self.seconds[name] = self.seconds.get(name, 0.0) + passed

    def items(self, name: str, items: Iterable[Item]) -> Iterator[Item]:
        """The same items; the time to produce each is added to a stage."""
        source = iter(items)
        while True:
            with self.stage(name):
                try:
                    item = next(source)
                except StopIteration:
                    return
            yield item

    @property
    def bottleneck(self) -> str:
        """Stage with the longest working time per worker."""
        return max(self.seconds, key=self._per_worker) if self.seconds else ""

    def busy_cores(self) -> float:
        """Mean number of cores that this process has used since the timer was created."""
        return (time.process_time() - self._cpu_start) / max(time.perf_counter() - self._start, 1e-9)

    def _per_worker(self, name: str) -> float:
        return self.seconds[name] / self.workers.get(name, 1)


def run_stage(
    items: Iterable[Any],
    name: str,
    work: Callable[[PipelineItem, Outputs], Any],
    timer: StageTimer,
    *,
    workers: int = 1,
) -> Generator[tuple[Any, Any], None, None]:
    """(item, result of the stage) in order, in background threads; the result of a `SegmentEnd` is None."""

    def one(item: Any) -> Any:
        if isinstance(item, SegmentEnd):
            return None
        with timer.stage(name), attach_frame([item[0]]):
            return work(*item)

    timer.workers[name] = workers
    return prefetch(map_ordered(items, one, workers, max_pending=workers + 1))


@contextmanager
def attach_frame(items: Sequence[PipelineItem]) -> Iterator[None]:
    """Add the frame numbers to errors of video frames; errors of photos name their file already."""
    try:
        yield
    except DistillError as error:
        first, last = items[0], items[-1]
        if first.source is not None or isinstance(error, FrameError):
            raise
        where = f"frame {first.index}" if first is last else f"frames {first.index} to {last.index}"
        raise FrameError(f"{where}: {error.message}", hint=error.hint) from error


def lower_priority() -> None:
    """Lower this thread's priority (Linux only).

    Later stages have precedence: encoders are serial and must never wait for a core, while the engine only fills queues
    that are full again a moment later.
    """
    with contextlib.suppress(OSError, AttributeError):
        thread = threading.get_native_id()
        if os.getpriority(os.PRIO_PROCESS, thread) == os.getpriority(os.PRIO_PROCESS, os.getpid()):
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _NICENESS)
