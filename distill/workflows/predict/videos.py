"""Prediction of videos: separate images from videos, resolve output paths, run each video through the student."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from distill.errors import DistillError, UsageError, describe_error
from distill.runtime.progress import Reporter
from distill.tasks import Task
from distill.workflows.open_model import model_digest
from distill.workflows.predict.options import DecoderChoice, PredictOptions, Write

if TYPE_CHECKING:
    from distill.export.inference.photos import PredictionSummary
    from distill.export.inference.video_options import OutputPaths, VideoOptions
    from distill.export.runners import Runner
    from distill.inputs import FileInput
    from distill.video import FrameSource

_DEFAULT_OUT = Path("predictions")
_SHOWN_KINDS = 6
_OTHER_CONTAINERS = frozenset(
    {".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".wmv", ".flv", ".3gp", ".ogv", ".vob"}
)
"""Suffixes of an --out that is meant as a video, in a container that is not written."""


@dataclass(frozen=True)
class VideoInput:
    """A video, image sequence or camera to be read.

    Attributes:
        source: Path, pattern or address.
        name: Name in messages, without credentials.
        key: Stem of its result files.
    """

    source: str
    name: str
    key: str


@dataclass(frozen=True)
class SplitInputs:
    """Inputs of a prediction, with unique keys.

    Attributes:
        photos: Images.
        videos: Videos, image sequences and cameras.
        left_out: Names of the files in folders that are neither.
    """

    photos: list[FileInput]
    videos: list[VideoInput]
    left_out: list[str]


def split_inputs(inputs: Sequence[str]) -> SplitInputs:
    """Separate images from videos.

    Raises:
        UsageError: An input does not exist, or an address that cannot be read.
    """
    from distill.inputs import FoundInputs, find_inputs, unique_keys
    from distill.video import check_address, is_live, is_sequence, safe_address

    for source in inputs:
        if not _exists(source):
            check_address(source)
    others = [source for source in inputs if not _exists(source) and (is_live(source) or is_sequence(source))]
    files = [source for source in inputs if source not in others]
    found = find_inputs(files) if files else FoundInputs([], [])
    names = _numbered([safe_address(source) for source in others])
    stems = [name.replace("://", "/").replace("/...", "").replace("%", "") for name in names]
    keys = unique_keys([*(entry.name for entry in found.files), *stems])[len(found.files) :]
    videos = [VideoInput(str(entry.path), entry.name, entry.key) for entry in found.files if entry.video]
    videos += [VideoInput(*entry) for entry in zip(others, names, keys, strict=True)]
    return SplitInputs([entry for entry in found.files if not entry.video], videos, found.left_out)


def _exists(source: str) -> bool:
    """Whether an input is a file or folder; devices such as ``/dev/video0`` are not."""
    try:
        path = Path(source)
        return path.is_file() or path.is_dir()
    except (OSError, ValueError):  # too long, or with a NUL
        return False


def _numbered(names: Sequence[str]) -> list[str]:
    """Names with a number where they are equal: two paths of one host are shown alike."""
    counts = dict.fromkeys(names, 0)
    numbered = []
    for name in names:
        counts[name] += 1
        numbered.append(name if names.count(name) == 1 else f"{name} ({counts[name]})")
    return numbered


def describe_left_out(names: Sequence[str]) -> str:
    """Sentence about files that are neither photos nor videos."""
    counts = Counter(PurePath(name).suffix.lower() or "without a suffix" for name in names)
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.most_common(_SHOWN_KINDS))
    more = ", ..." if len(counts) > _SHOWN_KINDS else ""
    return f"{len(names)} other files in the folders were left out: neither photos nor videos ({kinds}{more})"


def resolve_outputs(
    options: PredictOptions, photos: Sequence[FileInput], videos: Sequence[VideoInput]
) -> tuple[Path | None, Path | None]:
    """Return (folder, overlay video) for the results; no folder if only maps or one overlay video are written."""
    from distill.images import SUFFIXES as PHOTO_SUFFIXES
    from distill.video import CONTAINERS

    out = options.out
    if out is None:
        only_maps = options.maps is not None and not photos and set(options.write) <= {Write.MAPS}
        return (None, None) if only_maps else (_DEFAULT_OUT, None)
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
    if out.is_file() or out.suffix.lower() in PHOTO_SUFFIXES | _OTHER_CONTAINERS:
        raise UsageError(
            f"--out {out}: not a folder, and not a video ({', '.join(CONTAINERS)})", hint="give a folder as --out"
        )
    return out, None


def check_no_overwrite(
    options: PredictOptions,
    photos: Sequence[FileInput],
    videos: Sequence[VideoInput],
    folder: Path | None,
    video_out: Path | None,
) -> None:
    """Check, before any file is written, that no result would overwrite an input.

    Raises:
        UsageError: A result would.
    """
    inputs = [entry.path for entry in photos] + [Path(video.source) for video in videos if _exists(video.source)]
    for video in videos:
        target = _output_paths_of(video, options, folder, video_out, len(videos)).overlay
        if target.exists() and any(path.exists() and target.samefile(path) for path in inputs):
            raise UsageError(f"{target}: would overwrite an input", hint="give another --out")
    if folder is not None and folder.is_dir():
        given = {path.resolve() for path in inputs}
        written = (path for entry in photos for path in _photo_files(folder.resolve(), entry))
        replaced = next((path for path in written if path in given), None)
        if replaced is not None:
            raise UsageError(f"{replaced}: would overwrite an input", hint="give another --out")


def _photo_files(folder: Path, photo: FileInput) -> list[Path]:
    """All files that may be written for a photo."""
    kinds = ["overlay.jpg", *(f"{task}{which}.png" for task in Task for which in ("", ".confidence"))]
    return [folder / f"{photo.key}.{kind}" for kind in kinds]


def _output_paths_of(
    video: VideoInput, options: PredictOptions, folder: Path | None, video_out: Path | None, num_videos: int
) -> OutputPaths:
    from distill.export.inference.video_options import OutputPaths

    if video_out is not None:
        stem, overlay = video_out.with_suffix(""), video_out
    else:
        own = folder or (options.maps if num_videos == 1 else (options.maps or Path()) / video.key) or Path()
        stem = own / video.key
        overlay = stem.with_name(f"{video.key}.mp4")
    maps = options.maps if options.maps is not None else stem.with_name(f"{stem.name}.maps")
    return OutputPaths(stem, overlay, maps if options.maps is None or num_videos == 1 else maps / video.key)


def to_video_options(options: PredictOptions, only: Task | None, model: Path) -> VideoOptions:
    """Options of each video; `only` as in `VideoOptions`."""
    from distill.export.inference.temporal_filter import TemporalFilterConfig
    from distill.export.inference.video_options import VideoOptions
    from distill.video import VideoCodec

    default = {Write.OVERLAY} if options.out is not None or options.maps is None else set[Write]()
    write = (set(options.write) or default) | ({Write.MAPS} if options.maps is not None else set())
    return VideoOptions(
        write=frozenset(str(name) for name in write),
        only=only,
        confidence=options.confidence,
        batch=options.batch,
        temporal_filter=TemporalFilterConfig(options.temporal_smoothing) if options.temporal_smoothing else None,
        codec=VideoCodec(str(options.codec)),
        points=options.points,
        fov_deg=options.fov_deg,
        checkpoint_every=options.checkpoint_every,
        model_digest=model_digest(model),
    )


def predict_videos(
    runner: Runner,
    videos: Sequence[VideoInput],
    options: PredictOptions,
    video_options: VideoOptions,
    folder: Path | None,
    video_out: Path | None,
    summary: PredictionSummary,
    reporter: Reporter,
) -> None:
    """Run every video through the student, cameras at the same time; adds to `summary` in the order of `videos`.

    Raises:
        DistillError: The disk is full or cannot be written, or the student does not predict a requested output.
    """
    from distill.video import is_live

    def one(video: VideoInput) -> None:
        output_paths = _output_paths_of(video, options, folder, video_out, len(videos))
        _predict_one(runner, video, output_paths, options, video_options, summary, reporter)

    workers = max(options.parallel, sum(is_live(video.source) for video in videos))
    if workers == 1:
        for video in videos:
            one(video)
        return
    with ThreadPoolExecutor(workers) as pool:
        for future in [pool.submit(one, video) for video in videos]:
            future.result()
    order = {video.name: number for number, video in enumerate(videos)}
    summary.rows.sort(key=lambda row: order.get(row["name"], -1))


def _predict_one(
    runner: Runner,
    video: VideoInput,
    output_paths: OutputPaths,
    options: PredictOptions,
    video_options: VideoOptions,
    summary: PredictionSummary,
    reporter: Reporter,
) -> None:
    from distill.export.inference.videos import predict_video
    from distill.video import Decoder, is_live, open_video

    if options.no_resume:
        shutil.rmtree(output_paths.work, ignore_errors=True)
    camera = {**asdict(options.camera), "drop_policy": str(options.camera.drop_policy)}
    live = camera if is_live(video.source) else {}
    try:
        source = open_video(video.source, rate=options.frame_rate, decoder=Decoder(str(options.decoder)), **live)
    except DistillError as error:
        # Wrong options of the command, such as a decoder that is missing, concern every video.
        if isinstance(error, UsageError) and options.decoder is DecoderChoice.NVDEC:
            raise
        summary.add_failure(video.name, video.source, error)
        return
    for note in source.notes:
        reporter.info(f"{video.name}: {note}")
    try:
        with reporter.progress(video.name, source.num_frames) as progress, _stop_on_interrupt(source):
            predict_video(runner, video.name, source, output_paths, video_options, summary, progress.advance)
    except DistillError:
        raise
    except Exception as error:  # whatever is special in this video must not stop the others
        if os.environ.get("DISTILL_DEBUG"):
            raise
        failure = DistillError(f"unexpected {describe_error(error)}", hint="set DISTILL_DEBUG=1 to see the traceback")
        summary.add_failure(video.name, video.source, failure)


@contextlib.contextmanager
def _stop_on_interrupt(source: FrameSource) -> Iterator[None]:
    """Let Ctrl-C end a camera: received frames are finished and kept. A second one interrupts."""
    from distill.video import CameraReader

    if not isinstance(source, CameraReader) or threading.current_thread() is not threading.main_thread():
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
