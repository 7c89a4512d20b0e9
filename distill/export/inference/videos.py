"""Predictions for one video, written to sinks in segments; an interrupted call resumes with equal results."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill.errors import DistillError, UsageError
from distill.export.inference.batch_size import choose_batch_size
from distill.export.inference.panels import Panels
from distill.export.inference.photos import PredictionSummary
from distill.export.inference.segment_log import FrameTime, SegmentLog, SegmentRecord, fingerprint
from distill.export.inference.stages import SegmentEnd
from distill.export.inference.stream import open_stream
from distill.export.inference.temporal_filter import TemporalFilter
from distill.export.inference.video_options import OutputPaths, VideoOptions, build_sinks
from distill.export.runners import Runner
from distill.export.sinks import Sink, make_folder
from distill.video import Ending, FrameSource
from distill.video.media.timeline import offsets_of
from distill.video.muxing import DISK_ERRORS

_CALIBRATION_FRAMES = 8


@dataclass
class _Job:
    """State of one video in progress."""

    source: FrameSource
    segment_log: SegmentLog
    sinks: list[Sink]
    temporal_filter: TemporalFilter | None
    work_hw: tuple[int, int]
    batch: int = 1
    resumed_at: int = 0
    times: list[FrameTime] = field(default_factory=list)


def predict_video(
    runner: Runner,
    name: str,
    source: FrameSource,
    output_paths: OutputPaths,
    options: VideoOptions,
    summary: PredictionSummary,
    advance: Callable[[int], None],
) -> None:
    """Write the requested results of one video; of a damaged one the readable part, and list it as failed.

    Args:
        runner: The student.
        name: Name of the video in messages.
        source: Frames.
        output_paths: Paths of the results.
        options: Requested results.
        summary: Takes the row, or the failure.
        advance: Called with the number of finished frames.

    Raises:
        UsageError: The student has no output for a requested result.
        DistillError: The disk is full or not writable.
    """
    job = _prepare(runner, source, output_paths, options)
    advance(job.segment_log.stop)
    try:
        if not job.segment_log.is_complete:
            _run(runner, job, options, summary, advance)
        _finish(name, job, output_paths, options, summary)
    except DistillError as error:
        for sink in job.sinks:
            sink.abandon()
        if isinstance(error, UsageError) or _is_disk_error(error):
            raise
        saved = f"; {job.segment_log.stop} frames are saved" if job.segment_log.stop else ""
        summary.add_failure(name, source.name, DistillError(error.message + saved, hint=error.hint))


def _prepare(runner: Runner, source: FrameSource, output_paths: OutputPaths, options: VideoOptions) -> _Job:
    make_folder(output_paths.stem.parent)
    panels = Panels(runner.spec, source.size_hw, options.only)
    # Overlays need only the size of a panel; maps have the size of the video.
    work_hw = panels.panel_hw if options.write == {"overlay"} else source.size_hw
    facts = {
        **options.fingerprint_fields(),
        "spec": runner.spec.to_json(),
        "engine": runner.engine,
        "threads": runner.threads,
    }
    segment_log = SegmentLog(
        output_paths.work,
        fingerprint(source.path, {**facts, "source": source.fingerprint, "outputs": repr(output_paths)}),
    )
    if source.live:
        segment_log.close()
        segment_log = SegmentLog(output_paths.work, "live")
    sinks = build_sinks(runner, source, output_paths, options, panels)
    temporal_filter = TemporalFilter(runner.spec, options.temporal_filter) if options.temporal_filter else None
    if temporal_filter is not None:
        temporal_filter.restore(segment_log.state())
    job = _Job(source, segment_log, sinks, temporal_filter, work_hw, resumed_at=segment_log.stop)
    if not segment_log.settings:
        segment_log.begin({"batch": options.batch or _tune_batch(runner, source, work_hw)})
    job.batch = segment_log.settings["batch"]
    return job


def _tune_batch(runner: Runner, source: FrameSource, size_hw: tuple[int, int]) -> int:
    if source.live:
        return 1  # filling a batch adds latency
    try:
        frames = list(itertools.islice(source.frames(size_hw=size_hw), _CALIBRATION_FRAMES))
    except DistillError:  # a short damaged file; reported when its frames are read
        frames = []
    return choose_batch_size(runner, [frame.rgb for frame in frames], source.num_frames)


def _run(
    runner: Runner, job: _Job, options: VideoOptions, summary: PredictionSummary, advance: Callable[[int], None]
) -> None:
    items: Generator[Any, None, None] = open_stream(
        runner,
        job.source,
        job.work_hw,
        batch=job.batch,
        temporal_filter=job.temporal_filter,
        timer=summary.timer,
        start=job.segment_log.stop,
        checkpoint_every=options.checkpoint_every,
    )
    for sink in job.sinks:
        items = sink.process(items, summary.timer)
    try:
        for item in items:
            if isinstance(item, SegmentEnd):
                job.segment_log.commit(item, job.times)
                job.times = []
            else:
                job.times.append((item[0].pts, item[0].pts_s, item[0].duration))
                job.source.finished(item[0].index)
                advance(1)
            del item
    finally:
        items.close()


def _finish(name: str, job: _Job, output_paths: OutputPaths, options: VideoOptions, summary: PredictionSummary) -> None:
    segments = job.segment_log.segments
    failure = segments[-1].failure
    frames = sum(len(segment.times) for segment in segments)
    if failure is not None:
        summary.add_failure(name, job.source.name, DistillError(failure[0], hint=failure[1]))
    if frames:
        for sink in job.sinks:
            sink.ending = _ending(job.source, segments, whole=failure is None)
        with summary.timer.stage("join"):
            results = {sink.name: sink.finish([segment.paths(sink.name) for segment in segments]) for sink in job.sinks}
        summary.rows.append(_row(name, job, frames, segments, results, options, output_paths))
    job.segment_log.close()


def _row(
    name: str,
    job: _Job,
    frames: int,
    segments: Sequence[SegmentRecord],
    results: dict[str, list[Path]],
    options: VideoOptions,
    output_paths: OutputPaths,
) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "size_hw": list(job.source.size_hw), "frames": frames, "batch": job.batch}
    if "overlay" in results:
        row["video"] = str(output_paths.overlay)
    if options.write != {"overlay"}:
        row["times_s"] = [time_s for segment in segments for _, time_s, _ in segment.times]
    if "maps" in results:
        row["maps"] = str(output_paths.maps)
    row |= {kind: [str(path) for path in paths] for kind, paths in results.items() if kind not in ("overlay", "maps")}
    row |= {"resumed_at": job.resumed_at} if job.resumed_at else {}
    notes = [*filter(None, [job.segment_log.note]), *job.source.notes, *(n for sink in job.sinks for n in sink.notes)]
    row |= {"notes": notes} if notes else {}
    row |= {"cuts": job.temporal_filter.cuts} if job.temporal_filter is not None else {}
    return row | job.source.read_stats()


def _ending(source: FrameSource, segments: Sequence[SegmentRecord], *, whole: bool) -> Ending:
    times = [time for segment in segments for time in segment.times]
    pairs = [(source_s, float(pts * source.time_base)) for pts, source_s, _ in times]
    offsets_s = offsets_of(pairs, tolerance_s=float(1 / source.rate))
    duration_s = float(times[-1][2] * source.time_base)
    end_s = float(times[-1][0] * source.time_base) + (duration_s or float(1 / source.rate))
    return Ending(duration_s, end_s, tuple(offsets_s), whole)


def _is_disk_error(error: BaseException | None) -> bool:
    while error is not None:
        if getattr(error, "errno", None) in DISK_ERRORS:
            return True
        error = error.__cause__
    return False
