"""`distill predict`: a student over photos, folders and videos."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distill.commands.console import Console
from distill.errors import UsageError
from distill.tasks import Task

if TYPE_CHECKING:
    from distill.commands.inputs import Input
    from distill.export.predicting import Done, Wishes
    from distill.export.runners import Runner

_SHOWN = 20
"""Failures named on the screen; predictions.json and --json name all."""
_DEFAULT_OUT = Path("predictions")


def predict(
    subject: Annotated[Path, typer.Argument(help="A run folder, or a file that distill export wrote.")],
    inputs: Annotated[list[str], typer.Argument(help="Photos, videos, folders, globs.")],
    out: Annotated[
        Path | None,
        typer.Option(help="A folder, or for one video the overlay video to write. [default: predictions]"),
    ] = None,
    show: Annotated[str, typer.Option(help="all: photo and a panel per task; or one task, over the photo.")] = "all",
    maps: Annotated[Path | None, typer.Option(help="Folder for the lossless maps of every frame of a video.")] = None,
    confidence: Annotated[bool, typer.Option("--confidence", help="Write confidence maps too.")] = False,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Pictures at once; chosen by their size unless given.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the engine; all cores unless given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Run the student, and write what it sees.

    A photo gives KEY.depth.png (16 bit), KEY.normals.png, KEY.semantic.png and KEY.overlay.jpg; predictions.json says
    how to read them. A video gives an overlay video with every frame at its own time and the sound; --maps adds the
    maps of every frame. Colours have fixed ranges. A bad input is listed, the others go on, and the exit code is 1.

    Examples:
        distill predict depth.onnx photos/ --out predictions

        distill predict runs/nano clip.mp4 --out overlay.mp4 --maps maps
    """
    console = Console(as_json=as_json)
    result = run_predict(
        subject,
        inputs,
        console,
        out=out,
        show=show,
        maps=maps,
        confidence=confidence,
        batch=batch,
        threads=threads,
    )
    console.result(result, _text(result))
    if result["failed"]:
        raise typer.Exit(1)


def run_predict(
    subject: Path,
    words: list[str],
    console: Console,
    *,
    out: Path | None = None,
    show: str = "all",
    maps: Path | None = None,
    confidence: bool = False,
    batch: int | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Predict everything that the words name; the result as `--json` prints it.

    Raises:
        UsageError: Nothing to predict, or options that do not go together.
        DistillError: The student cannot be opened, the engine failed, or nothing can be written.
    """
    from distill.commands.inputs import find_inputs
    from distill.commands.subject import open_subject
    from distill.export.predicting import Done, Wishes

    found = find_inputs(words)
    videos, photos = [entry for entry in found if entry.video], [entry for entry in found if not entry.video]
    folder, video_out = _places(out, maps, photos, videos)
    done, started = Done(), time.perf_counter()
    # Engines whose idle threads spin would take the cores from decoder and encoder.
    with open_subject(subject, threads=threads, spinning=not videos) as runner:
        wishes = Wishes(_task_shown(show, runner), confidence, batch)
        _predict_all(runner, photos, videos, folder, video_out, maps, wishes, done, console)
        result = _result(subject, runner, done, folder or video_out or maps, time.perf_counter() - started)
        _write_index(result, runner, (photos and folder) or maps)
    return result


def _places(
    out: Path | None, maps: Path | None, photos: list[Input], videos: list[Input]
) -> tuple[Path | None, Path | None]:
    """(folder, overlay video): where results go; no folder when only maps, or only one overlay video, are wanted."""
    from distill.images import SUFFIXES as PHOTO_SUFFIXES
    from distill.video import CONTAINERS
    from distill.video import SUFFIXES as VIDEO_SUFFIXES

    if out is None:
        return (None, None) if maps is not None and not photos else (_DEFAULT_OUT, None)
    if out.is_dir():
        return out, None
    if out.suffix.lower() in CONTAINERS:
        if photos or len(videos) != 1:
            raise UsageError(
                f"--out {out}: a video can be written for one video, not for {len(photos)} photos and"
                f" {len(videos)} videos",
                hint="give a folder as --out",
            )
        return None, out
    if out.is_file() or out.suffix.lower() in PHOTO_SUFFIXES | VIDEO_SUFFIXES:
        raise UsageError(
            f"--out {out}: not a folder, and not a video ({', '.join(CONTAINERS)})", hint="give a folder as --out"
        )
    return out, None


def _task_shown(show: str, runner: Runner) -> Task | None:
    if show == "all":
        return None
    if show not in runner.spec.tasks:
        raise UsageError(
            f"--show {show}: {runner.name} does not answer that", hint=f"choose all, {', '.join(runner.spec.tasks)}"
        )
    return Task(show)


def _predict_all(
    runner: Runner,
    photos: list[Input],
    videos: list[Input],
    folder: Path | None,
    video_out: Path | None,
    maps: Path | None,
    wishes: Wishes,
    done: Done,
    console: Console,
) -> None:
    from distill.export.predicting import predict_photos, predict_video

    targets = [video_out or (folder / f"{entry.key}.mp4" if folder else None) for entry in videos]
    for target in targets:
        if target is not None and target.exists() and any(target.samefile(entry.path) for entry in [*photos, *videos]):
            raise UsageError(f"{target}: would overwrite an input", hint="give another --out")
    if photos and folder is not None:
        with console.progress("photos", len(photos)) as progress:
            items = [(entry.key, entry.name, entry.path) for entry in photos]
            predict_photos(runner, items, folder, wishes, done, progress.advance)
    for entry, target in zip(videos, targets, strict=True):
        own = maps if maps is None or len(videos) == 1 else maps / entry.key
        with console.progress(entry.name, _num_frames(entry.path)) as progress:
            predict_video(runner, entry.name, entry.path, target, own, wishes, done, progress.advance)


def _num_frames(path: Path) -> int | None:
    from distill.errors import DistillError
    from distill.video import VideoReader

    try:
        return VideoReader(path).num_frames
    except DistillError:  # said when the video's turn comes
        return None


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
        "results": done.rows,
        "failed": done.failed,
    }


def _write_index(result: dict[str, Any], runner: Runner, folder: Path | None) -> None:
    """``predictions.json``: how to read the maps, and which file belongs to which input."""
    from distill.export.maps import describe_maps
    from distill.images import write_atomic
    from distill.rundir import versions

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
