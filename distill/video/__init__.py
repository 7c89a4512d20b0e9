"""Read frames from video files, image sequences and cameras; write video files."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from distill.video.animated_image import AnimatedImage
from distill.video.camera import CameraReader, DropPolicy
from distill.video.decoders import Decoder
from distill.video.encoders import GRAY8, GRAY16, RGB8, Encoding, VideoCodec, choose_encoding
from distill.video.image_sequence import ImageSequence, is_sequence
from distill.video.media.addresses import check_address, is_live, safe_address
from distill.video.media.signatures import MediaKind, has_video_bytes, media_kind
from distill.video.muxing import CONTAINERS, PART_SUFFIX, Ending, join_videos
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
    "AnimatedImage",
    "CameraReader",
    "Decoder",
    "DropPolicy",
    "Encoding",
    "Ending",
    "Frame",
    "FrameSource",
    "ImageSequence",
    "VideoCodec",
    "VideoReader",
    "VideoWriter",
    "check_address",
    "choose_encoding",
    "has_video_bytes",
    "is_live",
    "is_sequence",
    "is_video",
    "join_videos",
    "open_video",
    "safe_address",
]


def open_video(
    address: str, *, rate: Fraction = Fraction(25), decoder: Decoder = Decoder.THREADS, **live: Any
) -> FrameSource:
    """Open a video file, an image sequence, a camera or a network stream.

    Args:
        address: File, pattern such as ``frames/%06d.png``, URL, or ``/dev/video0``.
        rate: Frames per second of an image sequence, and of a raw stream that states none.
        decoder: Decoder of a file.
        live: Arguments of `CameraReader`.

    Raises:
        DistillError: It cannot be read or reached.
    """
    check_address(address)
    if is_live(address):
        return CameraReader(address, **live)
    path = Path(address)
    if is_sequence(address) and not path.is_file():
        return ImageSequence(address, rate)
    if media_kind(path) is MediaKind.ANIMATION:
        return AnimatedImage(path)
    return VideoReader(path, decoder, rate=rate)
