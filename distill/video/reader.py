"""Read the frames of a video file with their times, rotated upright.

Frame counts in containers can be wrong (``milk.mkv`` of the SAM 2 examples states 52 frames and contains 51), so an
index is the number of frames decoded before, never an estimate from a time stamp.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image

from distill.errors import DistillError, UsageError
from distill.images import max_pixels
from distill.video.color import RgbConverter
from distill.video.decode import DEFAULT_RATE, decode, first_frame, open_container, stated_frames, video_stream
from distill.video.decoders import Decoder, choose_decoder
from distill.video.source import Frame, FrameSource

SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".wmv", ".flv", ".3gp"}
    | {".ogv", ".gif"}
)


def is_video(path: Path) -> bool:
    """Whether the suffix is one of a video; a GIF must contain more than one frame."""
    if path.suffix.lower() != ".gif":
        return path.suffix.lower() in SUFFIXES
    try:
        with Image.open(path) as image:
            return bool(getattr(image, "is_animated", False))
    except Exception:  # Pillow raises many types for damaged files; reading it as a photo reports the reason
        return False


class VideoReader(FrameSource):
    """Video file; can be read repeatedly. `num_frames` is the stated count and may be wrong.

    Attributes:
        path: The file.
        decoder: Chosen decoder; never `Decoder.AUTO`.
    """

    path: Path

    def __init__(self, path: Path, decoder: Decoder = Decoder.THREADS) -> None:
        """Open the file and decode one frame.

        Raises:
            DistillError: Empty, not a video, too large, or without a decodable frame.
            UsageError: The file or the decoder is missing, or the decoder does not support the codec.
        """
        self.decoder: Decoder = Decoder.THREADS if decoder is Decoder.AUTO else decoder
        self.path, self.name = path, str(path)
        if not path.is_file():
            raise UsageError(f"{path}: no such file", hint="check the path")
        if path.stat().st_size == 0:
            raise DistillError(f"{path}: the file is empty", hint="copy it again")
        with open_container(path, self.decoder) as container:
            stream = video_stream(container, path, self.decoder)
            if stream.width * stream.height > max_pixels():
                raise DistillError(
                    f"{path}: frames of {stream.width}x{stream.height} px are over the limit of"
                    f" {max_pixels() / 1e6:.0f} million pixels",
                    hint="shrink it, or raise DISTILL_MAX_PIXELS",
                )
            self.codec = stream.codec_context.name
            self.rate = Fraction(stream.average_rate or stream.guessed_rate or DEFAULT_RATE)
            self.time_base = Fraction(stream.time_base or 1 / self.rate)
            self.num_frames = stated_frames(container, stream, self.rate)
            first = first_frame(container, stream, path)
            self._converter = RgbConverter(first)
            turned = self._converter.quarter_turns % 2
            self.size_hw = (first.width, first.height) if turned else (first.height, first.width)
            self.notes = _notes(self._converter.hdr, bool(first.interlaced_frame))
        if decoder is Decoder.AUTO:
            self.decoder = choose_decoder(path, self.num_frames)
        # Software decoders are exact; NVDEC output may differ in its chroma format.
        self.fingerprint = str(self.decoder) if self.decoder is Decoder.NVDEC else ""

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *error: object) -> None:
        """No-op: the file is only open while `frames` or `count` runs."""

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
        interval = max(1, round(1 / (self.rate * self.time_base)))
        wanted_hw, converter = size_hw or self.size_hw, self._converter.clone()
        pts = -interval
        with open_container(self.path, self.decoder) as container:
            stream = video_stream(container, self.path, self.decoder)
            for index, frame in enumerate(decode(container, stream, self.path)):
                if stop is not None and index >= stop:
                    return
                # A missing time follows the previous frame; times that do not increase are moved forward.
                pts = frame.pts if frame.pts is not None and (frame.pts > pts or index == 0) else pts + interval
                if index >= start and (index - start) % step == 0:
                    yield Frame(index, pts, float(pts * self.time_base), converter.to_upright_rgb(frame, wanted_hw))

    def count(self) -> int:
        """Count the frames by decoding the whole file.

        Raises:
            DistillError: The file is damaged.
        """
        with open_container(self.path) as container:
            return sum(1 for _ in decode(container, video_stream(container, self.path), self.path))


def _notes(hdr: str, interlaced: bool) -> tuple[str, ...]:
    notes = [f"HDR ({hdr}) was tone-mapped to SDR: students learn from SDR photos"] * bool(hdr)
    return (*notes, *["interlaced video was deinterlaced"] * interlaced)
