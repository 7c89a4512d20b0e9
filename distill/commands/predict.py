"""`distill predict`: a student over photos, folders, videos, numbered pictures and cameras."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distill.console import Console
from distill.errors import UsageError
from distill.tasks import Task
from distill.workflows.predict_videos import (
    PredictOptions,
    VideoInput,
    check_no_overwrite,
    predict_videos,
    resolve_outputs,
    split_inputs,
    to_video_options,
)

if TYPE_CHECKING:
    from distill.export.inference.photos import PredictionSummary
    from distill.export.runners import Runner
    from distill.inputs import FileInput

_SHOWN = 20
"""Failures named on the screen; predictions.json and --json name all."""


class Write(StrEnum):
    """What is written of a video."""

    OVERLAY = "overlay"
    MAPS = "maps"
    FFV1 = "ffv1"
    MASKS = "masks"
    STATISTICS = "statistics"
    PARQUET = "parquet"
    POINTS = "points"


class Codec(StrEnum):
    """Of the overlay video."""

    H264 = "h264"
    HEVC = "hevc"


class DecoderChoice(StrEnum):
    """Who decodes a video file."""

    AUTO = "auto"
    THREADS = "threads"
    SINGLE = "single"
    NVDEC = "nvdec"


class DropPolicy(StrEnum):
    """Frames of a camera that come faster than they are worked on."""

    LATE = "late"
    NEVER = "never"


def predict(
    model: Annotated[Path, typer.Argument(help="A run folder, or a file that distill export wrote.")],
    inputs: Annotated[
        list[str],
        typer.Argument(help="Photos, videos, folders, globs, frames/%06d.png, rtsp:// addresses, /dev/video0."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="A folder, or for one video the overlay video to write. [default: predictions]"),
    ] = None,
    write: Annotated[
        list[Write] | None,
        typer.Option(help="What to write of a video; can be given several times. [default: overlay]"),
    ] = None,
    show: Annotated[str, typer.Option(help="all: photo and a panel per task; or one task, over the photo.")] = "all",
    maps: Annotated[Path | None, typer.Option(help="Folder for the lossless maps (PNG) of every frame.")] = None,
    confidence: Annotated[bool, typer.Option("--confidence", help="Write confidence maps (PNG) too.")] = False,
    temporal_smoothing: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Steady the maps of a video over time: 0 not at all, 1 most.")
    ] = 0.0,
    codec: Annotated[Codec, typer.Option(help="Of the overlay video.")] = Codec.H264,
    decoder: Annotated[
        DecoderChoice,
        typer.Option(
            help="Of video files: FFmpeg on all cores or on one, or NVIDIA's; auto tries on the first frames."
        ),
    ] = DecoderChoice.AUTO,
    points: Annotated[str, typer.Option(help="Frames for --write points, such as 0,100,200.")] = "",
    fov: Annotated[float | None, typer.Option(help="Horizontal field of view in degrees, for --write points.")] = None,
    rate: Annotated[float, typer.Option(help="Frames per second of numbered pictures.")] = 25.0,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Pictures at once; measured, or chosen by their size, unless given.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of one call of the engine; chosen for all cores unless given.")
    ] = None,
    parallel: Annotated[int, typer.Option(min=1, help="Videos at once; cameras always run all at once.")] = 1,
    checkpoint_every: Annotated[
        int, typer.Option(min=1, help="Frames between two points from which a killed job goes on.")
    ] = 240,
    no_resume: Annotated[bool, typer.Option("--no-resume", help="Begin anew, whatever an earlier run left.")] = False,
    seconds: Annotated[float | None, typer.Option(help="Stop a camera after this time.")] = None,
    latency: Annotated[float, typer.Option(help="A camera's frame that waited longer, in seconds, is dropped.")] = 0.5,
    drop_frames: Annotated[DropPolicy, typer.Option(help="Of a camera: drop late frames, or never.")] = DropPolicy.LATE,
    camera_timeout: Annotated[
        float, typer.Option(help="Seconds without a frame after which a camera counts as gone.")
    ] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Run the student, and write what it sees.

    A photo gives KEY.depth.png (16 bit), KEY.normals.png, KEY.semantic.png and KEY.overlay.jpg; predictions.json says
    how to read them. A video gives an overlay video with every frame at its own time and the sound; --write adds
    lossless maps (maps: PNG, ffv1: one video per task), COCO masks, statistics (JSON lines or parquet) and point
    clouds. Colors have fixed ranges. A bad input is listed, the others go on, and the exit code is 1. A video that was
    interrupted goes on where it was when the same command is run again. Ctrl-C ends a camera.

    Examples:
        distill predict depth.onnx photos/ --out predictions

        distill predict runs/nano clip.mp4 --out overlay.mp4 --maps maps --temporal-smoothing 0.5

        distill predict depth.onnx clips/ --out results --write overlay --write ffv1 --write statistics

        distill predict depth.onnx rtsp://camera/stream --out camera.mp4 --seconds 60
    """
    console = Console(as_json=as_json)
    for option, value in (
        ("--rate", rate),
        ("--seconds", seconds),
        ("--latency", latency),
        ("--camera-timeout", camera_timeout),
    ):
        if value is not None and not 0 < value < float("inf"):
            raise UsageError(f"{option} {value:g}: not a positive number", hint=f"such as {option} 10")
    options = PredictOptions(
        out=out,
        write=tuple(str(entry) for entry in write or ()),
        show=show,
        maps=maps,
        confidence=confidence,
        temporal_smoothing=temporal_smoothing,
        codec=str(codec),
        decoder=str(decoder),
        points=_read_points(points),
        fov_deg=fov,
        rate=Fraction(rate).limit_denominator(1001),
        batch=batch,
        threads=threads,
        parallel=parallel,
        checkpoint_every=checkpoint_every,
        no_resume=no_resume,
        live={"seconds": seconds, "latency_s": latency, "drop_policy": str(drop_frames), "timeout_s": camera_timeout},
    )
    result = run_predict(model, inputs, console, options)
    console.result(result, _format_result(result))
    if result["failed"]:
        raise typer.Exit(1)


