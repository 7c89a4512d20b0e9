"""Encoder choice: hardware if it passes a probe, else software.

No encoding uses B-frames, so segments can be joined packet by packet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache
from typing import cast

import av
import numpy as np

from distill.errors import DistillError


class VideoCodec(StrEnum):
    """Codec of an overlay video."""

    H264 = "h264"
    """Plays everywhere."""
    HEVC = "hevc"
    """Half the size, slower; not in every browser."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """Encoder with its options.

    Attributes:
        encoder: Name of the encoder in FFmpeg.
        pixel_format: Pixel format in the file.
        input_format: Pixel format of the input arrays; the same as `pixel_format` for lossless maps.
        options: Options of the encoder.
        threads: Number of threads; 0: chosen by the encoder.
    """

    encoder: str
    pixel_format: str = "yuv420p"
    input_format: str = "rgb24"
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    threads: int = 0


GRAY16 = Encoding("ffv1", "gray16le", "gray16le", {"level": "3", "slices": "4", "g": "1", "slicecrc": "1"}, 4)
"""FFV1: lossless, intra-only, with a checksum per slice."""
GRAY8 = Encoding("ffv1", "gray", "gray", GRAY16.options, 4)
RGB8 = Encoding("ffv1", "bgr0", "rgb24", GRAY16.options, 4)

_HARDWARE = {VideoCodec.H264: "h264_nvenc", VideoCodec.HEVC: "hevc_nvenc"}
_SOFTWARE = {VideoCodec.H264: "libx264", VideoCodec.HEVC: "libx265"}
_QUIET = {"libx265": {"x265-params": "log-level=none"}}
"""Options of encoders that print on the terminal by themselves."""
_CRF = {VideoCodec.H264: 20, VideoCodec.HEVC: 24}
"""Constant quality at which captions stay sharp; visually about equal for both codecs."""


def choose_encoding(codec: VideoCodec = VideoCodec.H264, *, crf: int | None = None) -> Encoding:
    """Encoding for a codec on this machine.

    Raises:
        DistillError: No encoder is available.
    """
    quality = str(_CRF[codec] if crf is None else crf)
    if encoder_works(_HARDWARE[codec]):
        return Encoding(_HARDWARE[codec], options={"rc": "vbr", "cq": quality, "preset": "p4", "bf": "0"})
    name = _SOFTWARE[codec]
    if not encoder_works(name):
        raise DistillError(f"this FFmpeg has no encoder for {codec}", hint="choose --codec h264")
    if codec is VideoCodec.H264:
        # Without B-frames 20 instead of 28 ms for a canvas of 834x2560, for a tenth more bytes.
        return Encoding(name, options={"crf": quality, "preset": "veryfast", "bf": "0"})
    return Encoding(name, options={"crf": quality, "preset": "superfast", "x265-params": "bframes=0:log-level=none"})


@lru_cache(maxsize=16)
def encoder_works(name: str) -> bool:
    """Whether an encoder accepts a frame; the library may be present without its driver."""
    if name not in av.codecs_available:
        return False
    try:
        context = cast("av.VideoCodecContext", av.CodecContext.create(name, "w"))
        context.width, context.height, context.pix_fmt = 256, 256, "yuv420p"
        context.time_base = Fraction(1, 25)
        context.options = dict(_QUIET.get(name, {}))
        black = av.VideoFrame.from_ndarray(np.zeros((256, 256, 3), np.uint8), format="rgb24")
        context.encode(black.reformat(format="yuv420p"))
    except Exception:  # whatever PyAV or a driver raises
        return False
    return True
