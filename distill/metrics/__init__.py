"""Evaluation metrics: streaming, masked, in float64, with the formulas of the papers.

Every metric takes one image at a time (`update`, which returns the scores of that image) and returns the scores of all
images with `compute`, so no result depends on a batch size. Undefined scores (no image, no valid pixel) are NaN.
"""

from __future__ import annotations

from distill.metrics.baseline import BASELINE_TASKS, MeanBaseline
from distill.metrics.bootstrap import Difference, compare, intervals
from distill.metrics.depth import DepthMetrics
from distill.metrics.depth_alignment import Alignment, align_depth, can_align, default_alignment
from distill.metrics.instance import InstanceMetrics
from distill.metrics.normals import NormalsMetrics
from distill.metrics.referring import ReferringMetrics
from distill.metrics.semantic import SegmentationMetrics
from distill.metrics.temporal import TemporalMetrics

__all__ = [
    "BASELINE_TASKS",
    "Alignment",
    "DepthMetrics",
    "Difference",
    "InstanceMetrics",
    "MeanBaseline",
    "NormalsMetrics",
    "ReferringMetrics",
    "SegmentationMetrics",
    "TemporalMetrics",
    "align_depth",
    "can_align",
    "compare",
    "default_alignment",
    "intervals",
]
