"""Pictures through a runner, stage after stage, each stage in a thread of its own; order kept, memory bounded.

Decoders, engines, PNG and video encoders all release Python's lock while they work, so threads are enough. A stage that
falls behind holds up the ones before it: no queue grows. An exception travels down the line behind the last good item,
so what came before it is finished first.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.export.runners import Outputs, Runner

Item = TypeVar("Item")

_BATCH_PX = 2_000_000
"""Pixels in one batch at most: a multi-task student makes 34 bytes of maps from each."""
_MAX_BATCH = {"cpu": 8, "cuda": 32}
_POLL_S = 0.1
QUEUE = 2
"""Items that wait between two stages: enough to even out their pace, few enough for memory."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture on its way: a photo, or a frame of a video.

    Attributes:
        key: Names what is written for it.
        rgb: What the engine sees.
        pts: When it is shown, in the video's time base; 0 for a photo.
        pts_s: The same in seconds.
        source: What it came from, for the stage that writes.
    """

    key: str
    rgb: UInt8[ndarray, "h w 3"]
    pts: int = 0
    pts_s: float = 0.0
    source: Any = None


class Stopwatch:
    """How long each stage was at work, to name the one that holds up the others."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count this block's time for a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

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
        """The stage that worked longest."""
        return max(self.seconds, key=lambda name: self.seconds[name]) if self.seconds else ""


def default_batch(runner: Runner, size_hw: tuple[int, int]) -> int:
    """How many pictures of this size to run at once: enough to keep the engine busy, few enough for memory."""
    most = _MAX_BATCH["cuda" if "cuda" in runner.engine else "cpu"]
    return int(np.clip(_BATCH_PX // max(1, size_hw[0] * size_hw[1]), 1, most))


def ahead(items: Iterable[Item], depth: int = QUEUE) -> Generator[Item, None, None]:
    """The items again, made in a background thread that is at most `depth` items ahead.

    Closing the generator stops the thread and closes the source.
    """
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=depth)
    stop = threading.Event()
    worker = threading.Thread(target=_work, args=(items, ready, stop), daemon=True)
    worker.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "item":
                yield value
            elif kind == "error":
                raise value
            else:
                return
    finally:
        stop.set()
        worker.join()


def _work(items: Iterable[Any], ready: queue.Queue[tuple[str, Any]], stop: threading.Event) -> None:
    source = iter(items)
    try:
        for item in source:
            if not _put(("item", item), ready, stop):
                return
        _put(("end", None), ready, stop)
    except BaseException as error:  # carried to whoever waits for the items
        _put(("error", error), ready, stop)
    finally:
        if isinstance(source, Generator):
            source.close()


def _put(message: tuple[str, Any], ready: queue.Queue[tuple[str, Any]], stop: threading.Event) -> bool:
    while not stop.is_set():
        try:
            ready.put(message, timeout=_POLL_S)
        except queue.Full:
            continue
        return True
    return False


def in_batches(pictures: Iterable[Picture], batch: int | None, runner: Runner) -> Iterator[list[Picture]]:
    """Neighbours of equal size together, `batch` at most (None chooses by size); an error comes after what is whole."""
    waiting: list[Picture] = []
    try:
        for picture in pictures:
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
    runner: Runner, pictures: Iterable[Picture], *, batch: int | None = None, watch: Stopwatch | None = None
) -> Iterator[tuple[Picture, Outputs]]:
    """Each picture with its outputs, in order."""
    watch = watch or Stopwatch()
    for group in in_batches(pictures, batch, runner):
        with watch.stage("engine"):
            images = group[0].rgb[None] if len(group) == 1 else np.stack([picture.rgb for picture in group])
            outputs = runner(images)
        for index, picture in enumerate(group):
            yield picture, {name: value[index] for name, value in outputs.items()}
