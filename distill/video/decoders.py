"""Who decodes a video file: FFmpeg on one core or on all, or NVIDIA's decoder (NVDEC) through FFmpeg.

Which is fastest depends on the file as much as on the machine: GPUs lose on short and small clips, and know few codecs.
So it is measured, on the first frames of the very file. All go through the FFmpeg that PyAV brings: nothing else has to
be installed.
"""

from __future__ import annotations

import itertools
import time
from enum import StrEnum
from pathlib import Path
from typing import Any

import av

from distill.errors import DistillError, UsageError

_PROBE_FRAMES = 48
_EARNED_FRAMES = 300
"""Shorter videos are over before a probe has paid."""
_WORTH = 0.85
"""A decoder that is not the usual one must take less than this share of its time."""


class Decoder(StrEnum):
    """Who decodes."""

    AUTO = "auto"
    """Whoever is fastest on the first frames."""
    THREADS = "threads"
    """FFmpeg on all cores, frames and slices side by side."""
    SINGLE = "single"
    """FFmpeg on one core: the fewest CPU seconds, and no frame of delay."""
    NVDEC = "nvdec"
    """NVIDIA's decoder; frames are brought to the CPU, where their colors are converted as always."""


def open_with(path: Path, decoder: Decoder) -> Any:
    """The container, for this decoder.

    Raises:
        UsageError: NVDEC was asked for and is not there, or does not know the codec.
        av.FFmpegError: FFmpeg cannot read the file.
    """
    if decoder is not Decoder.NVDEC:
        return av.open(str(path))
    from av.codec.hwaccel import HWAccel

    try:
        return av.open(str(path), hwaccel=HWAccel(device_type="cuda", allow_software_fallback=False))
    except Exception as error:  # PyAV raises RuntimeError for codecs, and whatever the driver answered for the rest
        av.open(str(path)).close()  # what is no video is said as such
        raise UsageError(
            f"{path}: NVDEC cannot decode it here: {_reason(error)}", hint="use --decoder auto or threads"
        ) from error


def use_threads(stream: Any, decoder: Decoder) -> None:
    """Tell a stream how many cores it may use."""
    # Frame threads as well as slice threads: 178 instead of 112 frames/s on 1080p H.264 with two cores.
    stream.thread_type = "NONE" if decoder is Decoder.SINGLE else "AUTO"
    if decoder is Decoder.SINGLE:
        stream.codec_context.thread_count = 1


def choose_decoder(path: Path, num_frames: int | None) -> Decoder:
    """The fastest decoder of this file on this machine, by its first frames; `THREADS` unless another clearly wins.

    Args:
        path: A video file.
        num_frames: How many it announces.
    """
    if num_frames is not None and num_frames < _EARNED_FRAMES:
        return Decoder.THREADS
    usual = _seconds(path, Decoder.THREADS)
    others = [Decoder.NVDEC] if _has_nvdec() else []
    taken = {decoder: _seconds(path, decoder) for decoder in others}
    best = min(taken, key=lambda decoder: taken[decoder], default=Decoder.THREADS)
    return best if best in taken and taken[best] < _WORTH * usual else Decoder.THREADS


def _has_nvdec() -> bool:
    """Whether an NVIDIA driver answers; FFmpeg's own list only says what it was built with."""
    import ctypes

    try:
        return bool(ctypes.CDLL("libnvcuvid.so.1"))
    except OSError:
        return False


def _seconds(path: Path, decoder: Decoder) -> float:
    """Of decoding the first frames to the CPU, without the first, which opens the device; endless if it cannot."""
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
    except (DistillError, av.FFmpegError, RuntimeError, ValueError, OSError):
        return float("inf")


def _reason(error: Exception) -> str:
    text = (getattr(error, "strerror", None) or str(error)).strip()
    return text[:1].lower() + text[1:] if text else type(error).__name__
