"""Frames out of a video file: counted from what is really decoded, rotated as the file asks, with their own times.

Containers lie about their length (``milk.mkv`` of the SAM 2 examples announces 52 frames and holds 51), so an index is
always the number of frames decoded before, never a guess from a time stamp.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import av
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from distill.errors import DistillError, UsageError
from distill.images import MAX_PIXELS

SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".wmv", ".flv", ".3gp"}
    | {".ogv", ".gif"}
)
_DEFAULT_RATE = Fraction(25)


def is_video(path: Path) -> bool:
    """Whether this file should be read as a video, by its suffix; a GIF only when it holds more than one frame."""
    if path.suffix.lower() != ".gif":
        return path.suffix.lower() in SUFFIXES
    try:
        with Image.open(path) as picture:
            return bool(getattr(picture, "is_animated", False))
    except Exception:  # Pillow raises nearly anything on broken bytes; whoever reads it as a photo says what is wrong
        return False


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame.

    Attributes:
        index: Number of frames decoded before this one, also when they were skipped.
        pts: When it is shown, in units of the reader's `time_base`.
        pts_s: The same in seconds.
        rgb: Pixels, upright, all of the reader's `size_hw`.
    """

    index: int
    pts: int
    pts_s: float
    rgb: UInt8[ndarray, "h w 3"]


