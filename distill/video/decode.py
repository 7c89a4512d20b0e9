"""Open containers and decode frames; decoding continues after damage, and truncation is detected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.stream import Disposition

from distill.errors import DistillError
from distill.images import max_pixels
from distill.video.color import deinterlacer
from distill.video.decoders import Decoder, open_with, use_threads
from distill.video.media.completeness import is_truncated
from distill.video.media.opening import media_errors, reason

DEFAULT_RATE = Fraction(25)
_JOIN_PACKETS = 4
"""FFmpeg marks a packet up to three packets before a join, because of B-frames."""
_CLOSE_PACKETS = 2
"""A join without a jump of the clock has its key frame this close behind the marked packet."""
_JUMP_S = 5
_MPEG = frozenset({"mpeg1video", "mpeg2video"})
_MPEG_SEQUENCE = b"\0\0\1\xb3"
_MPEG_SEQUENCE_BYTES = 7
"""Start code of a sequence header, and the size of its frames."""


def open_container(path: Path, decoder: Decoder = Decoder.THREADS) -> Any:
    """Open a video file.

    Raises:
        DistillError: FFmpeg cannot read it.
        UsageError: The decoder is missing or does not support the codec.
    """
    with media_errors(path, "not a readable video"):
        return open_with(path, decoder)


def video_stream(container: Any, name: object, decoder: Decoder = Decoder.THREADS) -> Any:
    """First video stream, ready to decode; cover images do not count.

    Raises:
        DistillError: There is no video stream.
    """
    undecodable = False
    for stream in container.streams.video:
        if is_cover(stream):
            continue
        if stream.codec_context is None:
            undecodable = True
            continue
        use_threads(stream, decoder)
        stream.codec_context.options = {"max_pixels": str(max_pixels())}
        return stream
    if undecodable:
        raise DistillError(f"{name}: FFmpeg has no decoder for this video", hint="encode it again, as H.264")
    kinds = sorted({"a cover image" if is_cover(stream) else str(stream.type) for stream in container.streams})
    what = f"no video stream, only {' and '.join(kinds)}" if kinds else "no stream at all"
    raise DistillError(f"{name}: contains {what}", hint="remove it")


def is_cover(stream: Any) -> bool:
    """Whether a stream is the cover image of an album or a film."""
    return bool(stream.disposition & Disposition.attached_pic)


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
    report = DecodeReport()
    frame = next(_decode_packets(container, stream, report), None)
    if frame is None:
        why = f": {report.reason}" if report.errors else ""
        raise DistillError(f"{path}: no frame can be decoded{why}", hint="copy or encode it again")
    return frame


def decode(container: Any, stream: Any, path: Path, report: DecodeReport | None = None) -> Iterator[Any]:
    """Decoded frames in order; damaged packets are skipped and reported at the end.

    Args:
        container: Open file.
        stream: Its video.
        path: Its name.
        report: Counts what was not decoded.

    Raises:
        DistillError: The file is damaged or truncated; raised after the last readable frame.
    """
    report = report or DecodeReport()
    frames = 0
    for frame in _deinterlaced(_decode_packets(container, stream, report), stream, report):
        frames += 1
        yield frame
    if not report.errors and frames and is_truncated(path, container.format.name):
        report.note("it ends before its stated end")
    if report.errors or not frames:
        stated = f" of {stream.frames} stated" if stream.frames > frames else ""
        raise DistillError(
            f"{path}: the video is damaged or cut off: {frames} frames{stated} could be read ({report.reason})",
            hint="copy or encode it again",
        )


@dataclass
class DecodeReport:
    """What was not decoded, and why.

    Attributes:
        errors: Number of errors.
        reason: The last one.
        hidden: Number of packets that an edit list hides.
    """

    errors: int = 0
    reason: str = "a packet is incomplete"
    hidden: int = 0

    def note(self, why: str) -> None:
        """Count an error."""
        self.errors, self.reason = self.errors + 1, why


class _Suspects:
    """Packets that FFmpeg marks as incomplete: damaged, unless two recordings were joined right behind them."""

    def __init__(self) -> None:
        self.damaged = 0
        self._waiting: int | None = None
        self._dts: int | None = None

    def add(self, packet: Any) -> None:
        """Judge the suspected packet before this one, if there is one."""
        if self._waiting is not None:
            self._waiting += 1
            passed = None if None in (packet.dts, self._dts) else (packet.dts - self._dts) * packet.time_base
            jumps = passed is not None and not 0 <= passed <= _JUMP_S
            if packet.is_keyframe and (jumps or self._waiting <= _CLOSE_PACKETS):
                self._waiting = None
            elif self._waiting >= _JOIN_PACKETS:
                self.end()
        if packet.is_corrupt:
            self.end()
            self._waiting = 0
        self._dts = packet.dts

    def end(self) -> None:
        """Count a suspected packet as damaged."""
        self.damaged += self._waiting is not None
        self._waiting = None


def _decode_packets(container: Any, stream: Any, report: DecodeReport) -> Iterator[Any]:
    packets, suspects, sizes = container.demux(stream), _Suspects(), _MpegSizes(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            break
        except Exception as error:  # whatever PyAV raises
            report.note(reason(error))
            break
        suspects.add(packet)
        report.hidden += packet.is_discard
        try:
            if sizes.change(packet):
                yield from stream.codec_context.decode(None)
                stream.codec_context.flush_buffers()
            yield from packet.decode()
        except EOFError:
            continue  # after the end of the stream
        except Exception as error:
            report.note(reason(error))
    suspects.end()
    report.errors += suspects.damaged


class _MpegSizes:
    """Changes of the size in MPEG-1 and 2, at which FFmpeg drops the frame that its decoder still holds."""

    def __init__(self, stream: Any) -> None:
        self._applies, self._size = stream.codec_context.name in _MPEG, b""

    def change(self, packet: Any) -> bool:
        """Whether this packet begins a sequence of another size than the one before."""
        if not self._applies or packet.size < _MPEG_SEQUENCE_BYTES:
            return False
        head = bytes(memoryview(packet)[:_MPEG_SEQUENCE_BYTES])
        if not head.startswith(_MPEG_SEQUENCE):
            return False
        before, self._size = self._size, head
        return before not in (b"", head)


def _deinterlaced(frames: Iterable[Any], stream: Any, report: DecodeReport) -> Iterator[Any]:
    """Frames with interlaced ones deinterlaced, one for one; the size may change."""
    graph: tuple[Any, Any, Any] | None = None
    form: tuple[int, int, str] | None = None
    for frame in frames:
        now = (frame.width, frame.height, frame.format.name)
        if graph is not None and now != form:
            yield from _push(graph, None, stream, report)
            graph = None
        if graph is None and frame.interlaced_frame:
            graph, form = deinterlacer(frame, stream.time_base), now
        if graph is None:
            yield frame
        else:
            yield from _push(graph, frame, stream, report)
    if graph is not None:
        yield from _push(graph, None, stream, report)


def _push(graph: tuple[Any, Any, Any], frame: Any, stream: Any, report: DecodeReport) -> Iterator[Any]:
    """Frames that the filter returns for this one; None flushes it."""
    try:
        graph[1].push(frame)
    except Exception as error:  # whatever PyAV raises
        report.note(reason(error))
        return
    while True:
        try:
            found = graph[2].pull()
        except (av.BlockingIOError, av.EOFError):
            return
        if found.pts is not None:  # the filter has its own time base
            found.pts = round(found.pts * found.time_base / stream.time_base)
            found.duration = round(found.duration * found.time_base / stream.time_base)
            found.time_base = stream.time_base
        yield found
