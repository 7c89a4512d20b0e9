"""Open containers and decode frames; decoding continues after damage, and truncation is detected."""

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
    """Open a video file.

    Raises:
        DistillError: FFmpeg cannot read it.
        UsageError: The decoder is missing or does not support the codec.
    """
    try:
        return open_with(path, decoder)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DistillError(f"{path}: not a readable video: {reason(error)}", hint="copy or encode it again") from error


def video_stream(container: Any, name: object, decoder: Decoder = Decoder.THREADS) -> Any:
    """First video stream, ready to decode; cover images do not count.

    Raises:
        DistillError: There is no video stream.
    """
    for stream in container.streams.video:
        if "attached_pic" not in str(stream.disposition):
            use_threads(stream, decoder)
            return stream
    kinds = sorted({str(stream.type) for stream in container.streams})
    raise DistillError(
        f"{name}: contains no video stream, only {' and '.join(kinds) or 'no stream at all'}", hint="remove it"
    )


def stated_frames(container: Any, stream: Any, rate: Fraction) -> int | None:
    """Frame count stated by the container, or estimated from its duration."""
    if stream.frames:
        return int(stream.frames)
    if stream.duration:
        count: int = max(1, round(stream.duration * stream.time_base * rate))
        return count
    return max(1, round(container.duration * rate / av.time_base)) if container.duration else None


def first_frame(container: Any, stream: Any, path: Path) -> Any:
    """First frame that can be decoded, before rotation.

    Raises:
        DistillError: No frame can be decoded.
    """
    frame = next(_decode_packets(container, stream, _DecodeErrors()), None)
    if frame is None:
        raise DistillError(f"{path}: no frame can be decoded", hint="copy or encode it again")
    return frame


def decode(container: Any, stream: Any, path: Path) -> Iterator[Any]:
    """Decoded frames in order; damaged packets are skipped and reported at the end.

    Raises:
        DistillError: The file is damaged or truncated; raised after the last readable frame.
    """
    errors = _DecodeErrors()
    frames, last_s = 0, 0.0
    for frame in _deinterlaced(_decode_packets(container, stream, errors), stream):
        frames += 1
        last_s = max(last_s, frame.time or 0.0)
        yield frame
    if not errors.count and frames and _ends_early(container, stream, path, last_s):
        errors.note("it ends before its stated end")
    if errors.count:
        stated = f" of {stream.frames} stated" if stream.frames > frames else ""
        raise DistillError(
            f"{path}: the video is damaged or cut off: {frames} frames{stated} could be read ({errors.reason})",
            hint="copy or encode it again",
        )


def reason(error: Exception) -> str:
    """Message of an FFmpeg error without number and file name."""
    text = getattr(error, "strerror", None) or str(error)
    return text[0].lower() + text[1:] if text else type(error).__name__


class _DecodeErrors:
    """Count and last reason of decoding errors."""

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


def _deinterlaced(frames: Iterable[Any], stream: Any) -> Iterator[Any]:
    """Frames with interlaced ones deinterlaced, one for one."""
    graph: tuple[Any, Any, Any] | None = None
    for frame in frames:
        if graph is None and frame.interlaced_frame:
            graph = deinterlacer(stream)
        if graph is None:
            yield frame
        else:
            graph[1].push(frame)
            yield from _pull(graph[2], stream)
    if graph is not None:
        graph[1].push(None)
        yield from _pull(graph[2], stream)


def _pull(sink: Any, stream: Any) -> Iterator[Any]:
    while True:
        try:
            frame = sink.pull()
        except (av.BlockingIOError, av.EOFError):
            return
        if frame.pts is not None:  # the filter has its own time base
            frame.pts = round(frame.pts * frame.time_base / stream.time_base)
            frame.time_base = stream.time_base
        yield frame


def _ends_early(container: Any, stream: Any, path: Path, last_s: float) -> bool:
    """Whether a file is truncated although FFmpeg reports no error, as with Matroska and GIF."""
    if path.suffix.lower() == ".gif":
        with path.open("rb") as file:
            file.seek(-min(64, path.stat().st_size), 2)
            return not file.read().rstrip(b"\0").endswith(b";")
    if stream.frames or not container.duration or len(container.streams) > 1:
        return False
    # Durations in headers are rounded: tolerate half a second or three frames.
    frame_s = float(1 / (stream.average_rate or DEFAULT_RATE))
    # Matroska's duration is the end time of the last frame; others count from the first frame.
    start_s = 0.0 if "matroska" in container.format.name else (container.start_time or 0) / av.time_base
    early: bool = start_s + container.duration / av.time_base - (last_s + frame_s) > max(0.5, 3 * frame_s)
    return early
