"""Options, output paths and sinks of one video."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.errors import UsageError
from distill.export.inference.panels import Panels
from distill.export.inference.stream import CHECKPOINT_EVERY
from distill.export.inference.temporal_filter import TemporalFilterConfig
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
)
from distill.runtime.cpu import usable_cores
from distill.tasks import Task
from distill.video import FrameSource, VideoCodec, choose_encoding

SINKS = ("overlay", "maps", "ffv1", "masks", "statistics", "parquet", "points")


@dataclass(frozen=True, slots=True)
class VideoOptions:
    """Requested results of each video.

    Attributes:
        write: Names of sinks, from `SINKS`.
        only: One task blended over the frame; None: the frame and a panel per task.
        confidence: Whether to write confidence maps too, as PNG.
        batch: Frames per call; None: measured.
        temporal_filter: Smooth the maps over time; None: each frame on its own.
        codec: Codec of the overlay.
        points: Indices of frames that are written as point clouds.
        fov_deg: Horizontal field of view for point clouds.
        checkpoint_every: Frames between two points from which an interrupted job can resume.
        model_digest: Digest of the student, for the segment log.
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
        """All options, since each of them changes the results."""
        return {name: getattr(self, name) for name in self.__slots__} | {"write": sorted(self.write)}


@dataclass(frozen=True, slots=True)
class OutputPaths:
    """Paths of the results of one video.

    Attributes:
        stem: Folder and key; every sink adds its suffix.
        overlay: Overlay video.
        maps: Folder of PNG maps.
    """

    stem: Path
    overlay: Path
    maps: Path

    @property
    def work(self) -> Path:
        """Folder of the segment log."""
        return self.stem.with_name(f".{self.stem.name}.work")

    def with_ending(self, ending: str) -> Path:
        """``<key>.<ending>``."""
        return self.stem.with_name(f"{self.stem.name}.{ending}")


def build_sinks(
    runner: Runner, source: FrameSource, output_paths: OutputPaths, options: VideoOptions, panels: Panels
) -> list[Sink]:
    """Sinks of the requested results.

    Raises:
        UsageError: The student has no output for one of them, or an option is missing.
    """
    spec, work, cores = runner.spec, output_paths.work, usable_cores()
    clock = {"time_base": source.time_base, "rate": source.rate}
    if "masks" in options.write and spec.semantic is None:
        raise UsageError(
            f"--write masks: {spec.name} has no semantic output", hint=f"it has {', '.join(spec.dense_tasks)}"
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
            audio_from=source.audio_path,
            workers=max(1, cores // 4),
        ),
    }
    return [build() for name, build in builders.items() if name in options.write]
