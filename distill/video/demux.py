"""Frames out of packets: opened with a sentence for everything that is no video, decoded past damage, cuts noticed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from distill.errors import DistillError
from distill.video.color import deinterlacer
from distill.video.decoders import Decoder, open_with, use_threads

DEFAULT_RATE = Fraction(25)


def open_container(path: Path, decoder: Decoder = Decoder.THREADS) -> Any:
    """The file, opened.

    Raises:
        DistillError: FFmpeg cannot read it.
        UsageError: The decoder is not there, or does not know the codec.
    """
    try:
        return open_with(path, decoder)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DistillError(
            f"{path}: not a video that can be read: {reason(error)}", hint="copy or encode it again"
        ) from error


def video_stream(container: Any, name: object, decoder: Decoder = Decoder.THREADS) -> Any:
    """The first moving picture in the container, ready to be decoded; a cover picture is none.

    Raises:
        DistillError: There is none.
    """
    for stream in container.streams.video:
        if "attached_pic" not in str(stream.disposition):
            use_threads(stream, decoder)
            return stream
    kinds = sorted({str(stream.type) for stream in container.streams})
    raise DistillError(f"{name}: there is no video in it, only {' and '.join(kinds) or 'nothing'}", hint="leave it out")


def announced_frames(container: Any, stream: Any, rate: Fraction) -> int | None:
    """What the container says about its length, or a guess from its duration."""
    if stream.frames:
        return int(stream.frames)
    if stream.duration:
        return max(1, round(stream.duration * stream.time_base * rate))
    return max(1, round(container.duration * rate / av.time_base)) if container.duration else None


def first_frame(container: Any, stream: Any, path: Path) -> Any:
    """The first frame that can be decoded, as it is stored.

    Raises:
        DistillError: There is none.
    """
    frame = next(_decode_packets(container, stream, _DecodeErrors()), None)
    if frame is None:
        raise DistillError(f"{path}: no frame of it can be decoded", hint="copy or encode it again")
    return frame


def decode(container: Any, stream: Any, path: Path) -> Iterator[Any]:
    """Decoded frames in order; packets that are damaged are passed over and complained about at the very end.

    Raises:
        DistillError: The file is damaged or cut off; after the last frame that could be read.
    """
    errors = _DecodeErrors()
    frames, last_s = 0, 0.0
    for frame in _whole(_decode_packets(container, stream, errors), stream):
        frames += 1
        last_s = max(last_s, frame.time or 0.0)
        yield frame
    if not errors.count and frames and _ends_early(container, stream, path, last_s):
        errors.note("it ends before its announced end")
    if errors.count:
        announced = f" of {stream.frames} announced" if stream.frames > frames else ""
        raise DistillError(
            f"{path}: the video is damaged or cut off: {frames} frames{announced} could be read ({errors.reason})",
            hint="copy or encode it again",
        )


def reason(error: Exception) -> str:
    """FFmpeg's reason as a short phrase, without error number and file name."""
    text = getattr(error, "strerror", None) or str(error)
    return text[0].lower() + text[1:] if text else type(error).__name__


class _DecodeErrors:
    """What went wrong on the way."""

    def __init__(self) -> None:
        self.count, self.reason = 0, "a packet is incomplete"

    def note(self, why: str) -> None:
        self.count, self.reason = self.count + 1, why


def _decode_packets(container: Any, stream: Any, errors: _DecodeErrors) -> Iterator[Any]:
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.FFmpegError as error:
            errors.note(reason(error))
            return
        errors.count += packet.is_corrupt
        try:
            yield from packet.decode()
        except av.FFmpegError as error:
            errors.note(reason(error))


def _whole(frames: Iterable[Any], stream: Any) -> Iterator[Any]:
    """The frames again; interlaced ones are made whole, one for one."""
    weaver: tuple[Any, Any, Any] | None = None
    for frame in frames:
        if weaver is None and frame.interlaced_frame:
            weaver = deinterlacer(stream)
        if weaver is None:
            yield frame
        else:
            weaver[1].push(frame)
            yield from _pull(weaver[2], stream)
    if weaver is not None:
        weaver[1].push(None)
        yield from _pull(weaver[2], stream)


def _pull(exit_: Any, stream: Any) -> Iterator[Any]:
    while True:
        try:
            frame = exit_.pull()
        except (av.BlockingIOError, av.EOFError):
            return
        if frame.pts is not None:  # the filter counts in units of its own
            frame.pts = round(frame.pts * frame.time_base / stream.time_base)
            frame.time_base = stream.time_base
        yield frame


def _ends_early(container: Any, stream: Any, path: Path, last_s: float) -> bool:
    """Whether a file was cut off although FFmpeg reached its end without complaint, as it does in Matroska and GIF."""
    if path.suffix.lower() == ".gif":
        with path.open("rb") as file:
            file.seek(-min(64, path.stat().st_size), 2)
            return not file.read().rstrip(b"\0").endswith(b";")
    if stream.frames or not container.duration or len(container.streams) > 1:
        return False
    # Headers round: half a second and three frames are forgiven.
    frame_s = float(1 / (stream.average_rate or DEFAULT_RATE))
    # Matroska's duration is the time at which the last frame ends, others' begins with the first frame.
    start_s = 0.0 if "matroska" in container.format.name else (container.start_time or 0) / av.time_base
    return start_s + container.duration / av.time_base - (last_s + frame_s) > max(0.5, 3 * frame_s)
