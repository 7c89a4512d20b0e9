"""Frames out of a video file, in order and as a person sees them, and frames back into one."""

from __future__ import annotations

from distill.video.reader import SUFFIXES, Frame, VideoReader, is_video
from distill.video.writer import CONTAINERS, VideoWriter

__all__ = ["CONTAINERS", "SUFFIXES", "Frame", "VideoReader", "VideoWriter", "is_video"]
