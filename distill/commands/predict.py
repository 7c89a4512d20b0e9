"""`distill predict`: a student over photos, folders, videos, numbered pictures and cameras."""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distill.commands.console import Console
from distill.errors import DistillError, UsageError
from distill.tasks import Task

if TYPE_CHECKING:
    from distill.commands.inputs import Input
    from distill.export.predicting import Done
    from distill.export.runners import Runner
    from distill.export.videos import Places, VideoWishes
    from distill.video import Source

_SHOWN = 20
"""Failures named on the screen; predictions.json and --json name all."""
_DEFAULT_OUT = Path("predictions")


class Write(StrEnum):
    """What is written of a video."""

    OVERLAY = "overlay"
    MAPS = "maps"
    FFV1 = "ffv1"
    ZARR = "zarr"
    MASKS = "masks"
    STATISTICS = "statistics"
    PARQUET = "parquet"
    POINTS = "points"


class Codec(StrEnum):
    """Of the overlay video."""

    H264 = "h264"
    HEVC = "hevc"
    AV1 = "av1"


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
    lossless maps (maps: PNG, ffv1: one video per task, zarr), COCO masks, statistics (JSON lines or parquet) and point
    clouds. Colours have fixed ranges. A bad input is listed, the others go on, and the exit code is 1. A video that was
    interrupted goes on where it was when the same command is run again. Ctrl-C ends a camera.

    Examples:
        distill predict depth.onnx photos/ --out predictions

        distill predict runs/nano clip.mp4 --out overlay.mp4 --maps maps --steady 0.5

        distill predict depth.onnx clips/ --out results --write overlay --write ffv1 --write statistics

        distill predict depth.onnx rtsp://camera/stream --out camera.mp4 --seconds 60
    """
    console = Console(as_json=as_json)
    options = Options(
        out=out,
        write=tuple(str(entry) for entry in write or ()),
        show=show,
        maps=maps,
        confidence=confidence,
        steady=steady,
        codec=str(codec),
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


@dataclass(frozen=True)
class Options:
    """Everything that can be wished; `predict --help` says what each means."""

    out: Path | None = None
    write: tuple[str, ...] = ()
    show: str = "all"
    maps: Path | None = None
    confidence: bool = False
    steady: float = 0.0
    codec: str = "h264"
    points: tuple[int, ...] = ()
    fov_deg: float | None = None
    rate: Fraction = Fraction(25)
    batch: int | None = None
    threads: int | None = None
    parallel: int = 1
    segment: int = 240
    fresh: bool = False
    live: dict[str, Any] | None = None


@dataclass(frozen=True)
class _Clip:
    """A video to be read.

    Attributes:
        word: What names it.
        name: As a person would say it.
        key: Names its results.
    """

    word: str
    name: str
    key: str


def run_predict(subject: Path, words: list[str], console: Console, options: Options | None = None) -> dict[str, Any]:
    """Predict everything that the words name; the result as `--json` prints it.

    Raises:
        UsageError: Nothing to predict, or options that do not go together.
        DistillError: The student cannot be opened, the engine failed, or nothing can be written.
    """
    from distill.commands.subject import open_subject
    from distill.export.predicting import Done, predict_photos

    options = options or Options()
    photos, clips = _sort_words(words)
    folder, video_out = _places(options, photos, clips)
    _refuse_overwriting(options, photos, clips, folder, video_out)
    done, started = Done(), time.perf_counter()
    # Engines whose idle threads spin would take the cores from decoder and encoder.
    with open_subject(subject, threads=_threads(options, photos, clips), spinning=not clips) as runner:
        only = _task_shown(options.show, runner)
        if photos and folder is not None:
            with console.progress("photos", len(photos)) as progress:
                items = [(entry.key, entry.name, entry.path) for entry in photos]
                choices: dict[str, Any] = {"confidence": options.confidence, "batch": options.batch}
                predict_photos(runner, items, folder, done, progress.advance, only=only, **choices)
        _predict_clips(runner, clips, options, _wishes(options, only, subject), folder, video_out, done, console)
        result = _result(subject, runner, done, folder or video_out or options.maps, time.perf_counter() - started)
        index_folder = (folder if photos or clips else None) or options.maps
        _write_index(result, runner, index_folder)
    return result


def _threads(options: Options, photos: Sequence[Input], clips: Sequence[_Clip]) -> int | None:
    """Of one call of the engine: few for videos, whose batches are worked on side by side."""
    from distill.export.pipeline import engine_threads
    from distill.export.runners import num_cores

    if options.threads is not None or photos or not clips:
        return options.threads
    return engine_threads(num_cores())


def _sort_words(words: Sequence[str]) -> tuple[list[Input], list[_Clip]]:
    """(photos, videos), each with a key that no other has."""
    from distill.commands.inputs import find_inputs
    from distill.teachers.keys import unique_keys
    from distill.video import is_live, is_sequence
    from distill.video.live import public_name

    others = [word for word in words if is_live(word) or (is_sequence(word) and not Path(word).exists())]
    files = [word for word in words if word not in others]
    found = find_inputs(files) if files else []
    names = [public_name(word).replace("://", "/").replace("%", "") for word in others]
    keys = unique_keys([*(entry.name for entry in found), *names])[len(found) :]
    clips = [_Clip(str(entry.path), entry.name, entry.key) for entry in found if entry.video]
    clips += [_Clip(word, public_name(word), key) for word, key in zip(others, keys, strict=True)]
    return [entry for entry in found if not entry.video], clips


def _places(options: Options, photos: Sequence[Input], clips: Sequence[_Clip]) -> tuple[Path | None, Path | None]:
    """(folder, overlay video): where results go; no folder when only maps, or only one overlay video, are wanted."""
    from distill.images import SUFFIXES as PHOTO_SUFFIXES
    from distill.video import CONTAINERS
    from distill.video import SUFFIXES as VIDEO_SUFFIXES

    out = options.out
    if out is None:
        only_maps = options.maps is not None and not photos and set(options.write) <= {"maps"}
        return (None, None) if only_maps else (_DEFAULT_OUT, None)
    if out.is_dir():
        return out, None
    if out.suffix.lower() in CONTAINERS:
        if photos or len(clips) != 1:
            raise UsageError(
                f"--out {out}: a video can be written for one video, not for {len(photos)} photos and"
                f" {len(clips)} videos",
                hint="give a folder as --out",
            )
        return None, out
    if out.is_file() or out.suffix.lower() in PHOTO_SUFFIXES | VIDEO_SUFFIXES:
        raise UsageError(
            f"--out {out}: not a folder, and not a video ({', '.join(CONTAINERS)})", hint="give a folder as --out"
        )
    return out, None


def _refuse_overwriting(
    options: Options,
    photos: Sequence[Input],
    clips: Sequence[_Clip],
    folder: Path | None,
    video_out: Path | None,
) -> None:
    inputs = [entry.path for entry in photos] + [Path(clip.word) for clip in clips]
    for clip in clips:
        target = _clip_places(clip, options, folder, video_out, len(clips)).overlay
        if target.exists() and any(path.exists() and target.samefile(path) for path in inputs):
            raise UsageError(f"{target}: would overwrite an input", hint="give another --out")


def _clip_places(clip: _Clip, options: Options, folder: Path | None, video_out: Path | None, num_clips: int) -> Places:
    from distill.export.videos import Places

    if video_out is not None:
        stem, overlay = video_out.with_suffix(""), video_out
    else:
        own = folder or (options.maps if num_clips == 1 else (options.maps or Path()) / clip.key) or Path()
        stem = own / clip.key
        overlay = stem.with_name(f"{clip.key}.mp4")
    maps = options.maps if options.maps is not None else stem.with_name(f"{stem.name}.maps")
    return Places(stem, overlay, maps if options.maps is None or num_clips == 1 else maps / clip.key)


def _wishes(options: Options, only: Task | None, subject: Path) -> VideoWishes:
    from distill.export.stabiliser import Steadiness
    from distill.export.videos import VideoWishes
    from distill.video import VideoCodec

    write = set(options.write) or ({"overlay"} if options.out is not None or options.maps is None else set())
    return VideoWishes(
        write=frozenset(write | ({"maps"} if options.maps is not None else set())),
        only=only,
        confidence=options.confidence,
        batch=options.batch,
        steadiness=Steadiness(options.steady) if options.steady else None,
        codec=VideoCodec(options.codec),
        points=options.points,
        fov_deg=options.fov_deg,
        segment=options.segment,
        subject=_digest(subject),
    )


def _digest(subject: Path) -> str:
    """Changes when the student does: the file's bytes, or sizes and times of a run's weights."""
    if subject.is_file():
        return hashlib.sha256(subject.read_bytes()).hexdigest()
    files = sorted(file for file in subject.rglob("*") if file.suffix in (".safetensors", ".ckpt", ".json"))
    listed = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(listed).encode()).hexdigest()


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


def _predict_clips(
    runner: Runner,
    clips: Sequence[_Clip],
    options: Options,
    wishes: VideoWishes,
    folder: Path | None,
    video_out: Path | None,
    done: Done,
    console: Console,
) -> None:
    from distill.video import is_live

    def one(clip: _Clip) -> None:
        places = _clip_places(clip, options, folder, video_out, len(clips))
        _predict_clip(runner, clip, places, options, wishes, done, console)

    workers = max(options.parallel, sum(is_live(clip.word) for clip in clips))
    if workers == 1:
        for clip in clips:
            one(clip)
        return
    with ThreadPoolExecutor(workers) as pool:
        for future in [pool.submit(one, clip) for clip in clips]:
            future.result()
    order = {clip.name: number for number, clip in enumerate(clips)}
    done.rows.sort(key=lambda row: order.get(row["name"], -1))


def _predict_clip(
    runner: Runner,
    clip: _Clip,
    places: Places,
    options: Options,
    wishes: VideoWishes,
    done: Done,
    console: Console,
) -> None:
    import shutil

    from distill.export.videos import predict_video
    from distill.video import is_live, open_source

    if options.fresh:
        shutil.rmtree(places.work, ignore_errors=True)
    live = (options.live or {}) if is_live(clip.word) else {}
    try:
        source = open_source(clip.word, rate=options.rate, **live)
    except UsageError:
        raise
    except DistillError as error:
        done.fail(clip.name, clip.word, error)
        return
    for note in source.notes:
        console.say(f"{clip.name}: {note}")
    with console.progress(clip.name, source.num_frames) as progress, _ctrl_c_ends(source):
        predict_video(runner, clip.name, source, places, wishes, done, progress.advance)


@contextlib.contextmanager
def _ctrl_c_ends(source: Source) -> Iterator[None]:
    """Ctrl-C is how a camera is meant to end: what came is finished and kept. A second one interrupts."""
    from distill.video import LiveReader

    if not isinstance(source, LiveReader) or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def end(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, before)
        source.stop()

    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


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
