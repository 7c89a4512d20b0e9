"""Frames out of a video file, in order and as a person sees them, and frames back into one."""

from __future__ import annotations

from distill.video.codecs import GRAY8, GRAY16, RGB8, Encoding, VideoCodec, choose_encoding
from distill.video.decoders import Decoder
from distill.video.frames import Frame, Source
from distill.video.live import Drop, LiveReader, is_live
from distill.video.reader import SUFFIXES, VideoReader, is_video
from distill.video.sequence import ImageSequence, is_sequence
from distill.video.sources import open_source
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
