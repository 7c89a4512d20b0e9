"""Maps that do not flicker: each frame's answer weighed against the steadied one before, moved along with the picture.

Causal: only earlier frames are used. A pixel's history counts where the picture shows the same thing as where it came
from and where old and new value do not differ more than the flicker of this frame; elsewhere the new value stands, so
edges do not drag. After a cut everything begins anew.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from distill.export.inference.pipeline import SegmentEnd, StageTimer
from distill.export.runners import Outputs
from distill.spec import StudentSpec
from distill.tasks import BACKGROUND_INSTANCE, IGNORE_INSTANCE, DepthKind, Task
from distill.video.optical_flow import Motion, MotionTracker, warp_by_flow

_MEMORY_FRAMES = 12.0
"""Frames that are averaged at strength 1 where nothing moves."""
_DEPTH_GATE = (0.015, 0.12)
"""Least and most relative difference at which a pixel's history is given up; between them, `_GATE_MEDIANS` medians."""
_RELATIVE_GATE = (0.01, 0.06)
_ANGLE_GATE = (0.05, 0.4)
"""The same for normals, in radians."""
_GATE_MEDIANS = 3.5
_TREND = 0.15
"""Share of a jump of the whole picture's depth that is taken for a camera that drives, and expected again."""
_LOG_RANGE_M = (1e-3, 1e4)
_SCALE_DECAY = 0.02
"""Share by which a locked scale goes back to the student's own with every frame."""
_SCALE_LIMITS = (0.5, 2.0)
_MIN_PIXELS = 500
_IDS = ("ids", "tracks")
_SAME_INSTANCE = 0.3
"""Intersection over union, after motion, from which on an instance is the one from before."""
_FADE = 0.8
"""Evidence for a class that is left after one frame."""


@dataclass(frozen=True, slots=True)
class TemporalFilterConfig:
    """How much to steady.

    Attributes:
        strength: 0 not at all, 1 averages up to 12 frames where nothing moves.
        match_scale: For relative depth: keep scale and shift of the frames before.
    """

    strength: float = 0.5
    match_scale: bool = True


