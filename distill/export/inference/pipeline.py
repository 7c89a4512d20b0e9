"""Pictures through a runner, stage after stage, each stage in threads of its own; order kept, memory bounded.

Decoders, engines, PNG and video encoders all release Python's lock while they work, so threads are enough. A stage that
falls behind holds up the ones before it: no queue grows. An exception travels down the line behind the last good item,
so what came before it is finished first, and it says which picture it belongs to.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.errors import DistillError
from distill.export.runners import Outputs, Runner
from distill.runtime.parallel import PREFETCH_DEPTH, map_ordered, prefetch

Item = TypeVar("Item")
Result = TypeVar("Result")

_BATCH_PX = 2_000_000
"""Pixels in one batch at most: a multi-task student makes 34 bytes of maps from each."""
_MAX_BATCH = {"cpu": 8, "cuda": 32}
_MAX_CALLS = 4
"""Calls of the engine side by side at most: each holds a batch of maps in memory."""
_NICENESS = 5
"""Steps of niceness."""


@dataclass(frozen=True, slots=True)
class PipelineItem:
    """A picture on its way: a photo, or a frame of a video.

    Attributes:
        key: Names what is written for it.
        rgb: What the engine sees.
        pts: When it is shown, in the video's time base; 0 for a photo.
        pts_s: The same in seconds.
        index: Frames before it in the video.
        source: What it came from, for the stage that writes.
    """

    key: str
    rgb: UInt8[ndarray, "h w 3"]
    pts: int = 0
    pts_s: float = 0.0
    index: int = 0
    source: Any = None


@dataclass(frozen=True, slots=True)
class SegmentEnd:
    """Travels behind the last picture of a segment; every stage leaves in it what it finished.

    Attributes:
        segment: Its number.
        stop: Index of the first picture behind it.
        files: Stage to the files that hold the segment.
        state: What the stages need to go on from here, by name.
        end: Whether the source holds nothing more.
        failure: Why it does not, if it should.
    """

    segment: int
    stop: int
    end: bool = False
    failure: DistillError | None = None
    files: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])
    state: dict[str, ndarray] = field(default_factory=dict[str, ndarray])


class FrameError(DistillError):
    """A stage failed on one picture.

    Attributes:
        frame: Its index in the video.
    """

    def __init__(self, message: str, *, hint: str = "", frame: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.frame = frame


class StageTimer:
    """How long each stage was at work, to name the one that holds up the others. May be used from several threads."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.workers: dict[str, int] = {}
        self._lock = threading.Lock()
        self._start, self._cpu_start = time.perf_counter(), time.process_time()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count this block's time for a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            passed = time.perf_counter() - start
            with self._lock:
                self.seconds[name] = self.seconds.get(name, 0.0) + passed

    def items(self, name: str, items: Iterable[Item]) -> Iterator[Item]:
        """The items again; the time to make each is counted for a stage."""
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
        """The stage that worked longest, shared among its workers."""
        return max(self.seconds, key=self._share) if self.seconds else ""

    def busy_cores(self) -> float:
        """Cores that this process kept busy since the watch began, on average."""
        return (time.process_time() - self._cpu_start) / max(time.perf_counter() - self._start, 1e-9)

    def _share(self, name: str) -> float:
        return self.seconds[name] / self.workers.get(name, 1)


