"""Where the frames of a video end up; any number of sinks at once."""

from __future__ import annotations

from distill.export.sinks.base import Sink, cannot_write, make_folder, write_file
from distill.export.sinks.coco_masks import MasksSink, decode_rle, encode_rle
from distill.export.sinks.maps import Ffv1Sink, PngSink
from distill.export.sinks.overlay_video import OverlaySink
from distill.export.sinks.point_cloud import PointsSink, encode_ply, unproject
from distill.export.sinks.statistics import ParquetSink, StatisticsSink, frame_statistics

__all__ = [
    "Ffv1Sink",
    "MasksSink",
    "OverlaySink",
    "ParquetSink",
    "PngSink",
    "PointsSink",
    "Sink",
    "StatisticsSink",
    "cannot_write",
    "decode_rle",
    "encode_ply",
    "encode_rle",
    "frame_statistics",
    "make_folder",
    "unproject",
    "write_file",
]
