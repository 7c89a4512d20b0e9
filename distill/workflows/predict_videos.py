"""What `distill predict` was given: photos apart from videos, where results go, and each video through the student."""

from __future__ import annotations

import contextlib
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.console import Console
from distill.errors import DistillError, UsageError
from distill.tasks import Task
from distill.workflows.model import subject_digest

if TYPE_CHECKING:
    from distill.export.inference.photos import Done
    from distill.export.inference.videos import Places, VideoWishes
    from distill.export.runners import Runner
    from distill.inputs import Input
    from distill.video import Source

_DEFAULT_OUT = Path("predictions")


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
    decoder: str = "auto"
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
class Clip:
    """A video to be read.

    Attributes:
        word: What names it.
        name: As a person would say it.
        key: Names its results.
    """

    word: str
    name: str
    key: str


def sort_words(words: Sequence[str]) -> tuple[list[Input], list[Clip]]:
    """(photos, videos), each with a key that no other has."""
    from distill.inputs import find_inputs, unique_keys
    from distill.video import is_live, is_sequence
    from distill.video.camera import public_name

    others = [word for word in words if is_live(word) or (is_sequence(word) and not Path(word).exists())]
    files = [word for word in words if word not in others]
    found = find_inputs(files) if files else []
    names = [public_name(word).replace("://", "/").replace("%", "") for word in others]
    keys = unique_keys([*(entry.name for entry in found), *names])[len(found) :]
    clips = [Clip(str(entry.path), entry.name, entry.key) for entry in found if entry.video]
    clips += [Clip(word, public_name(word), key) for word, key in zip(others, keys, strict=True)]
    return [entry for entry in found if not entry.video], clips


def find_places(options: Options, photos: Sequence[Input], clips: Sequence[Clip]) -> tuple[Path | None, Path | None]:
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


def refuse_overwriting(
    options: Options,
    photos: Sequence[Input],
    clips: Sequence[Clip],
    folder: Path | None,
    video_out: Path | None,
) -> None:
    """Raise before anything is written, if a result would take the place of an input.

    Raises:
        UsageError: It would.
    """
    inputs = [entry.path for entry in photos] + [Path(clip.word) for clip in clips]
    for clip in clips:
        target = _clip_places(clip, options, folder, video_out, len(clips)).overlay
        if target.exists() and any(path.exists() and target.samefile(path) for path in inputs):
            raise UsageError(f"{target}: would overwrite an input", hint="give another --out")


def _clip_places(clip: Clip, options: Options, folder: Path | None, video_out: Path | None, num_clips: int) -> Places:
    from distill.export.inference.videos import Places

    if video_out is not None:
        stem, overlay = video_out.with_suffix(""), video_out
    else:
        own = folder or (options.maps if num_clips == 1 else (options.maps or Path()) / clip.key) or Path()
        stem = own / clip.key
        overlay = stem.with_name(f"{clip.key}.mp4")
    maps = options.maps if options.maps is not None else stem.with_name(f"{stem.name}.maps")
    return Places(stem, overlay, maps if options.maps is None or num_clips == 1 else maps / clip.key)


def to_wishes(options: Options, only: Task | None, subject: Path) -> VideoWishes:
    """What is wanted of each video; `only` as in `VideoWishes`."""
    from distill.export.inference.temporal_filter import Steadiness
    from distill.export.inference.videos import VideoWishes
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
        subject=subject_digest(subject),
    )


def predict_clips(
    runner: Runner,
    clips: Sequence[Clip],
    options: Options,
    wishes: VideoWishes,
    folder: Path | None,
    video_out: Path | None,
    done: Done,
    console: Console,
) -> None:
    """Every video through the student, cameras all at once; `done` takes rows and failures in the order of `clips`.

    Raises:
        DistillError: The disk is full or cannot be written, or the student cannot give what is wished.
    """
    from distill.video import is_live

    def one(clip: Clip) -> None:
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
    clip: Clip,
    places: Places,
    options: Options,
    wishes: VideoWishes,
    done: Done,
    console: Console,
) -> None:
    from distill.export.inference.videos import predict_video
    from distill.video import Decoder, is_live, open_source

    if options.fresh:
        shutil.rmtree(places.work, ignore_errors=True)
    live = (options.live or {}) if is_live(clip.word) else {}
    try:
        source = open_source(clip.word, rate=options.rate, decoder=Decoder(options.decoder), **live)
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
