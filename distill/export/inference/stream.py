"""A video as frames with their maps: what `predict` writes and what a program iterates over is one stream."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from distill.errors import DistillError
from distill.export.inference.pipeline import PipelineItem, SegmentEnd, StageTimer, engine_workers, infer
from distill.export.inference.temporal_filter import TemporalFilter, TemporalFilterConfig
from distill.export.runners import Outputs, Runner
from distill.runtime.cpu import usable_cores
from distill.runtime.parallel import prefetch
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


def stream_frames(
    runner: Runner,
    video: str | Path | FrameSource,
    *,
    batch: int | None = None,
    size_hw: tuple[int, int] | None = None,
    temporal_smoothing: float = 0.0,
) -> Iterator[FramePrediction]:
    """Yield every frame of a video with its maps; arguments as in `distill.workflows.prediction.Model.stream`.

    Raises:
        DistillError: The video cannot be read, or is damaged: raised after the last frame that could be read.
    """
    source = video if isinstance(video, FrameSource) else open_video(str(video))
    config = TemporalFilterConfig(strength=temporal_smoothing) if temporal_smoothing else None
    temporal_filter = TemporalFilter(runner.spec, config) if config is not None else None
    items = open_stream(runner, source, size_hw or source.size_hw, batch=batch, temporal_filter=temporal_filter)
    return _frame_predictions(items)


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
    workers = engine_workers(runner, usable_cores())
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
