"""Temporal consistency: change of maps between frames beyond the motion of the video.

Every map is compared with the previous one, moved along the dense optical flow of the images; pixels where the images
do not agree (occlusions, cuts) are left out. Where the truth is given, its change is subtracted first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8
from numpy import ndarray

from distill.metrics.base import TemporalMetric, temporal_metrics
from distill.spec import StudentSpec
from distill.tasks import DepthKind, Task
from distill.video.optical_flow import Motion, MotionTracker, warp_by_flow

_TRUSTED = 0.5
_WIDTH_PX = 320
"""Maps are compared at this width."""
Maps = Mapping[str, Shaped[ndarray, "h w *c"]]


class TemporalMetrics:
    """Temporal consistency of one video; frames are added in order.

    Scores: ``depth_change_percent`` (mean absolute change of depth along the motion, relative; of the range
    where depth is relative), ``depth_scale_jitter_percent`` (standard deviation over time of the frame-wise median),
    ``normals_change_deg`` (mean angle), ``semantic_change_percent`` (pixels that change their class), ``frames``,
    ``cuts``. Tasks that the student lacks are left out.
    """

    def __init__(self, spec: StudentSpec) -> None:
        self._metric_depth = spec.depth is not None and spec.depth.depth_kind is DepthKind.METRIC
        self._metrics = temporal_metrics()
        self._tracker = MotionTracker()
        self._before: dict[str, ndarray] = {}
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._jumps: dict[Task, list[float]] = {}
        self._frames = self._cuts = 0

    def update(self, rgb: UInt8[ndarray, "h w 3"], maps: Maps, truth: Maps | None = None) -> dict[str, float]:
        """Scores of this frame against the previous one; empty for the first frame and after a cut.

        Args:
            rgb: The frame.
            maps: ``depth``, ``normals``, ``semantic`` of it.
            truth: True maps; invalid depths are NaN.
        """
        self._frames += 1
        motion = self._tracker.update(rgb)
        now = {**self._small(maps), **{f"true_{name}": value for name, value in self._small(truth or {}).items()}}
        before, self._before = self._before, now
        if motion is None or motion.cut:
            self._cuts += motion is not None
            return {}
        scores: dict[str, float] = {}
        for task, metric in self._metrics.items():
            if task in now and task in before:
                scores |= {metric.key: self._compare(task, metric, now, before, motion)}
        for score, value in scores.items():
            if math.isfinite(value):
                self._sums[score] = self._sums.get(score, 0.0) + value
                self._counts[score] = self._counts.get(score, 0) + 1
        return scores

    def compute(self) -> dict[str, float]:
        """Mean over frames of every score."""
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        for task, jumps in self._jumps.items():
            means[self._metrics[task].jitter_key] = 100.0 * float(np.std(jumps))
        return {**means, "frames": self._frames, "cuts": self._cuts}

    def _compare(self, task: Task, metric: TemporalMetric, now: Maps, before: Maps, motion: Motion) -> float:
        """Scaled mean absolute change of the trusted pixels; NaN without any."""
        size_hw = (now[task].shape[0], now[task].shape[1])
        positions, trusted = motion.positions(size_hw), motion.reliability(size_hw) > _TRUSTED
        change = metric.change(now[task], warp_by_flow(before[task], positions, ids=metric.is_ids))
        true = f"true_{task}"
        if true in now and true in before:
            true_change = metric.change(now[true], warp_by_flow(before[true], positions, ids=metric.is_ids))
            change = metric.beyond(change, true_change)
        chosen = change[trusted & np.isfinite(change)]
        if not chosen.size:
            return math.nan
        if metric.jitter_key:
            self._jumps.setdefault(task, []).append(float(np.median(chosen)))
        return metric.scale * float(np.abs(chosen).mean())

    def _small(self, maps: Maps) -> dict[str, ndarray]:
        return {
            str(task): metric.prepare(_shrink(maps[task]), self._metric_depth)
            for task, metric in self._metrics.items()
            if task in maps
        }


def _shrink(value: ndarray) -> ndarray:
    height, width = value.shape[:2]
    if width <= _WIDTH_PX:
        return value
    size_wh = (_WIDTH_PX, max(1, round(height * _WIDTH_PX / width)))
    # Every n-th pixel, not a mean: averaging would hide the flicker of single pixels.
    return cv2.resize(value, size_wh, interpolation=cv2.INTER_NEAREST)