class TemporalFilter:
    """A stage between engine and sinks.

    Attributes:
        cuts: Indices of frames at which everything began anew.
    """

    def __init__(self, spec: StudentSpec, config: TemporalFilterConfig | None = None) -> None:
        self._spec, self._config = spec, config or TemporalFilterConfig()
        self._tracker = MotionTracker()
        self._state: dict[str, ndarray] = {}
        self._trend, self._last_track = 0.0, 0
        self._depth_kind = spec.depth.depth_kind if spec.depth else DepthKind.METRIC
        self.cuts: list[int] = []

    def process(self, items: Iterable[Any], timer: StageTimer) -> Generator[Any, None, None]:
        """The items again, steadied; a `SegmentEnd` takes along what a resume needs."""
        for item in items:
            with timer.stage("temporal_filter"):
                filtered: Any = item
                if isinstance(item, SegmentEnd):
                    item.state.update(self.state())
                else:
                    filtered = (item[0], self.apply(item[0].rgb, item[1], item[0].index))
            yield filtered
            del item, filtered

    def state(self) -> dict[str, ndarray]:
        """Everything that the next frame depends on."""
        before = {} if self._tracker.previous is None else {"gray": self._tracker.previous}
        return {**self._state, **before, "scalars": np.array([self._trend, self._last_track])}

    def restore(self, state: Mapping[str, ndarray]) -> None:
        """Go on from `state`."""
        self._state = {name: value for name, value in state.items() if name not in ("gray", "scalars")}
        self._tracker.previous = state.get("gray")
        trend, last_track = state.get("scalars", (0.0, 0))
        self._trend, self._last_track = float(trend), int(last_track)

    def apply(self, rgb: ndarray, outputs: Outputs, index: int = 0) -> Outputs:
        """This frame's outputs, steadied."""
        motion = self._tracker.update(rgb)
        if motion is not None and motion.cut:
            self.cuts.append(index)
        past = self._past(motion, rgb.shape[:2]) if motion is not None and not motion.cut else None
        filtered = dict(outputs)
        if Task.DEPTH in outputs:
            filtered[Task.DEPTH] = self._depth(outputs, past)
        if Task.NORMALS in outputs:
            filtered[Task.NORMALS] = self._normals(outputs, past)
        if Task.SEMANTIC in outputs:
            filtered |= self._semantic(outputs, past)
        if Task.INSTANCE in outputs:
            filtered[Task.INSTANCE] = self._instances(outputs[Task.INSTANCE], past)
        return filtered

    def _past(self, motion: Motion, size_hw: tuple[int, int]) -> dict[str, ndarray] | None:
        """The state, moved to where this frame shows it; and how far it can be trusted."""
        if any(value.shape[:2] != size_hw for value in self._state.values()):
            return None
        positions = motion.positions(size_hw)
        moved = {name: warp_by_flow(value, positions, ids=name in _IDS) for name, value in self._state.items()}
        return {**moved, "reliability": motion.reliability(size_hw)}

    def _depth(self, outputs: Outputs, past: Mapping[str, ndarray] | None) -> ndarray:
        metric = self._depth_kind is DepthKind.METRIC
        value = outputs[Task.DEPTH]
        # Depth flickers by percent, not by meters: it is averaged as a logarithm.
        now = np.log(np.clip(value, *_LOG_RANGE_M)) if metric else value.astype(np.float32)
        if past is None or "depth" not in past:
            self._state["depth"], self._state["depth_weight"] = now, outputs["depth_confidence"].copy()
            self._trend = 0.0
            return value
        old = past["depth"]
        np.copyto(old, now, where=~np.isfinite(old))  # a hole is filled as soon as there is a value
        if not metric and self._config.match_scale:
            now = _match_scale(now, old, past["reliability"], shift=self._depth_kind is not DepthKind.SCALE_INVARIANT)
        jump = 0.0
        if metric:
            old += np.float32(self._trend)
            jump = _median(now - old, past["reliability"])
            self._trend += _TREND * jump
        # A jump of the whole picture is flicker as well: it is averaged, but lets no history go.
        difference = np.abs(now - old - np.float32(jump))
        gate = _gate(difference, past["reliability"], _DEPTH_GATE if metric else _RELATIVE_GATE)
        mixed, weight = self._mix(now, old, outputs["depth_confidence"], past["depth_weight"], gate)
        self._state["depth"], self._state["depth_weight"] = mixed, weight
        return np.exp(mixed) if metric else np.clip(mixed, 0, 1)

    def _normals(self, outputs: Outputs, past: Mapping[str, ndarray] | None) -> ndarray:
        now = outputs[Task.NORMALS]
        if past is None or "normals" not in past:
            self._state["normals"], self._state["normals_weight"] = now, outputs["normals_confidence"].copy()
            return now
        old = past["normals"]
        # The chord is the angle, for angles that are small enough to be flicker.
        chord = np.sqrt(np.einsum("hwc,hwc->hw", now - old, now - old))
        gate = _gate(chord, past["reliability"], _ANGLE_GATE)
        mixed, weight = self._mix(now, old, outputs["normals_confidence"], past["normals_weight"], gate)
        mixed /= np.maximum(np.sqrt(np.einsum("hwc,hwc->hw", mixed, mixed)), 1e-6)[..., None]
        self._state["normals"], self._state["normals_weight"] = mixed, weight
        return mixed

    def _mix(
        self, now: ndarray, old: ndarray, confidence: ndarray, weight: ndarray, gate: ndarray
    ) -> tuple[ndarray, ndarray]:
        """(confidence-weighted running mean, its weight)."""
        kept = weight * gate
        sure = np.maximum(confidence, np.float32(0.05))
        share = sure / (kept + sure)
        mixed = old + (share if now.ndim == 2 else share[..., None]) * (now - old)
        most = np.float32(self._config.strength * _MEMORY_FRAMES)
        return mixed, np.minimum(kept + sure, np.maximum(most * sure, sure))

    def _semantic(self, outputs: Outputs, past: Mapping[str, ndarray] | None) -> Outputs:
        """A class gives way when the evidence against it outweighs what is left of that for it."""
        ids, sure = outputs[Task.SEMANTIC], outputs["semantic_confidence"].astype(np.float32)
        if past is None or "ids" not in past:
            self._state["ids"], self._state["evidence"] = ids, sure.copy()
            return {Task.SEMANTIC: ids, "semantic_confidence": sure}
        old = past["ids"]
        left = past["evidence"] * past["reliability"] * np.float32(_FADE)
        same = ids == old
        kept = ~same & (left > sure)
        evidence = np.where(same, left + sure, np.where(kept, left - sure, sure))
        self._state["evidence"] = np.minimum(evidence, np.float32(1 + self._config.strength))
        self._state["ids"] = np.where(kept, old, ids)
        return {
            Task.SEMANTIC: self._state["ids"],
            "semantic_confidence": np.where(kept, np.minimum(sure, 1 - sure), sure),
        }

    def _instances(self, ids: ndarray, past: Mapping[str, ndarray] | None) -> ndarray:
        """The instances under the numbers that they had before: uint16, never given twice between two cuts."""
        if past is None or "tracks" not in past:
            self._last_track = 0
        old = past["tracks"] if past is not None and "tracks" in past else np.zeros(ids.shape, np.uint16)
        names = np.zeros(256, np.uint16)
        for number, track in _matches(ids, old):
            names[number] = track
        for number in np.unique(ids):
            if number != BACKGROUND_INSTANCE and not names[number]:
                self._last_track = self._last_track % (IGNORE_INSTANCE - 1) + 1
                names[number] = self._last_track
        self._state["tracks"] = names[ids]
        return self._state["tracks"]


