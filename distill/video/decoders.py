"""Decoder choice: FFmpeg on one core or all cores, or NVIDIA's decoder (NVDEC) through FFmpeg.

The fastest one depends on the file and the machine (GPUs lose on short and small clips and support few codecs), so it
is measured on the first frames of the file. All use the FFmpeg inside PyAV.
"""

from __future__ import annotations

import itertools
import time
from enum import StrEnum
from pathlib import Path
from typing import Any

from distill.errors import UsageError
from distill.video.media.opening import open_input, reason

_PROBE_FRAMES = 48
_EARNED_FRAMES = 300
"""A probe does not pay off for shorter videos."""
_WORTH = 0.85
"""Another decoder is chosen if it takes less than this fraction of the time of `THREADS`."""


class Decoder(StrEnum):
    """Decoder of a video file."""

    AUTO = "auto"
    """The fastest one on the first frames."""
    THREADS = "threads"
    """FFmpeg on all cores, with frame and slice threads."""
    SINGLE = "single"
    """FFmpeg on one core: least CPU time, no delay."""
    NVDEC = "nvdec"
    """NVIDIA's decoder; frames are copied to the CPU for color conversion."""


def open_with(path: Path, decoder: Decoder) -> Any:
    """Open a container for a decoder.

    Raises:
        UsageError: NVDEC is missing or does not support the codec.
        av.FFmpegError: FFmpeg cannot read the file.
    """
    if decoder is not Decoder.NVDEC:
        return open_input(path)
    from av.codec.hwaccel import HWAccel

    try:
        return open_input(path, hwaccel=HWAccel(device_type="cuda", allow_software_fallback=False))
    except Exception as error:  # PyAV raises RuntimeError for codecs and other types for driver errors
        open_input(path).close()  # raises for a file that is not a video
        raise UsageError(
            f"{path}: NVDEC cannot decode it here: {reason(error)}", hint="use --decoder auto or threads"
        ) from error


def use_threads(stream: Any, decoder: Decoder) -> None:
    """Set the threads of a stream."""
    # Frame and slice threads: 178 instead of 112 frames/s on 1080p H.264 with two cores.
    stream.thread_type = "NONE" if decoder is Decoder.SINGLE else "AUTO"
    if decoder is Decoder.SINGLE:
        stream.codec_context.thread_count = 1


def choose_decoder(path: Path, num_frames: int | None) -> Decoder:
    """Fastest decoder for the first frames of a file; `THREADS` unless another one is clearly faster.

    Args:
        path: A video file.
        num_frames: Frame count stated by the container.
    """
    if num_frames is not None and num_frames < _EARNED_FRAMES:
        return Decoder.THREADS
    usual = _seconds(path, Decoder.THREADS)
    others = [Decoder.NVDEC] if _has_nvdec() else []
    taken = {decoder: _seconds(path, decoder) for decoder in others}
    best = min(taken, key=lambda decoder: taken[decoder], default=Decoder.THREADS)
    return best if best in taken and taken[best] < _WORTH * usual else Decoder.THREADS


def _has_nvdec() -> bool:
    """Whether NVIDIA's decoder library loads; FFmpeg's list only shows its build options."""
    import ctypes

    try:
        return bool(ctypes.CDLL("libnvcuvid.so.1"))
    except OSError:
        return False


def _seconds(path: Path, decoder: Decoder) -> float:
    """Seconds to decode the first frames, without the very first, which opens the device; inf on failure."""
    try:
        with open_with(path, decoder) as container:
            stream = container.streams.best("video")
            use_threads(stream, decoder)
            frames = container.decode(stream)
            next(frames, None)
            started = time.perf_counter()
            for frame in itertools.islice(frames, _PROBE_FRAMES):
                frame.to_ndarray()
            return time.perf_counter() - started
    except Exception:  # whatever PyAV or the driver raises
        return float("inf")