def run_predict(
    model: Path, inputs: list[str], console: Console, options: PredictOptions | None = None
) -> dict[str, Any]:
    """Predict everything that the words name; the result as `--json` prints it.

    Raises:
        UsageError: Nothing to predict, or options that do not go together.
        DistillError: The student cannot be opened, the engine failed, or nothing can be written.
    """
    from distill.export.inference.photos import PredictionSummary, predict_photos
    from distill.workflows.model import open_model

    options = options or PredictOptions()
    photos, videos = split_inputs(inputs)
    folder, video_out = resolve_outputs(options, photos, videos)
    check_no_overwrite(options, photos, videos, folder, video_out)
    summary, started = PredictionSummary(), time.perf_counter()
    # Engines whose idle threads spin would take the cores from decoder and encoder.
    with open_model(model, threads=_threads(options, photos, videos), allow_spinning=not videos) as runner:
        only = _task_shown(options.show, runner)
        if photos and folder is not None:
            with console.progress("photos", len(photos)) as progress:
                items = [(entry.key, entry.name, entry.path) for entry in photos]
                choices: dict[str, Any] = {"confidence": options.confidence, "batch": options.batch}
                predict_photos(runner, items, folder, summary, progress.advance, only=only, **choices)
        predict_videos(
            runner, videos, options, to_video_options(options, only, model), folder, video_out, summary, console
        )
        result = _result(model, runner, summary, folder or video_out or options.maps, time.perf_counter() - started)
        index_folder = (folder if photos or videos else None) or options.maps
        _write_index(result, runner, index_folder)
    return result


def _threads(options: PredictOptions, photos: Sequence[FileInput], videos: Sequence[VideoInput]) -> int | None:
    """Of one call of the engine: few for videos, whose batches are worked on side by side."""
    from distill.export.inference.pipeline import engine_threads
    from distill.export.runners import num_cores

    if options.threads is not None or photos or not videos:
        return options.threads
    return engine_threads(num_cores())


def _task_shown(show: str, runner: Runner) -> Task | None:
    if show == "all":
        return None
    if show not in runner.spec.dense_tasks:
        raise UsageError(
            f"--show {show}: {runner.name} does not answer that",
            hint=f"choose all, {', '.join(runner.spec.dense_tasks)}",
        )
    return Task(show)


def _read_points(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise UsageError(f"--points {text}: not frame numbers", hint="such as --points 0,100,200") from error


def _result(
    model: Path, runner: Runner, summary: PredictionSummary, out: Path | None, seconds: float
) -> dict[str, Any]:
    frames = sum(row.get("frames", 1) for row in summary.rows)
    return {
        "model": str(model),
        "engine": runner.engine,
        "threads": runner.threads,
        "out": str(out),
        "images": frames,
        "seconds": round(seconds, 3),
        "images_per_s": round(frames / seconds, 2),
        "stage_seconds": {name: round(value, 3) for name, value in summary.timer.seconds.items()},
        "bottleneck": summary.timer.bottleneck,
        "busy_cores": round(summary.timer.busy_cores(), 2),
        "results": summary.rows,
        "failed": summary.failed,
    }


def _write_index(result: dict[str, Any], runner: Runner, folder: Path | None) -> None:
    """``predictions.json``: how to read the maps, and which file belongs to which input."""
    from distill.export.inference.map_encoding import describe_maps
    from distill.images import write_atomic
    from distill.run_dir import versions

    if folder is None or not result["results"]:
        return
    index = {"maps": describe_maps(runner.spec), **result, "student": runner.spec.name, "versions": versions()}
    write_atomic(folder / "predictions.json", json.dumps(index, indent=2).encode())


def _format_result(result: dict[str, Any]) -> str:
    videos = [row for row in result["results"] if "frames" in row]
    photos = len(result["results"]) - len(videos)
    counts = [f"{photos} photos"] * bool(photos) + [f"{row['name']}: {row['frames']} frames" for row in videos]
    lines = ["nothing could be predicted"]
    if counts:
        lines[0] = (
            f"{', '.join(counts)} to {result['out']} in {result['seconds']:.1f} s"
            f" ({result['images_per_s']:.1f}/s with {result['engine']}; slowest stage: {result['bottleneck']})"
        )
    if result["failed"]:
        lines.append(f"{len(result['failed'])} inputs failed:")
        lines += [f"  {entry['name']}: {entry['reason']}" for entry in result["failed"][:_SHOWN]]
        more = len(result["failed"]) - _SHOWN
        lines += [f"  and {more} more"] if more > 0 else []
    return "\n".join(lines)
