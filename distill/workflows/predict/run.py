"""Prediction as a function: run a student over images and videos and write the results."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from distill.errors import UsageError
from distill.runtime.folder_lock import hold_output
from distill.runtime.progress import Reporter, SilentReporter
from distill.tasks import Task
from distill.workflows.arguments import Paths, StrPath, to_path, to_strings
from distill.workflows.predict.options import (
    CameraOptions,
    Codec,
    DecoderChoice,
    DropPolicy,
    PredictOptions,
    Write,
)
from distill.workflows.predict.result import PredictResult
from distill.workflows.predict.videos import (
    VideoInput,
    check_no_overwrite,
    describe_left_out,
    predict_videos,
    resolve_outputs,
    split_inputs,
    to_video_options,
)

if TYPE_CHECKING:
    from enum import StrEnum

    from distill.export.inference.photos import PredictionSummary
    from distill.export.runners import Runner
    from distill.inputs import FileInput

Choice = TypeVar("Choice", bound="StrEnum")


def predict(
    model: StrPath,
    inputs: Paths,
    *,
    out: StrPath | None = None,
    write: Iterable[Write | str] = (),
    show: str = "all",
    maps: StrPath | None = None,
    confidence: bool = False,
    temporal_smoothing: float = 0.0,
    codec: Codec | str = Codec.H264,
    decoder: DecoderChoice | str = DecoderChoice.AUTO,
    points: Iterable[int] = (),
    fov: float | None = None,
    rate: float = 25.0,
    batch: int | None = None,
    threads: int | None = None,
    parallel: int = 1,
    checkpoint_every: int = 240,
    no_resume: bool = False,
    seconds: float | None = None,
    latency: float = 0.5,
    drop_frames: DropPolicy | str = DropPolicy.LATE,
    camera_timeout: float = 10.0,
    allow_native: bool = False,
    reporter: Reporter | None = None,
) -> PredictResult:
    """Run a student over images, videos and cameras, and write maps and overlays.

    An image gives ``KEY.depth.png`` (16 bit), ``KEY.normals.png``, ``KEY.semantic.png`` and ``KEY.overlay.jpg``;
    ``predictions.json`` describes how to read them. A video gives an overlay video with its frame times and its sound.
    An input that cannot be read is listed in the result. An interrupted video continues when the same call is repeated.
    `distill.load` returns predictions as arrays instead.

    Args:
        model: Run folder, or file that `distill.export` wrote.
        inputs: Images, videos, folders, globs, ``frames/%06d.png``, ``rtsp://`` addresses, ``/dev/video0``.
        out: Folder, or for a single video the overlay video to write; ``predictions`` unless given.
        write: Files for videos: ``overlay``, ``maps`` (PNG), ``ffv1`` (one lossless video per task), ``masks`` (COCO),
            ``statistics`` (JSON lines), ``parquet``, ``points`` (PLY); overlays unless given.
        show: Content of overlays: ``all`` (image and one panel per task) or one task over the image.
        maps: Folder for the lossless maps of every frame.
        confidence: Write confidence maps as well.
        temporal_smoothing: Strength of the temporal filter for videos, 0 (off) to 1.
        codec: Codec of overlay videos.
        decoder: Decoder of video files; ``auto`` tries them on the first frames.
        points: Indices of the frames to write as point clouds.
        fov: Horizontal field of view in degrees, for point clouds.
        rate: Frame rate of numbered images, and of raw videos that state none.
        batch: Images per call; chosen by measurement or image size unless given.
        threads: Threads of one call; chosen for all cores unless given.
        parallel: Videos at once; cameras always run at the same time.
        checkpoint_every: Frames between two points from which an interrupted video can continue.
        no_resume: Discard the result of an earlier, interrupted run.
        seconds: Stop a camera after this time.
        latency: Drop a camera frame that waited longer than this, in seconds.
        drop_frames: ``late`` drops late camera frames, ``never`` keeps all.
        camera_timeout: Seconds without a frame after which a camera counts as disconnected.
        allow_native: Open a model file with machine code (``.pt2``, ``.engine``), which runs with all of your rights.
        reporter: Receives messages and progress; silent unless given.

    Raises:
        UsageError: There is no input, or options contradict each other.
        DistillError: The student cannot be opened, the engine failed, or a file cannot be written.

    Example:
        >>> result = distill.predict("runs/nano", ["photos/", "clip.mp4"], out="predictions")
        >>> [row["name"] for row in result.results]
    """
    options = PredictOptions(
        out=to_path(out),
        write=tuple(_choice(Write, "write", name) for name in write),
        show=show,
        maps=to_path(maps),
        confidence=confidence,
        temporal_smoothing=temporal_smoothing,
        codec=_choice(Codec, "codec", codec),
        decoder=_choice(DecoderChoice, "decoder", decoder),
        points=tuple(points),
        fov_deg=fov,
        rate=rate,
        batch=batch,
        threads=threads,
        parallel=parallel,
        checkpoint_every=checkpoint_every,
        no_resume=no_resume,
        allow_native=allow_native,
        camera=CameraOptions(seconds, latency, _choice(DropPolicy, "drop_frames", drop_frames), camera_timeout),
    )
    return run_predict(Path(model), to_strings(inputs), options, reporter)


def run_predict(
    model: Path, inputs: Sequence[str], options: PredictOptions, reporter: Reporter | None = None
) -> PredictResult:
    """Predict all inputs with these options.

    Raises:
        DistillError: As `predict`.
    """
    from distill.export.inference.photos import PredictionSummary, predict_photos
    from distill.workflows.open_model import open_model

    reporter = reporter or SilentReporter()
    found = split_inputs(inputs)
    photos, videos = found.photos, found.videos
    if found.left_out:
        reporter.info(describe_left_out(found.left_out))
    folder, video_out = resolve_outputs(options, photos, videos)
    check_no_overwrite(options, photos, videos, folder, video_out)
    summary, started = PredictionSummary(), time.perf_counter()
    with ExitStack() as stack:
        for output in dict.fromkeys(filter(None, (folder or video_out, options.maps))):
            stack.enter_context(hold_output(output, "predict", is_file=output == video_out))
        # Engines whose idle threads spin would take the cores from decoder and encoder.
        runner = stack.enter_context(
            open_model(
                model,
                threads=_threads(options, photos, videos),
                allow_spinning=not videos,
                allow_native=options.allow_native,
            )
        )
        only = _task_shown(options.show, runner)
        if photos and folder is not None:
            with reporter.progress("photos", len(photos)) as progress:
                predict_photos(
                    runner,
                    [(entry.key, entry.name, entry.path) for entry in photos],
                    folder,
                    summary,
                    progress.advance,
                    only=only,
                    confidence=options.confidence,
                    batch=options.batch,
                )
        video_options = to_video_options(options, only, model)
        predict_videos(runner, videos, options, video_options, folder, video_out, summary, reporter)
        result = _result(model, runner, summary, folder or video_out or options.maps, time.perf_counter() - started)
        _write_index(result, runner, (folder if photos or videos else None) or options.maps)
    return result


def _choice(kind: type[Choice], option: str, name: str) -> Choice:
    try:
        return kind(name)
    except ValueError:
        raise UsageError(f"{option} {name!r} is unknown", hint=f"choose from {', '.join(kind)}") from None


def _threads(options: PredictOptions, photos: Sequence[FileInput], videos: Sequence[VideoInput]) -> int | None:
    """Threads of one call of the engine: few for videos, whose batches run in parallel."""
    from distill.export.inference.batched_inference import engine_threads
    from distill.runtime.cpu import usable_cores

    if options.threads is not None or photos or not videos:
        return options.threads
    return engine_threads(usable_cores())


def _task_shown(show: str, runner: Runner) -> Task | None:
    if show == "all":
        return None
    if show not in runner.spec.dense_tasks:
        raise UsageError(
            f"--show {show}: {runner.name} does not predict it",
            hint=f"choose all, {', '.join(runner.spec.dense_tasks)}",
        )
    return Task(show)


def _result(model: Path, runner: Runner, summary: PredictionSummary, out: Path | None, seconds: float) -> PredictResult:
    return PredictResult(
        model=model,
        engine=runner.engine,
        threads=runner.threads,
        out=out,
        images=sum(row.get("frames", 1) for row in summary.rows),
        seconds=seconds,
        stage_seconds=dict(summary.timer.seconds),
        bottleneck=summary.timer.bottleneck,
        busy_cores=summary.timer.busy_cores(),
        results=tuple(summary.rows),
        failed=tuple(summary.failed),
    )


def _write_index(result: PredictResult, runner: Runner, folder: Path | None) -> None:
    """Write ``predictions.json``: how to read the maps, and the files of each input."""
    from distill.export.inference.map_encoding import describe_maps
    from distill.files import write_atomic
    from distill.run_dir import versions

    if folder is None or not result.results:
        return
    index = {
        "maps": describe_maps(runner.spec),
        **result.to_dict(),
        "student": runner.spec.name,
        "versions": versions(),
    }
    write_atomic(folder / "predictions.json", json.dumps(index, indent=2).encode())