def _matches(ids: ndarray, old: ndarray) -> list[tuple[int, int]]:
    """(instance, earlier track) pairs that overlap most, each used once; (0, 0) among them."""
    both = (ids > 0) & (old > 0)
    pairs, overlap = np.unique(np.stack([ids[both], old[both]]), axis=1, return_counts=True)
    areas, old_areas = np.bincount(ids.reshape(-1), minlength=256), np.bincount(old.reshape(-1), minlength=65536)
    found: list[tuple[int, int]] = [(0, 0)]
    taken: set[int] = set()
    union = areas[pairs[0]] + old_areas[pairs[1]] - overlap
    for place in np.argsort(-overlap / union, kind="stable"):
        number, track = int(pairs[0, place]), int(pairs[1, place])
        if overlap[place] < _SAME_INSTANCE * union[place]:
            break
        if track not in taken and number not in {pair[0] for pair in found}:
            taken.add(track)
            found.append((number, track))
    return found


def _gate(
    difference: Float32[ndarray, "h w"], reliability: Float32[ndarray, "h w"], limits: tuple[float, float]
) -> Float32[ndarray, "h w"]:
    """The share of its history that each pixel keeps: flicker is what most trusted pixels do, more is change."""
    width = np.float32(np.clip(_GATE_MEDIANS * _median(difference, reliability), *limits))
    # Flat up to about the width and steep behind it: flicker keeps its history, an edge loses it at once.
    kept: Float32[ndarray, "h w"] = reliability * np.exp(-np.square(np.square(difference / width)))
    return np.nan_to_num(kept, copy=False)


def _median(values: Float32[ndarray, "h w"], reliability: Float32[ndarray, "h w"]) -> float:
    """Of the trusted pixels, every fourth of them; 0 without any."""
    sample = values[::4, ::4][reliability[::4, ::4] > 0.5]
    sample = sample[np.isfinite(sample)]
    return float(np.median(sample)) if sample.size else 0.0


def _match_scale(now: ndarray, old: ndarray, reliability: ndarray, *, shift: bool) -> ndarray:
    """The new values in the scale (and shift) of the old ones, where both see the same; robust least squares."""
    chosen = reliability[::4, ::4] > 0.5
    x, y = now[::4, ::4][chosen].astype(np.float64), old[::4, ::4][chosen].astype(np.float64)
    if x.size < _MIN_PIXELS:
        return now
    scale, offset = 1.0, 0.0
    for _ in range(3):
        error = np.abs(scale * x + offset - y)
        weight = 1.0 / np.maximum(error, max(float(np.median(error)), 1e-4))
        if shift:
            mean_x, mean_y = np.average(x, weights=weight), np.average(y, weights=weight)
            spread = float(np.sum(weight * (x - mean_x) ** 2))
            if spread < 1e-9 * x.size:
                return now
            scale = float(np.sum(weight * (x - mean_x) * (y - mean_y))) / spread
            offset = mean_y - scale * mean_x
        else:
            scale = float(np.sum(weight * x * y)) / max(float(np.sum(weight * x * x)), 1e-12)
    if not _SCALE_LIMITS[0] < scale < _SCALE_LIMITS[1]:
        return now
    scale, offset = 1 + (scale - 1) * (1 - _SCALE_DECAY), offset * (1 - _SCALE_DECAY)
    return (now * np.float32(scale) + np.float32(offset)).astype(np.float32)
