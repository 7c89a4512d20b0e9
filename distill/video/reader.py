"""Read the frames of a video file with their times, upright and in square pixels.

Frame counts in containers can be wrong (``milk.mkv`` of the SAM 2 examples states 52 frames and contains 51), so an
index is the number of frames decoded before, never an estimate from a time stamp.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from distill.errors import DistillError, UsageError
from distill.files import printable
from distill.images import max_pixels
from distill.video.color import RgbConverter
from distill.video.decode import (
    DEFAULT_RATE,
    DecodeReport,
    decode,
    first_frame,
    open_container,
    stated_frames,
    video_stream,
)
from distill.video.decoders import Decoder, choose_decoder
from distill.video.media.opening import is_playlist, media_errors
from distill.video.media.signatures import MediaKind, is_animated_gif, media_kind
from distill.video.media.sound_spans import SoundSpans
from distill.video.media.timeline import ClockJump, Timeline, describe_jumps, max_gap_s
from distill.video.source import Frame, FrameSource

SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".wmv", ".flv", ".3gp"}
    | {".ogv", ".vob", ".dav", ".h264", ".264", ".h265", ".265", ".hevc", ".mjpeg", ".mjpg", ".ivf", ".y4m", ".asf"}
    | {".gxf", ".h261", ".h263", ".obu", ".amv", ".swf", ".nsv", ".pva", ".vc1", ".m2p", ".trp", ".tp", ".qt", ".ogm"}
    | {".f4v", ".3g2", ".mxf", ".dv", ".divx", ".m2v", ".m1v", ".mpv", ".rm", ".rmvb", ".wtv", ".tod", ".mod", ".nut"}
)
_MOTION_JPEG = frozenset({".mjpeg", ".mjpg"})
_RAW_FORMATS = frozenset(
    {"h264", "hevc", "vvc", "mjpeg", "jpeg_pipe", "obu", "m4v", "mpegvideo", "h261", "h263", "dirac"}
)
"""Streams without a container; FFmpeg gives their frames times at `DEFAULT_RATE` if they state no rate."""
_FINEST = Fraction(1, 100_000)
_PLAY_TIME_BASE = Fraction(1, 90_000)
"""Time base of sources with a finer one, whose durations would overflow the 32 bits of MP4."""
_MAX_LEAD_S = 10.0
"""Sound that begins earlier than this before the picture has another clock, unless it runs on to the picture."""


def is_video(path: Path) -> bool:
    """Whether a file is a video or an animation by its bytes, else by its suffix."""
    kind, suffix = media_kind(path), path.suffix.lower()
    if kind is MediaKind.PHOTO:
        return suffix in _MOTION_JPEG or is_animated_gif(path)
    return kind is not MediaKind.UNKNOWN or suffix in SUFFIXES or is_playlist(path)


class VideoReader(FrameSource):
    """Video file; can be read repeatedly. `num_frames` is the stated count and may be wrong.

    Attributes:
        path: The file.
        decoder: Chosen decoder; never `Decoder.AUTO`.
    """

    path: Path

    def __init__(self, path: Path, decoder: Decoder = Decoder.THREADS, *, rate: Fraction = DEFAULT_RATE) -> None:
        """Open the file and decode one frame.

        Args:
            path: The file.
            decoder: Its decoder.
            rate: Frames per second of a raw stream that states none.

        Raises:
            DistillError: Empty, not a video, too large, or without a decodable frame.
            UsageError: The file or the decoder is missing, or the decoder does not support the codec.
        """
        self.decoder: Decoder = Decoder.THREADS if decoder is Decoder.AUTO else decoder
        self.path, self.name = path, printable(str(path))
        if not path.is_file():
            why = "not a regular file" if path.exists() else "no such file"
            raise UsageError(f"{self.name}: {why}", hint="check the path")
        if path.stat().st_size == 0:
            raise DistillError(f"{self.name}: the file is empty", hint="copy it again")
        self._changes: tuple[str, ...] = ()
        with open_container(path, self.decoder) as container, media_errors(self.name, "not a readable video"):
            stream = video_stream(container, self.name, self.decoder)
            self._check_size(stream.width, stream.height)
            self.codec = stream.codec_context.name
            first = first_frame(container, stream, path)
            self._aspects = _Aspects(stream)
            self._converter = RgbConverter(first, self._aspects.stated)
            self.size_hw = self._converter.size_hw
            self._check_size(self.size_hw[1], self.size_hw[0])
            is_timed = container.format.name not in _RAW_FORMATS or bool(stream.codec_context.framerate)
            self.rate = _rate(container, stream) if is_timed else rate
            self._stored_base = Fraction(stream.time_base or 1 / self.rate)
            self._stored_base *= 1 if is_timed else DEFAULT_RATE / rate
            self.time_base = _PLAY_TIME_BASE if self._stored_base < _FINEST else self._stored_base
            self.num_frames = stated_frames(container, stream, self.rate)
            self._sound = SoundSpans(path)
            self._origin_s = self._find_origin_s(container, first)
            self.audio_path = path if container.streams.audio else None
            self._max_gap_s = max_gap_s(container.format.name)
            self._notes = _notes(self._converter, bool(first.interlaced_frame), (first.height, first.width))
            if not is_timed:
                self._notes += (f"the file states no frame rate; {float(rate):g} frames/s were taken (--rate)",)
        if decoder is Decoder.AUTO:
            self.decoder = choose_decoder(path, self.num_frames)
        # Software decoders are exact; NVDEC output may differ in its chroma format.
        self.fingerprint = str(self.decoder) if self.decoder is Decoder.NVDEC else ""
        self.fingerprint += "" if is_timed else f" {rate}"

    def _find_origin_s(self, container: Any, first: Any) -> float:
        """Time of the source that becomes 0: the first frame, or sound that begins more than a frame before it."""
        video_s = 0.0 if first.pts is None else float(first.pts * self._stored_base)
        starts = [float(s.start_time * s.time_base) for s in container.streams.audio if s.start_time is not None]
        leads = [start for start in starts if video_s - start > float(1 / self.rate)]
        near = [start for start in leads if video_s - start < _MAX_LEAD_S or self._sound.cover(start, video_s)]
        return min(near, default=video_s)

    def _check_size(self, width: int, height: int) -> None:
        if width * height > max_pixels():
            raise DistillError(
                f"{self.name}: frames of {width}x{height} px are over the limit of"
                f" {max_pixels() / 1e6:.0f} million pixels",
                hint="shrink it, or raise DISTILL_MAX_PIXELS",
            )

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *error: object) -> None:
        """No-op: the file is only open while `frames` or `count` runs."""

    @property
    def notes(self) -> tuple[str, ...]:  # type: ignore[override]  # grows while frames are read
        """Changes made to the frames so far."""
        return (*self._notes, *self._changes)

    def read_stats(self) -> dict[str, Any]:
        """Name of the decoder."""
        return {"decoder": str(self.decoder)}

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
        """Every `step`-th frame in [start, stop), decoded from the beginning of the file.

        Args:
            start: First frame.
            stop: One past the last frame; None: to the end.
            step: Distance between frames.
            size_hw: Resize frames during color conversion; None: size of the file.

        Raises:
            DistillError: The file is damaged; raised after the last readable frame.
        """
        if start < 0 or step < 1:
            raise UsageError(
                f"frames from {start} by {step}: the start is at least 0 and the step at least 1",
                hint="correct the range",
            )
        wanted_hw, converter = size_hw or self.size_hw, self._converter.clone()
        with open_container(self.path, self.decoder) as container, media_errors(self.name, "the video is damaged"):
            stream = video_stream(container, self.name, self.decoder)
            index, report, damaged = -1, DecodeReport(), 0
            for index, (frame, play) in enumerate(self._placed(decode(container, stream, self.path, report))):
                if stop is not None and index >= stop:
                    return
                if frame.is_corrupt:
                    damaged += 1
                    self._note(
                        f"the pictures of {damaged} frames are damaged, the last one: {index}", "the pictures of"
                    )
                if index < start or (index - start) % step:
                    continue
                rgb = converter.to_upright_rgb(frame, wanted_hw, self._aspects.now(stream))
                self._note_size(converter, frame, index)
                source_s = float(play * self.time_base) if frame.pts is None else float(frame.pts * self._stored_base)
                duration = round((frame.duration or 0) * self._stored_base / self.time_base)
                yield Frame(index, play, source_s, rgb, float(play * self.time_base), duration)
            if index + 1 + report.hidden < stream.frames:
                self._note(f"the file states {stream.frames} frames, and {index + 1} could be decoded")

    def _placed(self, frames: Iterator[Any]) -> Iterator[tuple[Any, int]]:
        """(frame, play time) of each frame; a frame waits for the next one, which shows whether its time is right."""
        clock = Timeline(
            self._ticks(Fraction(self._origin_s)),
            self._ticks(1 / self.rate),
            self._ticks(Fraction(self._max_gap_s)),
            lambda *stamps: self._sound.cover(*(float(stamp * self.time_base) for stamp in stamps)),
        )
        scale = self._stored_base / self.time_base
        before: Any = None
        failure: DistillError | None = None
        try:
            for frame in frames:
                if before is not None:
                    yield before, _place(clock, before, frame.pts, scale)
                before = frame
        except DistillError as error:
            failure = error
        finally:
            if clock.jumps:
                jumps = [ClockJump(index, float(ticks * self.time_base)) for index, ticks in clock.jumps]
                self._note(describe_jumps(jumps), replaces="the clock of")
        if before is not None:
            yield before, _place(clock, before, None, scale)
        if failure is not None:
            raise failure

    def _ticks(self, seconds: Fraction) -> int:
        return round(seconds / self.time_base)

    def _note_size(self, converter: RgbConverter, frame: Any, index: int) -> None:
        if converter.is_other_size(frame) and not any(note.startswith("the size") for note in self._changes):
            self._note(
                f"the size of the picture changes, first at frame {index} to {frame.width}x{frame.height}; all frames"
                f" have the size of the first one"
            )

    def _note(self, note: str, replaces: str = "") -> None:
        kept = tuple(other for other in self._changes if not replaces or not other.startswith(replaces))
        self._changes = (*kept, note)

    def count(self) -> int:
        """Count the frames by decoding the whole file.

        Raises:
            DistillError: The file is damaged.
        """
        with open_container(self.path) as container, media_errors(self.name, "the video is damaged"):
            return sum(1 for _ in decode(container, video_stream(container, self.name), self.path))


class _Aspects:
    """Pixel aspect of a stream: the container's word, until the codec's own value changes."""

    def __init__(self, stream: Any) -> None:
        self._at_start = stream.codec_context.sample_aspect_ratio
        self.stated: Fraction | None = stream.sample_aspect_ratio or self._at_start or None

    def now(self, stream: Any) -> Fraction | None:
        """Aspect of the newest frame; None: as stated."""
        aspect: Fraction | None = stream.codec_context.sample_aspect_ratio
        return aspect if aspect and aspect != self._at_start else None


def _place(clock: Timeline, frame: Any, following: int | None, scale: Fraction) -> int:
    if scale == 1:
        return clock.place(frame.pts, frame.duration or 0, following)
    stamps = [None if stamp is None else round(stamp * scale) for stamp in (frame.pts, following)]
    return clock.place(stamps[0], round((frame.duration or 0) * scale), stamps[1])


def _rate(container: Any, stream: Any) -> Fraction:
    """Frames per second; raw streams have no times, and their average rate is a constant of FFmpeg."""
    raw = not container.duration
    known = [stream.guessed_rate, stream.average_rate] if raw else [stream.average_rate, stream.guessed_rate]
    return Fraction(next(filter(None, known), DEFAULT_RATE))


def _notes(converter: RgbConverter, interlaced: bool, stored_hw: tuple[int, int]) -> tuple[str, ...]:
    notes = [f"HDR ({converter.hdr}) was tone-mapped to SDR: students learn from SDR photos"] * bool(converter.hdr)
    shown_hw = converter.size_hw[::-1] if converter.orientation.transpose else converter.size_hw
    if shown_hw != stored_hw:
        notes.append(
            f"pixels are not square: frames of {stored_hw[1]}x{stored_hw[0]} were resampled to"
            f" {shown_hw[1]}x{shown_hw[0]}, as players show them"
        )
    return (*notes, *["interlaced video was deinterlaced"] * interlaced)
