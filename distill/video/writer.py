"""Write frames to a video file with their times; atomic."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from jaxtyping import Shaped, UInt8
from numpy import ndarray

from distill.errors import DistillError, UsageError
from distill.files import remove_if_possible
from distill.video.encoders import Encoding, choose_encoding
from distill.video.muxing import CONTAINERS, FORMATS, commit_file, set_tag, temporary_path, write_error, writing

_BT709 = 1
_LIMITED_RANGE = 1


class VideoWriter:
    """Video writer and context manager; the file gets its name only when it is complete.

    An exception inside the context removes the unfinished file. 4:2:0 chroma needs even sides: odd frames are padded
    by repeating the last row or column.

    Attributes:
        frames: Number of frames written.
    """

    def __init__(
        self,
        path: Path,
        size_hw: tuple[int, int],
        *,
        time_base: Fraction,
        rate: Fraction,
        encoding: Encoding | None = None,
        crf: int | None = None,
    ) -> None:
        """Open the file.

        Args:
            path: Output file; the suffix (`CONTAINERS`, or `PART_SUFFIX` for a segment) selects the container.
            size_hw: (height, width) of all frames.
            time_base: Seconds per unit of `pts` in `write`.
            rate: Frames per second, a hint for players and the rate control.
            encoding: Encoder and pixel format; None: H.264 with the encoder of this machine.
            crf: Constant quality of the default encoding; lower is better and larger.

        Raises:
            UsageError: The suffix is not one of a video container.
            DistillError: The file cannot be written.
        """
        if path.suffix.lower() not in FORMATS:
            raise UsageError(
                f"{path}: videos are written as {', '.join(CONTAINERS)}", hint="choose one of these suffixes"
            )
        self.path, self.size_hw, self.frames = path, size_hw, 0
        self._encoding = encoding or choose_encoding(crf=crf)
        self._time_base = time_base
        self._temporary = temporary_path(path)
        self._stack = contextlib.ExitStack()
        self._reformatter = VideoReformatter()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._container = self._stack.enter_context(writing(self._temporary))
            self._stream = self._add_stream(rate)
        except Exception as error:  # whatever PyAV raises
            self.abandon()
            raise write_error(path, error) from error

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def write(self, values: Shaped[ndarray, "h w *c"], pts: int, release: Callable[[], None] = lambda: None) -> None:
        """Append a frame.

        Args:
            values: RGB, or an array in the encoding's input format.
            pts: Presentation time in units of the time base; must increase.
            release: Called as soon as `values` may be overwritten.

        Raises:
            DistillError: The size differs from `size_hw`, or the disk is full.
        """
        if values.shape[:2] != self.size_hw:
            raise DistillError(
                f"{self.path}: a frame is {values.shape[1]}x{values.shape[0]} px, the video"
                f" {self.size_hw[1]}x{self.size_hw[0]} px",
                hint="give all frames the same size",
            )
        try:
            frame = self._as_yuv(values) if self._encoding.pixel_format == "yuv420p" else self._as_stored(values)
            release()
            frame.pts, frame.time_base = pts, self._time_base
            for packet in self._stream.encode(frame):
                self._container.mux_one(packet)
        except Exception as error:  # whatever PyAV raises
            raise write_error(self.path, error) from error
        self.frames += 1

    def close(self) -> None:
        """Finish the file, flush it to disk and rename it.

        Raises:
            DistillError: No frame was written, or the disk is full.
        """
        if not self.frames:
            self.abandon()
            raise DistillError(f"{self.path}: there are no frames to write", hint="check the input")
        try:
            self._container.mux(self._stream.encode(None))
            self._stack.close()
            commit_file(self._temporary, self.path)
        except Exception as error:
            self.abandon()
            raise write_error(self.path, error) from error

    def abandon(self) -> None:
        """Delete the unfinished file."""
        with contextlib.suppress(Exception):  # a container without a frame cannot be finished
            self._stack.close()
        remove_if_possible(self._temporary)

    def _as_yuv(self, rgb: UInt8[ndarray, "h w 3"]) -> Any:
        pad_hw = (rgb.shape[0] % 2, rgb.shape[1] % 2)
        if any(pad_hw):
            rgb = np.pad(rgb, ((0, pad_hw[0]), (0, pad_hw[1]), (0, 0)), mode="edge")
        # Players read untagged HD as BT.709, while swscale would write BT.601: colors would shift.
        # A view and one reformatter: 5 ms instead of 8 for 1920x1294.
        view = av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(rgb), format="rgb24")
        return self._reformatter.reformat(
            view, format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG, threads=1
        )

    def _as_stored(self, values: ndarray) -> Any:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(values), format=self._encoding.input_format)
        return (
            frame
            if self._encoding.input_format == self._encoding.pixel_format
            else frame.reformat(format=self._encoding.pixel_format)
        )

    def _add_stream(self, rate: Fraction) -> Any:
        encoding = self._encoding
        stream: Any = self._container.add_stream(
            encoding.encoder, rate=rate.limit_denominator(65535), options=dict(encoding.options)
        )
        height, width = self.size_hw
        context = stream.codec_context
        if encoding.pixel_format == "yuv420p":
            height, width = height + height % 2, width + width % 2
            context.colorspace = context.color_primaries = context.color_trc = _BT709
            context.color_range = _LIMITED_RANGE
        context.sample_aspect_ratio = Fraction(1)
        stream.width, stream.height, stream.pix_fmt = width, height, encoding.pixel_format
        set_tag(stream, context.codec.canonical_name, FORMATS[self.path.suffix.lower()])
        context.time_base = self._time_base
        context.thread_count = encoding.threads
        if encoding.encoder == "libx264":
            # Slice threads, PyAV's default, wait for each other: 22 ms for 834x2560 instead of 16 with frame threads.
            context.thread_type = "FRAME"
        return stream
