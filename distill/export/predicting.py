"""Photos and videos through a runner into files: lossless maps, overlays, overlay videos; a bad input stops nothing."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from numpy import ndarray

from distill.errors import DistillError
from distill.export.maps import encode_outputs
from distill.export.panels import Panels
from distill.export.pipeline import QUEUE, Picture, Stopwatch, ahead, infer
from distill.export.runners import Outputs, Runner
from distill.images import decode_rgb, encode_jpeg
from distill.tasks import Task
from distill.video import VideoReader, VideoWriter

Pair = tuple[Picture, Outputs]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is wanted of each picture.

    Attributes:
        only: One task laid over the photo; None: the photo with a panel per task beside it.
        confidence: Write the confidence maps too.
        batch: Pictures at once; None chooses by their size.
    """

    only: Task | None = None
    confidence: bool = False
    batch: int | None = None


@dataclass
class Done:
    """What came of the inputs.

    Attributes:
        rows: One dictionary per photo or video: name, files, size, frames.
        failed: One per bad input: name, reason.
        watch: Seconds at work, by stage.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    watch: Stopwatch = field(default_factory=Stopwatch)

    def fail(self, name: str, path: Path, error: Exception) -> None:
        """Note a bad input; a reason need not repeat its name."""
        text = error.message if isinstance(error, DistillError) else str(error)
        hint = error.hint if isinstance(error, DistillError) else ""
        reason = text.removeprefix(f"{path}: ").removeprefix(f"{name}: ")
        self.failed.append({"name": name, "reason": reason, "hint": hint})


def predict_photos(
    runner: Runner,
    photos: Sequence[tuple[str, str, Path]],
    folder: Path,
    wishes: Wishes,
    done: Done,
    advance: Callable[[], None],
) -> None:
    """Write ``<key>.<task>.png`` and ``<key>.overlay.jpg`` for each photo (key, name, path).

    Raises:
        DistillError: The engine failed, or the folder cannot be written.
    """
    make_folder(folder)
    pictures = ahead(done.watch.items("read", _read_photos(photos, done, advance)))
    pairs = ahead(infer(runner, pictures, batch=wishes.batch, watch=done.watch))
    for picture, outputs in pairs:
        with done.watch.stage("maps"):
            files = encode_outputs(outputs, runner.spec, confidence=wishes.confidence)
        with done.watch.stage("draw"):
            panels = Panels(runner.spec, (picture.rgb.shape[0], picture.rgb.shape[1]), wishes.only)
            files["overlay.jpg"] = encode_jpeg(panels.draw(picture.rgb, outputs), quality=92)
        _write_files(folder, picture.key, files)
        names = {extension: f"{picture.key}.{extension}" for extension in files}
        done.rows.append({"name": picture.source, "size_hw": list(picture.rgb.shape[:2]), "files": names})
        advance()


def _read_photos(photos: Sequence[tuple[str, str, Path]], done: Done, advance: Callable[[], None]) -> Iterator[Picture]:
    for key, name, path in photos:
        try:
            yield Picture(key, decode_rgb(path.read_bytes(), name)[0], source=name)
        except (DistillError, OSError) as error:
            done.fail(name, path, error)
            advance()


def predict_video(
    runner: Runner,
    name: str,
    path: Path,
    out: Path | None,
    maps: Path | None,
    wishes: Wishes,
    done: Done,
    advance: Callable[[], None],
) -> None:
    """Write an overlay video and/or ``<frame>.<task>.png`` for every frame; a damaged file gives what it holds.

    Raises:
        DistillError: The engine failed, or a file cannot be written.
    """
    try:
        reader = VideoReader(path)
    except DistillError as error:
        done.fail(name, path, error)
        return
    panels = Panels(runner.spec, reader.size_hw, wishes.only) if out is not None else None
    # Pictures alone need no more than the size of a panel; lossless maps have the size of the video.
    work_hw = panels.panel_hw if panels is not None and maps is None else reader.size_hw
    frames = ahead(done.watch.items("decode", _read_frames(reader, work_hw)))
    pairs: Generator[Pair, None, None] = ahead(infer(runner, frames, batch=wishes.batch, watch=done.watch))
    if maps is not None:
        make_folder(maps)
        pairs = ahead(_write_maps(pairs, runner, maps, wishes, done.watch))
    times_s: list[float] = []
    if panels is None or out is None:
        failure = _drain(pairs, times_s, advance)
    else:
        failure = _write_overlay(pairs, reader, panels, out, times_s, done, advance)
    if failure is not None:
        done.fail(name, path, failure)
    if times_s:
        row = {"name": name, "size_hw": list(reader.size_hw), "frames": len(times_s)}
        row |= {"video": str(out)} if out is not None else {}
        row |= {"maps": str(maps), "times_s": times_s} if maps is not None else {}
        done.rows.append(row)


def _read_frames(reader: VideoReader, size_hw: tuple[int, int]) -> Iterator[Picture]:
    for frame in reader.frames(size_hw=size_hw):
        yield Picture(f"{frame.index:06d}", frame.rgb, frame.pts, frame.pts_s)


def _write_maps(
    pairs: Iterable[Pair], runner: Runner, folder: Path, wishes: Wishes, watch: Stopwatch
) -> Iterator[Pair]:
    for picture, outputs in pairs:
        with watch.stage("maps"):
            _write_files(folder, picture.key, encode_outputs(outputs, runner.spec, confidence=wishes.confidence))
        yield picture, outputs


def _draw(pairs: Iterable[Pair], panels: Panels, watch: Stopwatch) -> Iterator[tuple[Picture, UInt8[ndarray, "h w 3"]]]:
    # A canvas comes round again when the encoder has long let go of it: it holds one, QUEUE more wait, one is drawn.
    ring = itertools.cycle([panels.blank() for _ in range(QUEUE + 3)])
    for picture, outputs in pairs:
        with watch.stage("draw"):
            canvas = panels.draw(picture.rgb, outputs, next(ring))
        yield picture, canvas


def _write_overlay(
    pairs: Iterable[Pair],
    reader: VideoReader,
    panels: Panels,
    out: Path,
    times_s: list[float],
    done: Done,
    advance: Callable[[], None],
) -> DistillError | None:
    """What ended the video early, if anything did; the frames before it are in the file."""
    failure = None
    drawn = ahead(_draw(pairs, panels, done.watch))
    with VideoWriter(
        out, panels.size_hw, time_base=reader.time_base, rate=reader.rate, sound_from=reader.path
    ) as writer:
        while True:
            try:
                picture, canvas = next(drawn)
            except StopIteration:
                break
            except DistillError as error:
                failure = error
                break
            with done.watch.stage("encode"):
                writer.write(canvas, picture.pts)
            times_s.append(picture.pts_s)
            advance()
        if not times_s and failure is not None:
            writer.abandon()
            raise failure
    return failure


def _drain(pairs: Iterable[Pair], times_s: list[float], advance: Callable[[], None]) -> DistillError | None:
    try:
        for picture, _ in pairs:
            times_s.append(picture.pts_s)
            advance()
    except DistillError as error:
        return error
    return None


def make_folder(folder: Path) -> None:
    """Make the folder if need be.

    Raises:
        DistillError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DistillError(
            f"{folder}: cannot be used as a folder: {error.strerror}", hint="choose another --out"
        ) from error


def _write_files(folder: Path, key: str, files: dict[str, bytes]) -> None:
    """Each file whole or not there; not synced one by one, since a prediction can be made again."""
    for extension, data in files.items():
        path = folder / f"{key}.{extension}"
        temporary = folder / f".{path.name}.{os.getpid()}.part"
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise DistillError(
                f"{path}: cannot be written: {error.strerror}", hint="free space or choose another --out"
            ) from error
