"""Frames out of a video file: counted from what is really decoded, rotated as the file asks, with their own times.

Containers lie about their length (``milk.mkv`` of the SAM 2 examples announces 52 frames and holds 51), so an index is
always the number of frames decoded before, never a guess from a time stamp.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

from PIL import Image

from distill.errors import DistillError, UsageError
from distill.images import MAX_PIXELS
from distill.video.color import RgbConverter
from distill.video.decoders import Decoder, choose_decoder
from distill.video.demux import DEFAULT_RATE, announced_frames, decode, first_frame, open_container, video_stream
from distill.video.source import Frame, FrameSource

SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".wmv", ".flv", ".3gp"}
    | {".ogv", ".gif"}
)


def is_video(path: Path) -> bool:
    """Whether this file should be read as a video, by its suffix; a GIF only when it holds more than one frame."""
    if path.suffix.lower() != ".gif":
        return path.suffix.lower() in SUFFIXES
    try:
        with Image.open(path) as picture:
            return bool(getattr(picture, "is_animated", False))
    except Exception:  # Pillow raises nearly anything on broken bytes; whoever reads it as a photo says what is wrong
        return False


class VideoReader(FrameSource):
    """A video file that can be read any number of times; its own `num_frames` may lie.

    Attributes:
        path: The file.
        decoder: Who decodes it; never `Decoder.AUTO`.
    """

    path: Path

    def __init__(self, path: Path, decoder: Decoder = Decoder.THREADS) -> None:
        """Open the file and decode one frame.

        Raises:
            DistillError: Missing, empty, no video, too large, or not one frame of it can be decoded.
            UsageError: The decoder is not there, or does not know the codec.
        """
        self.decoder: Decoder = Decoder.THREADS if decoder is Decoder.AUTO else decoder
        self.path, self.name = path, str(path)
        if not path.is_file():
            raise UsageError(f"{path}: no such file", hint="check the path")
        if path.stat().st_size == 0:
            raise DistillError(f"{path}: the file is empty", hint="copy it again")
        with open_container(path, self.decoder) as container:
            stream = video_stream(container, path, self.decoder)
            if stream.width * stream.height > MAX_PIXELS:
                raise DistillError(
                    f"{path}: frames of {stream.width}x{stream.height} px are over the limit of"
                    f" {MAX_PIXELS / 1e6:.0f} million pixels",
                    hint="shrink it, or raise DISTILL_MAX_PIXELS",
                )
            self.codec = stream.codec_context.name
            self.rate = Fraction(stream.average_rate or stream.guessed_rate or DEFAULT_RATE)
            self.time_base = Fraction(stream.time_base or 1 / self.rate)
            self.num_frames = announced_frames(container, stream, self.rate)
            first = first_frame(container, stream, path)
            self._converter = RgbConverter(first)
            turned = self._converter.quarter_turns % 2
            self.size_hw = (first.width, first.height) if turned else (first.height, first.width)
            self.notes = _notes(self._converter.hdr, bool(first.interlaced_frame))
        if decoder is Decoder.AUTO:
            self.decoder = choose_decoder(path, self.num_frames)
        # Software is exact, whoever runs it; what a GPU gives may differ in how its chroma is stored.
        self.fingerprint = str(self.decoder) if self.decoder is Decoder.NVDEC else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing to close: a file is only open while `frames` or `count` run."""

    def read_stats(self) -> dict[str, Any]:
        """Who decoded it."""
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
        """Every `step`-th frame from `start` up to, not including, `stop`, decoded forward from the beginning.

        Args:
            start: First frame.
            stop: One past the last frame; None reads to the end.
            step: Distance between frames.
            size_hw: Frames are shrunk to this size while their colors are converted; None keeps the file's.

        Raises:
            DistillError: The file is damaged. Raised at the end: all frames that could be decoded came before.
        """
        if start < 0 or step < 1:
            raise UsageError(
                f"frames from {start} by {step}: the start is at least 0 and the step at least 1",
                hint="correct the range",
            )
        interval = max(1, round(1 / (self.rate * self.time_base)))
        wanted_hw, converter = size_hw or self.size_hw, self._converter.clone()
        pts = -interval
        with open_container(self.path, self.decoder) as container:
            stream = video_stream(container, self.path, self.decoder)
            for index, frame in enumerate(decode(container, stream, self.path)):
                if stop is not None and index >= stop:
                    return
                # A frame without a time follows the one before; times that stand still or run back are pushed on.
                pts = frame.pts if frame.pts is not None and (frame.pts > pts or index == 0) else pts + interval
                if index >= start and (index - start) % step == 0:
                    yield Frame(index, pts, float(pts * self.time_base), converter.to_upright_rgb(frame, wanted_hw))

    def count(self) -> int:
        """How many frames can really be decoded; decodes the whole file.

        Raises:
            DistillError: The file is damaged.
        """
        with open_container(self.path) as container:
            return sum(1 for _ in decode(container, video_stream(container, self.path), self.path))


def _notes(hdr: str, interlaced: bool) -> tuple[str, ...]:
    notes = [f"HDR ({hdr}) was tone-mapped to SDR: students learn from SDR photos"] * bool(hdr)
    return (*notes, *["it is interlaced: fields were woven into whole frames"] * interlaced)
