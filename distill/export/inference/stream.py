"""A video as frames with their maps: what `predict` writes and what a program iterates over is one stream."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from distill.errors import DistillError
from distill.export.inference.pipeline import Boundary, Picture, Stopwatch, engine_workers, infer
from distill.export.inference.temporal_filter import Stabilizer, Steadiness
from distill.export.runners import Outputs, Runner, num_cores
from distill.runtime.parallel import prefetch
from distill.spec import StudentSpec
from distill.video import Frame, Source, open_source

SEGMENT = 240
"""Frames between two points from which a killed job can go on: some seconds of work."""


class Seen(NamedTuple):
    """A frame, and what the student says about it.

    Attributes:
        frame: Index, time and pixels.
        maps: ``depth``, ``depth_confidence``, ... as the contract names and describes them, at the frame's size.
    """

    frame: Frame
    maps: Outputs


class Model:
    """A student that is ready to run; a context manager.

    Attributes:
        spec: Its contract: tasks, units, frame, classes.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.spec: StudentSpec = runner.spec

    def __call__(self, images: Any) -> Outputs:
        """The maps of uint8 RGB pictures (batch, height, width, 3), by name."""
        return self._runner(images)

    def stream(
        self,
        video: str | Path | Source,
        *,
        batch: int | None = None,
        size_hw: tuple[int, int] | None = None,
        steady: float = 0.0,
    ) -> Iterator[Seen]:
        """Every frame of a video with its maps, in order; decoding and inference run ahead in the background.

        Memory is bounded: while the caller is busy with a frame, a few more wait. Leaving the loop stops the threads.

        Args:
            video: A file, a pattern of numbered pictures, a camera's address, or a `Source`.
            batch: Frames at once; None chooses by their size.
            size_hw: Frames are shrunk to this size first; maps have it too.
            steady: 0 gives every frame's own maps; up to 1 steadies them over time (see `Stabilizer`).

        Raises:
            DistillError: No video, or damaged: raised behind the last frame that could be read.
        """
        source = video if isinstance(video, Source) else open_source(str(video))
        stabilizer = Stabilizer(self.spec, Steadiness(strength=steady)) if steady else None
        items = open_stream(self._runner, source, size_hw or source.size_hw, batch=batch, stabilizer=stabilizer)
        return _seen(items)

    def close(self) -> None:
        """Free what the engine holds."""
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_stream(
    runner: Runner,
    source: Source,
    size_hw: tuple[int, int],
    *,
    batch: int | None = None,
    stabilizer: Stabilizer | None = None,
    watch: Stopwatch | None = None,
    start: int = 0,
    segment: int = SEGMENT,
) -> Generator[Any, None, None]:
    """(Picture, outputs) for every frame from `start` on, and a `Boundary` behind every `segment` of them.

    The last boundary says that it is the last, and why, if the source is damaged.
    """
    watch = watch or Stopwatch()
    pictures = prefetch(watch.items("decode", _pictures(source, size_hw, start, segment)))
    workers = engine_workers(runner, num_cores())
    items = prefetch(infer(runner, pictures, batch=batch, watch=watch, workers=workers))
    return items if stabilizer is None else prefetch(stabilizer.through(items, watch))


def _pictures(source: Source, size_hw: tuple[int, int], start: int, segment: int) -> Iterator[Any]:
    failure: DistillError | None = None
    number, taken, stop = start // segment, 0, start
    try:
        for frame in source.frames(start, size_hw=size_hw):
            if taken == segment:
                yield Boundary(number, stop)
                number, taken = number + 1, 0
            taken, stop = taken + 1, frame.index + 1
            yield Picture(f"{frame.index:06d}", frame.rgb, frame.pts, frame.pts_s, frame.index)
            del frame
    except DistillError as error:
        failure = error
    yield Boundary(number, stop, end=True, failure=failure)


def _seen(items: Generator[Any, None, None]) -> Iterator[Seen]:
    for item in items:
        if isinstance(item, Boundary):
            if item.failure is not None:
                raise item.failure
            continue
        picture, outputs = item
        yield Seen(Frame(picture.index, picture.pts, picture.pts_s, picture.rgb), outputs)
        del item, picture, outputs
