"""A video as frames with their maps: what `predict` writes and what a program iterates over is one stream."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from distill.errors import DistillError
from distill.export.inference.pipeline import PipelineItem, SegmentEnd, StageTimer, engine_workers, infer
from distill.export.inference.temporal_filter import TemporalFilter, TemporalFilterConfig
from distill.export.runners import Outputs, Runner, num_cores
from distill.runtime.parallel import prefetch
from distill.spec import StudentSpec
from distill.video import Frame, FrameSource, open_video

CHECKPOINT_EVERY = 240
"""Frames between two points from which a killed job can go on: some seconds of work."""


class FramePrediction(NamedTuple):
    """A frame, and what the student says about it.

    Attributes:
        frame: Index, time and pixels.
        maps: ``depth``, ``depth_confidence``, ... as the spec names and describes them, at the frame's size.
    """

    frame: Frame
    maps: Outputs


class Model:
    """A student that is ready to run; a context manager.

    Attributes:
        spec: Its spec: tasks, units, frame, classes.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.spec: StudentSpec = runner.spec

    def __call__(self, images: Any) -> Outputs:
        """The maps of uint8 RGB pictures (batch, height, width, 3), by name."""
        return self._runner(images)

    def stream(
        self,
        video: str | Path | FrameSource,
        *,
        batch: int | None = None,
        size_hw: tuple[int, int] | None = None,
        temporal_smoothing: float = 0.0,
    ) -> Iterator[FramePrediction]:
        """Every frame of a video with its maps, in order; decoding and inference run ahead in the background.

        Memory is bounded: while the caller is busy with a frame, a few more wait. Leaving the loop stops the threads.

        Args:
            video: A file, a pattern of numbered pictures, a camera's address, or a `FrameSource`.
            batch: Frames at once; None chooses by their size.
            size_hw: Frames are shrunk to this size first; maps have it too.
            temporal_smoothing: 0 gives every frame's own maps; up to 1 steadies them over time (see `TemporalFilter`).

        Raises:
            DistillError: No video, or damaged: raised behind the last frame that could be read.
        """
        source = video if isinstance(video, FrameSource) else open_video(str(video))
        temporal_filter = (
            TemporalFilter(self.spec, TemporalFilterConfig(strength=temporal_smoothing)) if temporal_smoothing else None
        )
        items = open_stream(
            self._runner, source, size_hw or source.size_hw, batch=batch, temporal_filter=temporal_filter
        )
        return _frame_predictions(items)

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
    source: FrameSource,
    size_hw: tuple[int, int],
    *,
    batch: int | None = None,
    temporal_filter: TemporalFilter | None = None,
    timer: StageTimer | None = None,
    start: int = 0,
    checkpoint_every: int = CHECKPOINT_EVERY,
) -> Generator[Any, None, None]:
    """(Picture, outputs) for every frame from `start` on, and a `SegmentEnd` behind every `checkpoint_every` of them.

    The last boundary says that it is the last, and why, if the source is damaged.
    """
    timer = timer or StageTimer()
    pictures = prefetch(timer.items("decode", _pictures(source, size_hw, start, checkpoint_every)))
    workers = engine_workers(runner, num_cores())
    items = prefetch(infer(runner, pictures, batch=batch, timer=timer, workers=workers))
    return items if temporal_filter is None else prefetch(temporal_filter.process(items, timer))


def _pictures(source: FrameSource, size_hw: tuple[int, int], start: int, checkpoint_every: int) -> Iterator[Any]:
    failure: DistillError | None = None
    number, taken, stop = start // checkpoint_every, 0, start
    try:
        for frame in source.frames(start, size_hw=size_hw):
            if taken == checkpoint_every:
                yield SegmentEnd(number, stop)
                number, taken = number + 1, 0
            taken, stop = taken + 1, frame.index + 1
            yield PipelineItem(f"{frame.index:06d}", frame.rgb, frame.pts, frame.pts_s, frame.index)
            del frame
    except DistillError as error:
        failure = error
    yield SegmentEnd(number, stop, end=True, failure=failure)


def _frame_predictions(items: Generator[Any, None, None]) -> Iterator[FramePrediction]:
    for item in items:
        if isinstance(item, SegmentEnd):
            if item.failure is not None:
                raise item.failure
            continue
        picture, outputs = item
        yield FramePrediction(Frame(picture.index, picture.pts, picture.pts_s, picture.rgb), outputs)
        del item, picture, outputs
