"""Videos through a runner into any number of sinks, in segments: a call that was killed goes on and ends the same."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill.errors import DistillError, UsageError
from distill.export.inference.batch_size import choose_batch_size
from distill.export.inference.panels import Panels
from distill.export.inference.photos import PredictionSummary
from distill.export.inference.pipeline import SegmentEnd
from distill.export.inference.segment_log import SegmentLog, SegmentRecord, fingerprint
from distill.export.inference.stream import CHECKPOINT_EVERY, open_stream
from distill.export.inference.temporal_filter import TemporalFilter, TemporalFilterConfig
from distill.export.runners import Runner
from distill.export.sinks import (
    CocoMasksSink,
    Ffv1MapsSink,
    OverlayVideoSink,
    ParquetSink,
    PngMapsSink,
    PointCloudSink,
    Sink,
    StatisticsSink,
    make_folder,
)
from distill.runtime.cpu import usable_cores
from distill.tasks import Task
from distill.video import FrameSource, VideoCodec, choose_encoding

SINKS = ("overlay", "maps", "ffv1", "masks", "statistics", "parquet", "points")
_STOPS_ALL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
"""With a full disk there is no point in going on with the next video."""
_CALIBRATION_FRAMES = 8


@dataclass(frozen=True, slots=True)
class VideoOptions:
    """What is wanted of each video.

    Attributes:
        write: Sinks, of `SINKS`.
        only: One task laid over the photo; None: the photo with a panel per task beside it.
        confidence: Write the confidence maps too, as PNG.
        batch: Frames at once; None calibrates.
        temporal_filter: Steady the maps over time; None gives every frame's own.
        codec: Of the overlay.
        points: Frames that become point clouds.
        fov_deg: Horizontal field of view, for them.
        checkpoint_every: Frames between two points from which a killed job goes on.
        model_digest: Which student, for the journal: a digest.
    """

    write: frozenset[str] = frozenset({"overlay"})
    only: Task | None = None
    confidence: bool = False
    batch: int | None = None
    temporal_filter: TemporalFilterConfig | None = None
    codec: VideoCodec = VideoCodec.H264
    points: tuple[int, ...] = ()
    fov_deg: float | None = None
    checkpoint_every: int = CHECKPOINT_EVERY
    model_digest: str = ""

    def fingerprint_fields(self) -> dict[str, Any]:
        """Everything here that decides the results."""
        return {name: getattr(self, name) for name in self.__slots__} | {"write": sorted(self.write)}


@dataclass(frozen=True, slots=True)
class OutputPaths:
    """Where the results of one video go.

    Attributes:
        stem: Folder and key; every sink adds its own ending.
        overlay: The overlay video.
        maps: The folder of PNG maps.
    """

    stem: Path
    overlay: Path
    maps: Path

    @property
    def work(self) -> Path:
        """The journal's folder."""
        return self.stem.with_name(f".{self.stem.name}.work")

    def with_ending(self, ending: str) -> Path:
        """``<key>.<ending>``."""
        return self.stem.with_name(f"{self.stem.name}.{ending}")


@dataclass
class _Job:
    """One video under way."""

    source: FrameSource
    segment_log: SegmentLog
    sinks: list[Sink]
    temporal_filter: TemporalFilter | None
    work_hw: tuple[int, int]
    batch: int = 1
    resumed_at: int = 0
    times: list[tuple[int, float]] = field(default_factory=list)


def predict_video(
    runner: Runner,
    name: str,
    source: FrameSource,
    output_paths: OutputPaths,
    options: VideoOptions,
    summary: PredictionSummary,
    advance: Callable[[int], None],
) -> None:
    """Write what is wished of one video; a damaged one gives what it holds, and is listed as failed.

    Args:
        runner: The student.
        name: How to name the video to a person.
        source: Its frames.
        output_paths: Where results go.
        options: Which.
        summary: Takes the row, or the failure.
        advance: Told how many frames are done.

    Raises:
        UsageError: The student cannot give what is wished.
        DistillError: The disk is full or cannot be written.
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
        if isinstance(error, UsageError) or _is_disk_trouble(error):
            raise
        kept = f"; {job.segment_log.stop} frames are kept" if job.segment_log.stop else ""
        summary.add_failure(name, source.name, DistillError(error.message + kept, hint=error.hint))


def _prepare(runner: Runner, source: FrameSource, output_paths: OutputPaths, options: VideoOptions) -> _Job:
    make_folder(output_paths.stem.parent)
    panels = Panels(runner.spec, source.size_hw, options.only)
    # Pictures alone need no more than the size of a panel; maps have the size of the video.
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
    sinks = _build_sinks(runner, source, output_paths, options, panels)
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
        return 1  # waiting for a batch to fill is delay
    try:
        frames = list(itertools.islice(source.frames(size_hw=size_hw), _CALIBRATION_FRAMES))
    except DistillError:  # a short damaged file; said when its frames come
        frames = []
    return choose_batch_size(runner, [frame.rgb for frame in frames], source.num_frames)


def _build_sinks(
    runner: Runner, source: FrameSource, output_paths: OutputPaths, options: VideoOptions, panels: Panels
) -> list[Sink]:
    spec, work, cores = runner.spec, output_paths.work, usable_cores()
    clock = {"time_base": source.time_base, "rate": source.rate}
    if "masks" in options.write and spec.semantic is None:
        raise UsageError(
            f"--write masks: {spec.name} answers no classes", hint=f"it answers {', '.join(spec.dense_tasks)}"
        )
    if "points" in options.write and (options.fov_deg is None or not options.points):
        raise UsageError("--write points needs --fov and --points", hint="--fov 60 --points 0,100,200")
    builders: dict[str, Callable[[], Sink]] = {
        "maps": lambda: PngMapsSink(work, output_paths.maps, spec, confidence=options.confidence, workers=cores),
        "ffv1": lambda: Ffv1MapsSink(work, output_paths.stem, spec, **clock),
        "masks": lambda: CocoMasksSink(work, output_paths.with_ending("masks.json"), spec, workers=cores),
        "statistics": lambda: StatisticsSink(work, output_paths.with_ending("statistics.jsonl"), spec),
        "parquet": lambda: ParquetSink(work, output_paths.with_ending("statistics.parquet"), spec),
        "points": lambda: PointCloudSink(work, output_paths.stem, spec, options.points, options.fov_deg or 0.0),
        "overlay": lambda: OverlayVideoSink(
            work,
            output_paths.overlay,
            panels,
            **clock,
            encoding=choose_encoding(options.codec),
            audio_from=source.path,
            workers=max(1, cores // 4),
        ),
    }
    return [build() for name, build in builders.items() if name in options.write]


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
                job.times.append((item[0].pts, item[0].pts_s))
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
        row["times_s"] = [time_s for segment in segments for _, time_s in segment.times]
    if "maps" in results:
        row["maps"] = str(output_paths.maps)
    row |= {kind: [str(path) for path in paths] for kind, paths in results.items() if kind not in ("overlay", "maps")}
    row |= {"resumed_at": job.resumed_at} if job.resumed_at else {}
    row |= {"notes": list(job.source.notes)} if job.source.notes else {}
    row |= {"cuts": job.temporal_filter.cuts} if job.temporal_filter is not None else {}
    return row | job.source.read_stats()


def _is_disk_trouble(error: BaseException | None) -> bool:
    while error is not None:
        if getattr(error, "errno", None) in _STOPS_ALL:
            return True
        error = error.__cause__
    return False