def default_batch(runner: Runner, size_hw: tuple[int, int]) -> int:
    """How many pictures of this size to run at once: enough to keep the engine busy, few enough for memory."""
    most = _MAX_BATCH["cuda" if "cuda" in runner.engine else "cpu"]
    return int(np.clip(_BATCH_PX // max(1, size_hw[0] * size_hw[1]), 1, most))


def ordered(
    items: Iterable[Item], work: Callable[[Item], Result], *, workers: int = 1, depth: int = PREFETCH_DEPTH
) -> Generator[tuple[Item, Result], None, None]:
    """Each item with what `work` makes of it, in order; in the background, `workers` of them at once."""
    return prefetch(map_ordered(items, work, workers, max_pending=workers + 1), depth)


def in_batches(pictures: Iterable[Any], batch: int | None, runner: Runner) -> Iterator[list[Any]]:
    """Neighbors of equal size together, `batch` at most (None chooses by size); an error comes after what is whole.

    A `SegmentEnd` comes alone, behind what was before it.
    """
    waiting: list[Any] = []
    try:
        for picture in pictures:
            if isinstance(picture, SegmentEnd):
                if waiting:
                    yield waiting
                yield [picture]
                waiting = []
                continue
            size_hw = picture.rgb.shape[:2]
            if waiting and waiting[0].rgb.shape[:2] != size_hw:
                yield waiting
                waiting = []
            waiting.append(picture)
            if len(waiting) >= (batch or default_batch(runner, size_hw)):
                yield waiting
                waiting = []
    except Exception as error:
        if waiting:
            yield waiting
        raise error
    if waiting:
        yield waiting


def infer(
    runner: Runner,
    pictures: Iterable[Any],
    *,
    batch: int | None = None,
    timer: StageTimer | None = None,
    workers: int = 1,
) -> Generator[Any, None, None]:
    """Each picture with its outputs, as a pair, in order; a `SegmentEnd` as it is.

    Args:
        runner: The student.
        pictures: And boundaries.
        batch: Pictures at once; None chooses by their size.
        timer: Counts the engine's time.
        workers: Batches at once; more than one also when the engine's own threads are few (see `engine_workers`).
    """
    timer = timer or StageTimer()
    timer.workers["engine"] = workers

    def run(group: list[Any]) -> Outputs | None:
        if isinstance(group[0], SegmentEnd):
            return None
        with timer.stage("engine"), attach_frame(group):
            return runner(group[0].rgb[None] if len(group) == 1 else np.stack([picture.rgb for picture in group]))

    def run_low_priority(group: list[Any]) -> Outputs | None:
        lower_priority()
        return run(group)

    groups = in_batches(pictures, batch, runner)
    work = run if workers == 1 else run_low_priority
    answered = map_ordered(groups, work, workers, max_pending=workers + 1)
    for group, outputs in answered:
        if outputs is None:
            yield group[0]
            continue
        for index, picture in enumerate(group):
            yield picture, {name: value[index] for name, value in outputs.items()}
        del outputs, group, picture


def lower_priority() -> None:
    """Let this thread run behind those of later stages, where the system can do that for a thread.

    What is nearest to the end of the line goes first: encoders are serial and must never wait for a core, while the
    engine only fills queues that are full again a moment later.
    """
    with contextlib.suppress(OSError, AttributeError):
        thread = threading.get_native_id()
        if os.getpriority(os.PRIO_PROCESS, thread) == os.getpriority(os.PRIO_PROCESS, os.getpid()):
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _NICENESS)


def engine_workers(runner: Runner, cores: int) -> int:
    """Batches that a CPU engine should work on at once, so that its threads and those fill the cores.

    Threads of one call wait for each other at every layer, and wait long where decoder and encoder want the cores as
    well; calls side by side do not.
    """
    return max(1, min(_MAX_CALLS, cores // runner.threads)) if "cpu" in runner.engine else 1


def engine_threads(cores: int) -> int:
    """Threads of one call, for `engine_workers` of them to fill the cores."""
    return max(1, cores // _MAX_CALLS)


@contextmanager
def attach_frame(group: list[PipelineItem]) -> Iterator[None]:
    """Errors inside say which frames they belong to; those of photos name their file themselves."""
    try:
        yield
    except DistillError as error:
        first, last = group[0], group[-1]
        if first.source is not None or isinstance(error, FrameError):
            raise
        where = f"frame {first.index}" if first is last else f"frames {first.index} to {last.index}"
        raise FrameError(f"{where}: {error.message}", hint=error.hint, frame=first.index) from error


def run_stage(
    items: Iterable[Any],
    name: str,
    work: Callable[[PipelineItem, Outputs], Any],
    timer: StageTimer,
    *,
    workers: int = 1,
) -> Generator[tuple[Any, Any], None, None]:
    """Each item with what the stage makes of its picture and outputs (None for a `SegmentEnd`), in the background."""

    def one(item: Any) -> Any:
        if isinstance(item, SegmentEnd):
            return None
        with timer.stage(name), attach_frame([item[0]]):
            return work(*item)

    timer.workers[name] = workers
    return ordered(items, one, workers=workers)
