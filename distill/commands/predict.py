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
    Clip,
    Options,
    find_places,
    predict_clips,
    refuse_overwriting,
    sort_words,
    to_wishes,
)

if TYPE_CHECKING:
    from distill.export.inference.photos import Done
    from distill.export.runners import Runner
    from distill.inputs import Input

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
    subject: Annotated[Path, typer.Argument(help="A run folder, or a file that distill export wrote.")],
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
    steady: Annotated[
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
    segment: Annotated[
        int, typer.Option(min=1, help="Frames between two points from which a killed job goes on.")
    ] = 240,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew, whatever an earlier run left.")] = False,
    seconds: Annotated[float | None, typer.Option(help="Stop a camera after this time.")] = None,
    latency: Annotated[float, typer.Option(help="A camera's frame that waited longer, in seconds, is dropped.")] = 0.5,
    drop: Annotated[DropPolicy, typer.Option(help="Of a camera: drop late frames, or never.")] = DropPolicy.LATE,
    stall: Annotated[float, typer.Option(help="Seconds without a frame after which a camera counts as gone.")] = 10.0,
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

        distill predict runs/nano clip.mp4 --out overlay.mp4 --maps maps --steady 0.5

        distill predict depth.onnx clips/ --out results --write overlay --write ffv1 --write statistics

        distill predict depth.onnx rtsp://camera/stream --out camera.mp4 --seconds 60
    """
    console = Console(as_json=as_json)
    for option, value in (("--rate", rate), ("--seconds", seconds), ("--latency", latency), ("--stall", stall)):
        if value is not None and not 0 < value < float("inf"):
            raise UsageError(f"{option} {value:g}: not a positive number", hint=f"such as {option} 10")
    options = Options(
        out=out,
        write=tuple(str(entry) for entry in write or ()),
        show=show,
        maps=maps,
        confidence=confidence,
        steady=steady,
        codec=str(codec),
        decoder=str(decoder),
        points=_read_points(points),
        fov_deg=fov,
        rate=Fraction(rate).limit_denominator(1001),
        batch=batch,
        threads=threads,
        parallel=parallel,
        segment=segment,
        fresh=fresh,
        live={"seconds": seconds, "latency_s": latency, "drop": str(drop), "stall_s": stall},
    )
    result = run_predict(subject, inputs, console, options)
    console.result(result, _text(result))
    if result["failed"]:
        raise typer.Exit(1)


def run_predict(subject: Path, words: list[str], console: Console, options: Options | None = None) -> dict[str, Any]:
    """Predict everything that the words name; the result as `--json` prints it.

    Raises:
        UsageError: Nothing to predict, or options that do not go together.
        DistillError: The student cannot be opened, the engine failed, or nothing can be written.
    """
    from distill.export.inference.photos import Done, predict_photos
    from distill.workflows.model import open_subject

    options = options or Options()
    photos, clips = sort_words(words)
    folder, video_out = find_places(options, photos, clips)
    refuse_overwriting(options, photos, clips, folder, video_out)
    done, started = Done(), time.perf_counter()
    # Engines whose idle threads spin would take the cores from decoder and encoder.
    with open_subject(subject, threads=_threads(options, photos, clips), spinning=not clips) as runner:
        only = _task_shown(options.show, runner)
        if photos and folder is not None:
            with console.progress("photos", len(photos)) as progress:
                items = [(entry.key, entry.name, entry.path) for entry in photos]
                choices: dict[str, Any] = {"confidence": options.confidence, "batch": options.batch}
                predict_photos(runner, items, folder, done, progress.advance, only=only, **choices)
        predict_clips(runner, clips, options, to_wishes(options, only, subject), folder, video_out, done, console)
        result = _result(subject, runner, done, folder or video_out or options.maps, time.perf_counter() - started)
        index_folder = (folder if photos or clips else None) or options.maps
        _write_index(result, runner, index_folder)
    return result


def _threads(options: Options, photos: Sequence[Input], clips: Sequence[Clip]) -> int | None:
    """Of one call of the engine: few for videos, whose batches are worked on side by side."""
    from distill.export.inference.pipeline import engine_threads
    from distill.export.runners import num_cores

    if options.threads is not None or photos or not clips:
        return options.threads
    return engine_threads(num_cores())


def _task_shown(show: str, runner: Runner) -> Task | None:
    if show == "all":
        return None
    if show not in runner.spec.tasks:
        raise UsageError(
            f"--show {show}: {runner.name} does not answer that", hint=f"choose all, {', '.join(runner.spec.tasks)}"
        )
    return Task(show)


def _read_points(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise UsageError(f"--points {text}: not frame numbers", hint="such as --points 0,100,200") from error


def _result(subject: Path, runner: Runner, done: Done, out: Path | None, seconds: float) -> dict[str, Any]:
    frames = sum(row.get("frames", 1) for row in done.rows)
    return {
        "subject": str(subject),
        "engine": runner.engine,
        "threads": runner.threads,
        "out": str(out),
        "pictures": frames,
        "seconds": round(seconds, 3),
        "pictures_per_s": round(frames / seconds, 2),
        "stage_seconds": {name: round(value, 3) for name, value in done.watch.seconds.items()},
        "bottleneck": done.watch.bottleneck,
        "busy_cores": round(done.watch.busy_cores(), 2),
        "results": done.rows,
        "failed": done.failed,
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


def _text(result: dict[str, Any]) -> str:
    videos = [row for row in result["results"] if "frames" in row]
    photos = len(result["results"]) - len(videos)
    counts = [f"{photos} photos"] * bool(photos) + [f"{row['name']}: {row['frames']} frames" for row in videos]
    lines = ["nothing could be predicted"]
    if counts:
        lines[0] = (
            f"{', '.join(counts)} to {result['out']} in {result['seconds']:.1f} s"
            f" ({result['pictures_per_s']:.1f}/s with {result['engine']}; slowest stage: {result['bottleneck']})"
        )
    if result["failed"]:
        lines.append(f"{len(result['failed'])} inputs failed:")
        lines += [f"  {entry['name']}: {entry['reason']}" for entry in result["failed"][:_SHOWN]]
        more = len(result["failed"]) - _SHOWN
        lines += [f"  and {more} more"] if more > 0 else []
    return "\n".join(lines)
