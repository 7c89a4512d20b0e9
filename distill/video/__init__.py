"""Frames out of a video file, in order and as a person sees them, and frames back into one."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from distill.video.camera import Drop, LiveReader, is_live
from distill.video.decoders import Decoder
from distill.video.encoders import GRAY8, GRAY16, RGB8, Encoding, VideoCodec, choose_encoding
from distill.video.image_sequence import ImageSequence, is_sequence
from distill.video.reader import SUFFIXES, VideoReader, is_video
from distill.video.source import Frame, Source
from distill.video.writer import CONTAINERS, PART_SUFFIX, VideoWriter, join_videos

__all__ = [
    "CONTAINERS",
    "GRAY8",
    "GRAY16",
    "PART_SUFFIX",
    "RGB8",
    "SUFFIXES",
    "Decoder",
    "Drop",
    "Encoding",
    "Frame",
    "ImageSequence",
    "LiveReader",
    "Source",
    "VideoCodec",
    "VideoReader",
    "VideoWriter",
    "choose_encoding",
    "is_live",
    "is_sequence",
    "is_video",
    "join_videos",
    "open_source",
]


def open_source(word: str, *, rate: Fraction = Fraction(25), decoder: Decoder = Decoder.THREADS, **live: Any) -> Source:
    """What this word names.

    Args:
        word: A file, a pattern such as ``frames/%06d.png``, an address, or ``/dev/video0``.
        rate: Of numbered pictures.
        decoder: Of a file.
        live: For cameras, as `LiveReader` takes it.

    Raises:
        DistillError: It cannot be read or reached.
    """
    if is_live(word):
        return LiveReader(word, **live)
    if is_sequence(word) and not Path(word).is_file():
        return ImageSequence(word, rate)
    return VideoReader(Path(word), decoder)
