"""Sinks: the kinds of results that are written for a video, several in one pass."""

from __future__ import annotations

from distill.export.sinks.base import Sink, make_folder, write_error, write_file
from distill.export.sinks.coco_masks import CocoMasksSink
from distill.export.sinks.maps import Ffv1MapsSink, PngMapsSink
from distill.export.sinks.overlay_video import OverlayVideoSink
from distill.export.sinks.point_cloud import PointCloudSink, encode_ply, unproject
from distill.export.sinks.statistics import ParquetSink, StatisticsSink, frame_statistics

__all__ = [
    "CocoMasksSink",
    "Ffv1MapsSink",
    "OverlayVideoSink",
    "ParquetSink",
    "PngMapsSink",
    "PointCloudSink",
    "Sink",
    "StatisticsSink",
    "encode_ply",
    "frame_statistics",
    "make_folder",
    "unproject",
    "write_error",
    "write_file",
]
