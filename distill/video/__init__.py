"""Frames out of a video file, in order and as a person sees them, and frames back into one."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from distill.video.camera import CameraReader, DropPolicy, is_live
from distill.video.decoders import Decoder
from distill.video.encoders import GRAY8, GRAY16, RGB8, Encoding, VideoCodec, choose_encoding
from distill.video.image_sequence import ImageSequence, is_sequence
from distill.video.reader import SUFFIXES, VideoReader, is_video
from distill.video.source import Frame, FrameSource
from distill.video.writer import CONTAINERS, PART_SUFFIX, VideoWriter, join_videos

__all__ = [
    "CONTAINERS",
    "GRAY8",
    "GRAY16",
    "PART_SUFFIX",
    "RGB8",
    "SUFFIXES",
    "Decoder",
    "DropPolicy",
    "Encoding",
    "Frame",
    "ImageSequence",
    "CameraReader",
    "FrameSource",
    "VideoCodec",
    "VideoReader",
    "VideoWriter",
    "choose_encoding",
    "is_live",
    "is_sequence",
    "is_video",
    "join_videos",
    "open_video",
]


def open_video(
    address: str, *, rate: Fraction = Fraction(25), decoder: Decoder = Decoder.THREADS, **live: Any
) -> FrameSource:
    """What this word names.

    Args:
        address: A file, a pattern such as ``frames/%06d.png``, an address, or ``/dev/video0``.
        rate: Of numbered pictures.
        decoder: Of a file.
        live: For cameras, as `CameraReader` takes it.

    Raises:
        DistillError: It cannot be read or reached.
    """
    if is_live(address):
        return CameraReader(address, **live)
    if is_sequence(address) and not Path(address).is_file():
        return ImageSequence(address, rate)
    return VideoReader(Path(address), decoder)
