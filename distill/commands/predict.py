"""`distill predict`: run a student over images, videos, numbered images and cameras."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distill.console import Console
from distill.errors import UsageError
from distill.workflows.predict import run as workflow
from distill.workflows.predict.options import Codec, DecoderChoice, DropPolicy, Write

_OUTPUT, _VIDEO, _CAMERA, _SPEED = "Output", "Videos", "Cameras", "Speed"


def predict(
    model: Annotated[Path, typer.Argument(help="A run folder, or a file that distill export wrote.")],
    inputs: Annotated[
        list[str],
        typer.Argument(help="Images, videos, folders, globs, frames/%06d.png, rtsp:// addresses, /dev/video0."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=_OUTPUT, help="A folder, or for one video the overlay video. [default: predictions]"
        ),
    ] = None,
    write: Annotated[
        list[Write] | None,
        typer.Option(rich_help_panel=_OUTPUT, help="Files for a video; can be given several times. [default: overlay]"),
    ] = None,
    show: Annotated[
        str,
        typer.Option(
            rich_help_panel=_OUTPUT, help="all: image and one panel per task; or a single task, drawn over the image."
        ),
    ] = "all",
    maps: Annotated[
        Path | None,
        typer.Option(rich_help_panel=_OUTPUT, help="Folder for the lossless maps (PNG) of every frame."),
    ] = None,
    confidence: Annotated[
        bool, typer.Option("--confidence", rich_help_panel=_OUTPUT, help="Write confidence maps (PNG) as well.")
    ] = False,
    points: Annotated[
        str, typer.Option(rich_help_panel=_OUTPUT, help="Frames for --write points, such as 0,100,200.")
    ] = "",
    fov: Annotated[
        float | None,
        typer.Option(rich_help_panel=_OUTPUT, help="Horizontal field of view in degrees, for --write points."),
    ] = None,
    temporal_smoothing: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, rich_help_panel=_VIDEO, help="Strength of the temporal filter, 0 (off) to 1."),
    ] = 0.0,
    codec: Annotated[Codec, typer.Option(rich_help_panel=_VIDEO, help="Codec of overlay videos.")] = Codec.H264,
    decoder: Annotated[
        DecoderChoice,
        typer.Option(
            rich_help_panel=_VIDEO,
            help="FFmpeg on all cores (threads) or on one (single), or NVIDIA's; auto tries them on the first frames.",
        ),
    ] = DecoderChoice.AUTO,
    rate: Annotated[
        float,
        typer.Option(rich_help_panel=_VIDEO, help="Frame rate of numbered images, and of raw videos that state none."),
    ] = 25.0,
    checkpoint_every: Annotated[
        int,
        typer.Option(
            min=1, rich_help_panel=_VIDEO, help="Frames between two points from which an interrupted job can continue."
        ),
    ] = 240,
    no_resume: Annotated[
        bool,
        typer.Option("--no-resume", rich_help_panel=_VIDEO, help="Discard the result of an earlier, interrupted run."),
    ] = False,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1, rich_help_panel=_SPEED, help="Images per call; measured, or chosen by their size, unless given."
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, rich_help_panel=_SPEED, help="Threads of one call; chosen for all cores unless given."),
    ] = None,
    parallel: Annotated[
        int, typer.Option(min=1, rich_help_panel=_SPEED, help="Videos at once; cameras always run at the same time.")
    ] = 1,
    seconds: Annotated[
        float | None, typer.Option(rich_help_panel=_CAMERA, help="Stop a camera after this time.")
    ] = None,
    latency: Annotated[
        float, typer.Option(rich_help_panel=_CAMERA, help="Drop a frame that waited longer than this, in seconds.")
    ] = 0.5,
    drop_frames: Annotated[
        DropPolicy, typer.Option(rich_help_panel=_CAMERA, help="Drop late frames, or never.")
    ] = DropPolicy.LATE,
    camera_timeout: Annotated[
        float,
        typer.Option(
            "--camera-timeout",
            "--stall",
            rich_help_panel=_CAMERA,
            help="Seconds without a frame after which a camera counts as disconnected.",
        ),
    ] = 10.0,
    allow_native: Annotated[
        bool,
        typer.Option(
            "--allow-native", help="Open a model file with machine code (.pt2, .engine), which runs with your rights."
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", rich_help_panel=_OUTPUT, help="Print the result as one JSON object.")
    ] = False,
) -> None:
    """Run a student over images, videos and cameras, and write maps and overlays.

    An image gives KEY.depth.png (16 bit), KEY.normals.png, KEY.semantic.png and KEY.overlay.jpg; predictions.json
    describes how to read them. A video gives an overlay video with its frame times and its sound; --write adds lossless
    maps (maps: PNG, ffv1: one video per task), COCO masks, statistics (JSON lines or parquet) and point clouds. Colors
    have fixed ranges. An input that cannot be read is listed, the others continue, and the exit code is 1. An
    interrupted video continues when the same command is run again. Ctrl-C ends a camera.

    Examples:
        distill predict depth.onnx photos/ --out predictions

        distill predict runs/nano clip.mp4 --out overlay.mp4 --maps maps --temporal-smoothing 0.5

        distill predict depth.onnx clips/ --out results --write overlay --write ffv1 --write statistics

        distill predict depth.onnx rtsp://camera/stream --out camera.mp4 --seconds 60
    """
    console = Console(as_json=as_json)
    result = workflow.predict(
        model,
        inputs,
        out=out,
        write=write or (),
        show=show,
        maps=maps,
        confidence=confidence,
        temporal_smoothing=temporal_smoothing,
        codec=codec,
        decoder=decoder,
        points=_read_points(points),
        fov=fov,
        rate=rate,
        batch=batch,
        threads=threads,
        parallel=parallel,
        checkpoint_every=checkpoint_every,
        no_resume=no_resume,
        seconds=seconds,
        latency=latency,
        drop_frames=drop_frames,
        camera_timeout=camera_timeout,
        allow_native=allow_native,
        reporter=console,
    )
    console.result(result)
    if result.failed:
        raise typer.Exit(1)


def _read_points(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise UsageError(f"--points {text}: not frame numbers", hint="such as --points 0,100,200") from error