class VideoReader:
    """A video file that can be read any number of times.

    Attributes:
        path: The file.
        size_hw: (height, width) after rotation.
        rate: Average frames per second; for a variable rate only an orientation.
        time_base: Seconds per unit of `Frame.pts`.
        num_frames: What the container announces, or a guess from its duration; None when it says nothing.
        codec: Name of the decoder.
    """

    def __init__(self, path: Path) -> None:
        """Open the file and decode one frame.

        Raises:
            DistillError: Missing, empty, no video, too large, or not one frame of it can be decoded.
        """
        self.path = path
        if not path.is_file():
            raise UsageError(f"{path}: no such file", hint="check the path")
        if path.stat().st_size == 0:
            raise DistillError(f"{path}: the file is empty", hint="copy it again")
        with _open(path) as container:
            stream = _video_stream(container, path)
            if stream.width * stream.height > MAX_PIXELS:
                raise DistillError(
                    f"{path}: frames of {stream.width}x{stream.height} px are over the limit of"
                    f" {MAX_PIXELS / 1e6:.0f} million pixels",
                    hint="shrink it, or raise DISTILL_MAX_PIXELS",
                )
            self.codec: str = stream.codec_context.name
            self.rate = Fraction(stream.average_rate or stream.guessed_rate or _DEFAULT_RATE)
            self.time_base = Fraction(stream.time_base or 1 / self.rate)
            self.num_frames = _announced_frames(container, stream, self.rate)
            first = next(_decode(container, stream, path), None)
            if first is None:
                raise DistillError(f"{path}: no frame of it can be decoded", hint="copy or encode it again")
            self._quarter_turns = round(first.rotation / 90) % 4
            coded_hw = (first.height, first.width)
        self.size_hw = (coded_hw[1], coded_hw[0]) if self._quarter_turns % 2 else coded_hw

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing to close: a file is only open while `frames` or `count` run."""

    @property
    def height(self) -> int:
        """Rows, after rotation."""
        return self.size_hw[0]

    @property
    def width(self) -> int:
        """Columns, after rotation."""
        return self.size_hw[1]

    def frames(
        self, start: int = 0, stop: int | None = None, step: int = 1, *, size_hw: tuple[int, int] | None = None
    ) -> Iterator[Frame]:
        """Every `step`-th frame from `start` up to, not including, `stop`, decoded forward from the beginning.

        Args:
            start: First frame.
            stop: One past the last frame; None reads to the end.
            step: Distance between frames.
            size_hw: Frames are shrunk to this size while their colours are converted; None keeps the file's.

        Raises:
            DistillError: The file is damaged. Raised at the end: all frames that could be decoded came before.
        """
        if start < 0 or step < 1:
            raise UsageError(
                f"frames from {start} by {step}: the start is at least 0 and the step at least 1",
                hint="correct the range",
            )
        interval = max(1, round(1 / (self.rate * self.time_base)))
        pts = -interval
        with _open(self.path) as container:
            for index, frame in enumerate(_decode(container, _video_stream(container, self.path), self.path)):
                if stop is not None and index >= stop:
                    return
                # A frame without a time follows the one before; times that stand still or run back are pushed on.
                pts = frame.pts if frame.pts is not None and (frame.pts > pts or index == 0) else pts + interval
                if index >= start and (index - start) % step == 0:
                    yield Frame(index, pts, float(pts * self.time_base), self._upright(frame, size_hw or self.size_hw))

    def count(self) -> int:
        """How many frames can really be decoded; decodes the whole file.

        Raises:
            DistillError: The file is damaged.
        """
        with _open(self.path) as container:
            return sum(1 for _ in _decode(container, _video_stream(container, self.path), self.path))

    def _upright(self, frame: Any, size_hw: tuple[int, int]) -> UInt8[ndarray, "h w 3"]:
        height, width = reversed(size_hw) if self._quarter_turns % 2 else size_hw
        # A stream may change its size on the way; like every player, keep the size of the first frame.
        # Averaging in one step with the colours: 2 ms for 1280x720 to 960x540, 5 ms apart.
        rgb = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")
        return np.ascontiguousarray(np.rot90(rgb, self._quarter_turns)) if self._quarter_turns else rgb


def _open(path: Path) -> Any:
    try:
        return av.open(str(path))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DistillError(
            f"{path}: not a video that can be read: {reason(error)}", hint="copy or encode it again"
        ) from error


def _video_stream(container: Any, path: Path) -> Any:
    """The first moving picture in the container, set to decode on all cores; a cover picture is none."""
    for stream in container.streams.video:
        if "attached_pic" not in str(stream.disposition):
            # Frame threads as well as slice threads: 178 instead of 112 frames/s on 1080p H.264 with two cores.
            stream.thread_type = "AUTO"
            return stream
    kinds = sorted({str(stream.type) for stream in container.streams})
    raise DistillError(f"{path}: there is no video in it, only {' and '.join(kinds) or 'nothing'}", hint="leave it out")


def _announced_frames(container: Any, stream: Any, rate: Fraction) -> int | None:
    if stream.frames:
        return int(stream.frames)
    if stream.duration:
        return max(1, round(stream.duration * stream.time_base * rate))
    return max(1, round(container.duration * rate / av.time_base)) if container.duration else None


def _decode(container: Any, stream: Any, path: Path) -> Iterator[Any]:
    """Decoded frames in order; packets that are damaged are passed over and complained about at the very end."""
    frames, damaged, last_error, last_s = 0, 0, "a packet is incomplete", 0.0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            break
        except av.FFmpegError as error:
            damaged, last_error = damaged + 1, reason(error)
            break
        damaged += packet.is_corrupt
        try:
            decoded = packet.decode()
        except av.FFmpegError as error:
            damaged, last_error = damaged + 1, reason(error)
            continue
        for frame in decoded:
            frames += 1
            last_s = max(last_s, frame.time or 0.0)
            yield frame
    if not damaged and frames and _ends_early(container, stream, path, last_s):
        damaged, last_error = 1, "it ends before its announced end"
    if damaged:
        announced = f" of {stream.frames} announced" if stream.frames > frames else ""
        raise DistillError(
            f"{path}: the video is damaged or cut off: {frames} frames{announced} could be read ({last_error})",
            hint="copy or encode it again",
        )


def _ends_early(container: Any, stream: Any, path: Path, last_s: float) -> bool:
    """Whether a file was cut off although FFmpeg reached its end without complaint, as it does in Matroska and GIF."""
    if path.suffix.lower() == ".gif":
        with path.open("rb") as file:
            file.seek(-min(64, path.stat().st_size), 2)
            return not file.read().rstrip(b"\0").endswith(b";")
    if stream.frames or not container.duration or len(container.streams) > 1:
        return False
    # Headers round: half a second and three frames are forgiven.
    frame_s = float(1 / (stream.average_rate or _DEFAULT_RATE))
    gap_s = container.duration / av.time_base + (container.start_time or 0) / av.time_base - (last_s + frame_s)
    return gap_s > max(0.5, 3 * frame_s)


def reason(error: Exception) -> str:
    """FFmpeg's reason as a short phrase, without error number and file name."""
    text = getattr(error, "strerror", None) or str(error)
    return text[0].lower() + text[1:] if text else type(error).__name__
