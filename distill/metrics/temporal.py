"""How much maps flicker: what changes from frame to frame beyond the motion of the picture.

Every frame is compared with the one before, moved along with the picture (dense flow from the pictures, never from the
maps); pixels where the pictures do not agree (occlusions, cuts) are left out. Where the truth is given, its own change
is subtracted first: what remains is the student's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8
from numpy import ndarray

from distill.spec import StudentSpec
from distill.tasks import DepthKind, Task
from distill.video.optical_flow import Motion, MotionTracker, warp_by_flow

_TRUSTED = 0.5
_WIDTH_PX = 320
"""Maps are compared at this width."""
Maps = Mapping[str, Shaped[ndarray, "h w *c"]]


class TemporalMetrics:
    """Flicker of one video; frames come in order.

    Scores: ``depth_change_percent`` (mean absolute change of depth along the motion, relative; for relative depth kinds, of
    the range), ``depth_scale_jitter_percent`` (standard deviation over time of the frame-wise median change),
    ``normals_change_deg`` (mean angle), ``semantic_change_percent`` (pixels that change their class), ``frames``,
    ``cuts``. What a student does not answer is left out.
    """

    def __init__(self, spec: StudentSpec) -> None:
        self._metric = spec.depth is not None and spec.depth.depth_kind is DepthKind.METRIC
        self._tracker = MotionTracker()
        self._before: dict[str, ndarray] = {}
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._jumps: list[float] = []
        self._frames = self._cuts = 0

    def update(self, rgb: UInt8[ndarray, "h w 3"], maps: Maps, truth: Maps | None = None) -> dict[str, float]:
        """The scores of this frame against the one before; empty for the first, and after a cut.

        Args:
            rgb: The frame.
            maps: ``depth``, ``normals``, ``semantic`` of it.
            truth: The same, as they really are; invalid depths are NaN.
        """
        self._frames += 1
        motion = self._tracker.update(rgb)
        now = {**self._small(maps), **{f"true_{name}": value for name, value in self._small(truth or {}).items()}}
        before, self._before = self._before, now
        if motion is None or motion.cut:
            self._cuts += motion is not None
            return {}
        scores: dict[str, float] = {}
        for name in (Task.DEPTH, Task.NORMALS, Task.SEMANTIC):
            if name in now and name in before:
                scores |= self._compare(name, now, before, motion)
        for score, value in scores.items():
            if math.isfinite(value):
                self._sums[score] = self._sums.get(score, 0.0) + value
                self._counts[score] = self._counts.get(score, 0) + 1
        return scores

    def compute(self) -> dict[str, float]:
        """The mean over frames of every score."""
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        if self._jumps:
            means["depth_scale_jitter_percent"] = 100.0 * float(np.std(self._jumps))
        return {**means, "frames": self._frames, "cuts": self._cuts}

    def _compare(self, name: str, now: Maps, before: Maps, motion: Motion) -> dict[str, float]:
        size_hw = (now[name].shape[0], now[name].shape[1])
        positions, trusted = motion.positions(size_hw), motion.reliability(size_hw) > _TRUSTED
        moved = warp_by_flow(before[name], positions, ids=name == Task.SEMANTIC)
        true_name = f"true_{name}"
        if true_name in now and true_name in before:
            true_moved = warp_by_flow(before[true_name], positions, ids=name == Task.SEMANTIC)
            return _beyond_truth(name, now[name], moved, now[true_name], true_moved, trusted, self._jumps)
        if name == Task.SEMANTIC:
            return {"semantic_change_percent": _percent_of(now[name] != moved, trusted)}
        if name == Task.NORMALS:
            return {"normals_change_deg": _mean(_angle_deg(now[name], moved), trusted)}
        return _depth_change(now[name] - moved, trusted, self._jumps)

    def _small(self, maps: Maps) -> dict[str, ndarray]:
        small: dict[str, ndarray] = {}
        for name in (Task.DEPTH, Task.NORMALS, Task.SEMANTIC):
            if name in maps:
                value = _shrink(maps[name])
                small[str(name)] = np.log(np.clip(value, 1e-3, 1e4)) if name == Task.DEPTH and self._metric else value
        return small


def _depth_change(change: ndarray, trusted: ndarray, jumps: list[float]) -> dict[str, float]:
    chosen = change[trusted & np.isfinite(change)]
    if not chosen.size:
        return {"depth_change_percent": math.nan}
    jumps.append(float(np.median(chosen)))
    return {"depth_change_percent": 100.0 * float(np.abs(chosen).mean())}


def _beyond_truth(
    name: str,
    now: ndarray,
    moved: ndarray,
    true_now: ndarray,
    true_moved: ndarray,
    trusted: ndarray,
    jumps: list[float],
) -> dict[str, float]:
    """The same scores, where the truth itself says what changed."""
    if name == Task.SEMANTIC:
        return {"semantic_change_percent": _percent_of(now != moved, trusted & (true_now == true_moved))}
    if name == Task.NORMALS:
        own, true = _angle_deg(now, moved), _angle_deg(true_now, true_moved)
        return {"normals_change_deg": _mean(np.abs(own - true), trusted)}
    return _depth_change((now - moved) - (true_now - true_moved), trusted, jumps)


def _shrink(value: ndarray) -> ndarray:
    height, width = value.shape[:2]
    if width <= _WIDTH_PX:
        return value
    size_wh = (_WIDTH_PX, max(1, round(height * _WIDTH_PX / width)))
    # Every n-th pixel, not a mean: averaging would hide the flicker of single pixels.
    return cv2.resize(value, size_wh, interpolation=cv2.INTER_NEAREST)


def _angle_deg(a: ndarray, b: ndarray) -> ndarray:
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    cosine = np.einsum("hwc,hwc->hw", a, b) / np.maximum(lengths, 1e-6)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def _mean(values: ndarray, chosen: ndarray) -> float:
    found = values[chosen & np.isfinite(values)]
    return float(found.mean()) if found.size else math.nan


def _percent_of(values: ndarray, chosen: ndarray) -> float:
    return 100.0 * float(values[chosen].mean()) if chosen.any() else math.nan
