"""Read animated WebP, PNG and AVIF images as videos, with Pillow: FFmpeg has no decoder for animated WebP."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from distill.errors import DistillError
from distill.files import printable, read_file, read_head
from distill.images import check_pixel_count
from distill.video.media.opening import media_errors
from distill.video.source import Frame, FrameSource

_DEFAULT_MS = 100
"""Duration of a frame without one, as browsers show it."""


class AnimatedImage(FrameSource):
    """Frames of an animated image, over white where they are transparent; times from their durations."""

    path: Path

    def __init__(self, path: Path) -> None:
        """Read size and durations.

        Raises:
            DistillError: Not an image, or too large.
        """
        self.path, self.name = path, printable(str(path))
        with media_errors(self.name, "not a readable animation"):
            canvas_wh = _canvas_wh(read_head(path, 30))
            if canvas_wh is not None:
                check_pixel_count(canvas_wh, self.name)  # opening it allocates the canvas
        with media_errors(self.name, "not a readable animation"), _opened(path) as image:
            check_pixel_count(image.size, self.name)
            self.size_hw = (image.size[1], image.size[0])
            self.num_frames = int(getattr(image, "n_frames", 1))
            self.codec = str(image.format).lower()
            first_ms = _duration_ms(image)
        self.rate, self.time_base = Fraction(1000, first_ms), Fraction(1, 1000)

    def frames(self, start: int = 0, *, size_hw: tuple[int, int] | None = None) -> Iterator[Frame]:
        """Frames from `start` on.

        Raises:
            DistillError: The file is damaged; raised after the last readable frame.
        """
        pts = 0
        with media_errors(self.name, "the animation is damaged"), _opened(self.path) as image:
            count = int(getattr(image, "n_frames", 1))
            for index in range(count):
                image.seek(index)
                rgb = _over_white(image)
                duration = _duration_ms(image)
                if index >= start:
                    if size_hw is not None and size_hw != self.size_hw:
                        rgb = cv2.resize(rgb, size_hw[::-1], interpolation=cv2.INTER_AREA)
                    yield Frame(index, pts, pts / 1000, rgb, pts / 1000, duration)
                pts += duration
            if _ends_early(self.path):
                raise DistillError(
                    f"{self.name}: the animation is cut off: {count} frames could be read",
                    hint="copy or encode it again",
                )


def _opened(path: Path) -> Image.Image:
    file = BytesIO(_whole_part(read_file(path))) if _ends_early(path) else path
    return Image.open(file, formats=["WEBP", "PNG", "AVIF"])


def _ends_early(path: Path) -> bool:
    """Whether a WebP is shorter than it states; Pillow would read no frame of it."""
    head = read_head(path, 8)
    return head.startswith(b"RIFF") and int.from_bytes(head[4:8], "little") + 8 > path.stat().st_size + 1


def _whole_part(data: bytes) -> bytes:
    """A WebP up to its last complete chunk, with its size corrected."""
    at = end = 12
    while end <= len(data):
        at, size = end, int.from_bytes(data[end + 4 : end + 8], "little")
        end += 8 + size + size % 2
    return data[:4] + (at - 8).to_bytes(4, "little") + data[8:at]


def _canvas_wh(head: bytes) -> tuple[int, int] | None:
    """(width, height) in the header of a WebP or a PNG; None for AVIF, which is not decoded by opening it."""
    if head.startswith(b"RIFF"):
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    return (int.from_bytes(head[16:20]), int.from_bytes(head[20:24])) if head.startswith(b"\x89PNG") else None


def _duration_ms(image: Any) -> int:
    image.load()
    return max(1, round(image.info.get("duration") or _DEFAULT_MS))


def _over_white(image: Any) -> UInt8[ndarray, "h w 3"]:
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return np.array(Image.alpha_composite(white, rgba).convert("RGB"))
