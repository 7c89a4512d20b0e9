"""Read frames from video files, image sequences and cameras; write video files."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from distill.video.camera import CameraReader, DropPolicy, is_live
from distill.video.decoders import Decoder
from distill.video.encoders import GRAY8, GRAY16, RGB8, Encoding, VideoCodec, choose_encoding
from distill.video.image_sequence import ImageSequence, is_sequence
from distill.video.muxing import CONTAINERS, PART_SUFFIX, join_videos
from distill.video.reader import SUFFIXES, VideoReader, is_video
from distill.video.source import Frame, FrameSource
from distill.video.writer import VideoWriter

__all__ = [
    "CONTAINERS",
    "GRAY8",
    "GRAY16",
    "PART_SUFFIX",
    "RGB8",
    "SUFFIXES",
    "CameraReader",
    "Decoder",
    "DropPolicy",
    "Encoding",
    "Frame",
    "FrameSource",
    "ImageSequence",
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
    """Open a video file, an image sequence, a camera or a network stream.

    Args:
        address: File, pattern such as ``frames/%06d.png``, URL, or ``/dev/video0``.
        rate: Frames per second of an image sequence.
        decoder: Decoder of a file.
        live: Arguments of `CameraReader`.

    Raises:
        DistillError: It cannot be read or reached.
    """
    if is_live(address):
        return CameraReader(address, **live)
    if is_sequence(address) and not Path(address).is_file():
        return ImageSequence(address, rate)
    return VideoReader(Path(address), decoder)
