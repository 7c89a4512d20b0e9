"""Videos through a runner into any number of sinks, in segments: a call that was killed goes on and ends the same."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill.errors import DistillError, UsageError
from distill.export.inference.batch_size import choose_batch
from distill.export.inference.panels import Panels
from distill.export.inference.photos import Done
from distill.export.inference.pipeline import Boundary
from distill.export.inference.segment_log import Journal, Segment, sign
from distill.export.inference.stream import SEGMENT, open_stream
from distill.export.inference.temporal_filter import Stabilizer, Steadiness
from distill.export.runners import Runner, num_cores
from distill.export.sinks import (
    Ffv1Sink,
    MasksSink,
    OverlaySink,
    ParquetSink,
    PngSink,
    PointsSink,
    Sink,
    StatisticsSink,
    make_folder,
)
from distill.tasks import Task
from distill.video import Source, VideoCodec, choose_encoding

SINKS = ("overlay", "maps", "ffv1", "masks", "statistics", "parquet", "points")
_STOPS_ALL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
"""With a full disk there is no point in going on with the next video."""
_CALIBRATION_FRAMES = 8


@dataclass(frozen=True, slots=True)
class VideoWishes:
    """What is wanted of each video.

    Attributes:
        write: Sinks, of `SINKS`.
        only: One task laid over the photo; None: the photo with a panel per task beside it.
        confidence: Write the confidence maps too, as PNG.
        batch: Frames at once; None calibrates.
        steadiness: Steady the maps over time; None gives every frame's own.
        codec: Of the overlay.
        points: Frames that become point clouds.
        fov_deg: Horizontal field of view, for them.
        segment: Frames between two points from which a killed job goes on.
        subject: Which student, for the journal: a digest.
    """

    write: frozenset[str] = frozenset({"overlay"})
    only: Task | None = None
    confidence: bool = False
    batch: int | None = None
    steadiness: Steadiness | None = None
    codec: VideoCodec = VideoCodec.H264
    points: tuple[int, ...] = ()
    fov_deg: float | None = None
    segment: int = SEGMENT
    subject: str = ""

    def facts(self) -> dict[str, Any]:
        """Everything here that decides the results."""
        return {name: getattr(self, name) for name in self.__slots__} | {"write": sorted(self.write)}


@dataclass(frozen=True, slots=True)
class Places:
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

    def beside(self, ending: str) -> Path:
        """``<key>.<ending>``."""
        return self.stem.with_name(f"{self.stem.name}.{ending}")


@dataclass
class _Job:
    """One video under way."""

    source: Source
    journal: Journal
    sinks: list[Sink]
    stabilizer: Stabilizer | None
    work_hw: tuple[int, int]
    batch: int = 1
    resumed_at: int = 0
    times: list[tuple[int, float]] = field(default_factory=list)


def predict_video(
    runner: Runner,
    name: str,
    source: Source,
    places: Places,
    wishes: VideoWishes,
    done: Done,
    advance: Callable[[int], None],
) -> None:
    """Write what is wished of one video; a damaged one gives what it holds, and is listed as failed.

    Args:
        runner: The student.
        name: How to name the video to a person.
        source: Its frames.
        places: Where results go.
        wishes: Which.
        done: Takes the row, or the failure.
        advance: Told how many frames are done.

    Raises:
        UsageError: The student cannot give what is wished.
        DistillError: The disk is full or cannot be written.
    """
    job = _prepare(runner, source, places, wishes)
    advance(job.journal.stop)
    try:
        if not job.journal.ended:
            _run(runner, job, wishes, done, advance)
        _finish(name, job, places, wishes, done)
    except DistillError as error:
        for sink in job.sinks:
            sink.abandon()
        if isinstance(error, UsageError) or _is_disk_trouble(error):
            raise
        kept = f"; {job.journal.stop} frames are kept" if job.journal.stop else ""
        done.fail(name, source.name, DistillError(error.message + kept, hint=error.hint))


def _prepare(runner: Runner, source: Source, places: Places, wishes: VideoWishes) -> _Job:
    make_folder(places.stem.parent)
    panels = Panels(runner.spec, source.size_hw, wishes.only)
    # Pictures alone need no more than the size of a panel; maps have the size of the video.
    work_hw = panels.panel_hw if wishes.write == {"overlay"} else source.size_hw
    facts = {**wishes.facts(), "spec": runner.spec.to_json(), "engine": runner.engine, "threads": runner.threads}
    journal = Journal(places.work, sign(source.path, {**facts, "source": source.facts, "places": repr(places)}))
    if source.live:
        journal.close()
        journal = Journal(places.work, "live")
    sinks = _build_sinks(runner, source, places, wishes, panels)
    stabilizer = Stabilizer(runner.spec, wishes.steadiness) if wishes.steadiness else None
    if stabilizer is not None:
        stabilizer.restore(journal.state())
    job = _Job(source, journal, sinks, stabilizer, work_hw, resumed_at=journal.stop)
    if not journal.settings:
        journal.begin({"batch": wishes.batch or _calibrated(runner, source, work_hw)})
    job.batch = journal.settings["batch"]
    return job


def _calibrated(runner: Runner, source: Source, size_hw: tuple[int, int]) -> int:
    if source.live:
        return 1  # waiting for a batch to fill is delay
    try:
        frames = list(itertools.islice(source.frames(size_hw=size_hw), _CALIBRATION_FRAMES))
    except DistillError:  # a short damaged file; said when its frames come
        frames = []
    return choose_batch(runner, [frame.rgb for frame in frames], source.num_frames)


def _build_sinks(runner: Runner, source: Source, places: Places, wishes: VideoWishes, panels: Panels) -> list[Sink]:
    spec, work, cores = runner.spec, places.work, num_cores()
    clock = {"time_base": source.time_base, "rate": source.rate}
    if "masks" in wishes.write and spec.semantic is None:
        raise UsageError(f"--write masks: {spec.name} answers no classes", hint=f"it answers {', '.join(spec.tasks)}")
    if "points" in wishes.write and (wishes.fov_deg is None or not wishes.points):
        raise UsageError("--write points needs --fov and --points", hint="--fov 60 --points 0,100,200")
    builders: dict[str, Callable[[], Sink]] = {
        "maps": lambda: PngSink(work, places.maps, spec, confidence=wishes.confidence, workers=cores),
        "ffv1": lambda: Ffv1Sink(work, places.stem, spec, **clock),
        "masks": lambda: MasksSink(work, places.beside("masks.json"), spec, workers=cores),
        "statistics": lambda: StatisticsSink(work, places.beside("statistics.jsonl"), spec),
        "parquet": lambda: ParquetSink(work, places.beside("statistics.parquet"), spec),
        "points": lambda: PointsSink(work, places.stem, spec, wishes.points, wishes.fov_deg or 0.0),
        "overlay": lambda: OverlaySink(
            work,
            places.overlay,
            panels,
            **clock,
            encoding=choose_encoding(wishes.codec),
            sound_from=source.path,
            workers=max(1, cores // 4),
        ),
    }
    return [build() for name, build in builders.items() if name in wishes.write]


def _run(runner: Runner, job: _Job, wishes: VideoWishes, done: Done, advance: Callable[[int], None]) -> None:
    items: Generator[Any, None, None] = open_stream(
        runner,
        job.source,
        job.work_hw,
        batch=job.batch,
        stabilizer=job.stabilizer,
        watch=done.watch,
        start=job.journal.stop,
        segment=wishes.segment,
    )
    for sink in job.sinks:
        items = sink.through(items, done.watch)
    try:
        for item in items:
            if isinstance(item, Boundary):
                job.journal.commit(item, job.times)
                job.times = []
            else:
                job.times.append((item[0].pts, item[0].pts_s))
                job.source.finished(item[0].index)
                advance(1)
            del item
    finally:
        items.close()


def _finish(name: str, job: _Job, places: Places, wishes: VideoWishes, done: Done) -> None:
    segments = job.journal.segments
    failure = segments[-1].failure
    frames = sum(len(segment.times) for segment in segments)
    if failure is not None:
        done.fail(name, job.source.name, DistillError(failure[0], hint=failure[1]))
    if frames:
        with done.watch.stage("join"):
            results = {sink.name: sink.finish([segment.paths(sink.name) for segment in segments]) for sink in job.sinks}
        done.rows.append(_row(name, job, frames, segments, results, wishes, places))
    job.journal.close()


def _row(
    name: str,
    job: _Job,
    frames: int,
    segments: Sequence[Segment],
    results: dict[str, list[Path]],
    wishes: VideoWishes,
    places: Places,
) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "size_hw": list(job.source.size_hw), "frames": frames, "batch": job.batch}
    if "overlay" in results:
        row["video"] = str(places.overlay)
    if wishes.write != {"overlay"}:
        row["times_s"] = [time_s for segment in segments for _, time_s in segment.times]
    if "maps" in results:
        row["maps"] = str(places.maps)
    row |= {kind: [str(path) for path in paths] for kind, paths in results.items() if kind not in ("overlay", "maps")}
    row |= {"resumed_at": job.resumed_at} if job.resumed_at else {}
    row |= {"notes": list(job.source.notes)} if job.source.notes else {}
    row |= {"cuts": job.stabilizer.cuts} if job.stabilizer is not None else {}
    return row | job.source.facts_seen()


def _is_disk_trouble(error: BaseException | None) -> bool:
    while error is not None:
        if getattr(error, "errno", None) in _STOPS_ALL:
            return True
        error = error.__cause__
    return False
