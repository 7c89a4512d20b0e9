"""Stream of video frames with their maps, used by ``distill predict`` and by the Python API."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from distill.errors import DistillError
from distill.export.inference.batched_inference import engine_workers, infer
from distill.export.inference.stages import PipelineItem, SegmentEnd, StageTimer
from distill.export.inference.temporal_filter import TemporalFilter, TemporalFilterConfig
from distill.export.runners import Outputs, Runner
from distill.runtime.cpu import usable_cores
from distill.runtime.parallel import prefetch
from distill.video import Frame, FrameSource, open_video

CHECKPOINT_EVERY = 240
"""Frames between two points from which an interrupted job can resume: some seconds of work."""


class FramePrediction(NamedTuple):
    """A frame with the student's outputs.

    Attributes:
        frame: Index, time and pixels.
        maps: Outputs by name (``depth``, ``depth_confidence``, ...; see the spec), at the frame's size.
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
    """Yield every frame of a video with its maps; arguments as in `distill.workflows.predict.model.Model.stream`.

    Raises:
        DistillError: The video cannot be read, or is damaged; raised after the last readable frame.
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
    """(item, outputs) of every frame from `start` on, and a `SegmentEnd` after every `checkpoint_every` frames.

    The last `SegmentEnd` has `end` set, and `failure` if the source is damaged.
    """
    timer = timer or StageTimer()
    frames = prefetch(timer.items("decode", _frame_items(source, size_hw, start, checkpoint_every)))
    workers = engine_workers(runner, usable_cores())
    items = prefetch(infer(runner, frames, batch=batch, timer=timer, workers=workers))
    return items if temporal_filter is None else prefetch(temporal_filter.process(items, timer))


def _frame_items(source: FrameSource, size_hw: tuple[int, int], start: int, checkpoint_every: int) -> Iterator[Any]:
    failure: DistillError | None = None
    number, taken, stop = start // checkpoint_every, 0, start
    try:
        for frame in source.frames(start, size_hw=size_hw):
            if taken == checkpoint_every:
                yield SegmentEnd(number, stop)
                number, taken = number + 1, 0
            taken, stop = taken + 1, frame.index + 1
            yield PipelineItem(
                f"{frame.index:06d}",
                frame.rgb,
                frame.pts,
                frame.pts_s,
                frame.index,
                play_s=frame.play_s,
                duration=frame.duration,
            )
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
        frame, outputs = item
        again = Frame(frame.index, frame.pts, frame.pts_s, frame.rgb, frame.play_s, frame.duration)
        yield FramePrediction(again, outputs)
        del item, frame, outputs, again
