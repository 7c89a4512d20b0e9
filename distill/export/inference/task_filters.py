"""Temporal filters of single tasks: weighted averages with the past frame's maps, moved by the optical flow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from distill.export.runners import Outputs
from distill.tasks import BACKGROUND_INSTANCE, IGNORE_INSTANCE, DepthKind, Task

_MEMORY_FRAMES = 12.0
"""Frames that are averaged at strength 1 where nothing moves."""
_DEPTH_GATE = (0.015, 0.12)
"""Limits of the relative difference at which the past of a pixel is dropped; between them, `_GATE_MEDIANS` medians."""
_RELATIVE_GATE = (0.01, 0.06)
_ANGLE_GATE = (0.05, 0.4)
"""The same for normals, in radians."""
_GATE_MEDIANS = 3.5
_TREND = 0.15
"""Part of a jump of the whole depth map that counts as camera motion and is expected again."""
_LOG_RANGE_M = (1e-3, 1e4)
_SCALE_DECAY = 0.02
"""Part of the scale correction that is undone in every frame."""
_SCALE_LIMITS = (0.5, 2.0)
_MIN_PIXELS = 500
_SAME_INSTANCE = 0.3
"""Minimal intersection over union, after motion, of the same instance in two frames."""
_FADE = 0.8
"""Part of the evidence for a class that remains after one frame."""

Past = Mapping[str, ndarray] | None
"""`FilterState.arrays` moved to the current frame, and their ``reliability``; None after a cut."""


@dataclass
class FilterState:
    """Memory of the filters of one video.

    Attributes:
        strength: 0: no smoothing; 1: averages up to 12 frames where nothing moves.
        match_scale: Relative depth: match scale and shift of the past frames.
        depth_kind: Of the depth output.
        arrays: Maps of the past frame by name; those in `ID_MAPS` hold ids.
        trend: Expected change of log depth per frame.
        last_track: Number given to the last new instance.
    """

    strength: float
    match_scale: bool
    depth_kind: DepthKind
    arrays: dict[str, ndarray] = field(default_factory=dict)
    trend: float = 0.0
    last_track: int = 0


ID_MAPS = ("ids", "tracks")


def filter_depth(outputs: Outputs, state: FilterState, past: Past) -> Outputs:
    """Average of depth, as a logarithm if metric: depth flickers by percent, not by meters."""
    metric = state.depth_kind is DepthKind.METRIC
    value, arrays = outputs[Task.DEPTH], state.arrays
    now = np.log(np.clip(value, *_LOG_RANGE_M)) if metric else value.astype(np.float32)
    if past is None or "depth" not in past:
        arrays["depth"], arrays["depth_weight"] = now, outputs["depth_confidence"].copy()
        state.trend = 0.0
        return {Task.DEPTH: value}
    old = past["depth"]
    np.copyto(old, now, where=~np.isfinite(old))  # a hole is filled as soon as there is a value
    if not metric and state.match_scale:
        now = _match_scale(now, old, past["reliability"], shift=state.depth_kind is not DepthKind.SCALE_INVARIANT)
    jump = 0.0
    if metric:
        old += np.float32(state.trend)
        jump = _median(now - old, past["reliability"])
        state.trend += _TREND * jump
    # A jump of the whole map is flicker too: it is averaged, but does not drop the past of any pixel.
    difference = np.abs(now - old - np.float32(jump))
    gate = _gate(difference, past["reliability"], _DEPTH_GATE if metric else _RELATIVE_GATE)
    mixed, weight = _mix(now, old, outputs["depth_confidence"], past["depth_weight"] * gate, state.strength)
    arrays["depth"], arrays["depth_weight"] = mixed, weight
    return {Task.DEPTH: np.exp(mixed) if metric else np.clip(mixed, 0, 1)}


def filter_normals(outputs: Outputs, state: FilterState, past: Past) -> Outputs:
    """Average of unit vectors."""
    now, arrays = outputs[Task.NORMALS], state.arrays
    if past is None or "normals" not in past:
        arrays["normals"], arrays["normals_weight"] = now, outputs["normals_confidence"].copy()
        return {Task.NORMALS: now}
    old = past["normals"]
    # The chord equals the angle, for angles as small as flicker.
    chord = np.sqrt(np.einsum("hwc,hwc->hw", now - old, now - old))
    gate = _gate(chord, past["reliability"], _ANGLE_GATE)
    mixed, weight = _mix(now, old, outputs["normals_confidence"], past["normals_weight"] * gate, state.strength)
    mixed /= np.maximum(np.sqrt(np.einsum("hwc,hwc->hw", mixed, mixed)), 1e-6)[..., None]
    arrays["normals"], arrays["normals_weight"] = mixed, weight
    return {Task.NORMALS: mixed}


def filter_semantic(outputs: Outputs, state: FilterState, past: Past) -> Outputs:
    """A class changes when the evidence against it exceeds the remaining evidence for it."""
    ids, sure = outputs[Task.SEMANTIC], outputs["semantic_confidence"].astype(np.float32)
    if past is None or "ids" not in past:
        state.arrays["ids"], state.arrays["evidence"] = ids, sure.copy()
        return {Task.SEMANTIC: ids, "semantic_confidence": sure}
    old = past["ids"]
    left = past["evidence"] * past["reliability"] * np.float32(_FADE)
    same = ids == old
    kept = ~same & (left > sure)
    evidence = np.where(same, left + sure, np.where(kept, left - sure, sure))
    state.arrays["evidence"] = np.minimum(evidence, np.float32(1 + state.strength))
    state.arrays["ids"] = np.where(kept, old, ids)
    confidence = np.where(kept, np.minimum(sure, 1 - sure), sure)
    return {Task.SEMANTIC: state.arrays["ids"], "semantic_confidence": confidence}


def filter_instances(outputs: Outputs, state: FilterState, past: Past) -> Outputs:
    """Instances with the numbers of the past frame: uint16, not reused between two cuts."""
    ids = outputs[Task.INSTANCE]
    if past is None or "tracks" not in past:
        state.last_track = 0
    old = past["tracks"] if past is not None and "tracks" in past else np.zeros(ids.shape, np.uint16)
    tracks = np.zeros(256, np.uint16)
    for number, track in _match_instances(ids, old):
        tracks[number] = track
    for number in np.unique(ids):
        if number != BACKGROUND_INSTANCE and not tracks[number]:
            state.last_track = state.last_track % (IGNORE_INSTANCE - 1) + 1
            tracks[number] = state.last_track
    state.arrays["tracks"] = tracks[ids]
    return {Task.INSTANCE: state.arrays["tracks"]}


FILTERS: Mapping[Task, Callable[[Outputs, FilterState, Past], Outputs]] = {
    Task.DEPTH: filter_depth,
    Task.NORMALS: filter_normals,
    Task.SEMANTIC: filter_semantic,
    Task.INSTANCE: filter_instances,
}
"""Filters by task (optional; other maps are not smoothed); each returns the outputs that it replaces."""


def _mix(
    now: ndarray, old: ndarray, confidence: ndarray, kept: ndarray, strength: float
) -> tuple[ndarray, Float32[ndarray, "h w"]]:
    """(confidence-weighted running mean, its weight)."""
    sure = np.maximum(confidence, np.float32(0.05))
    share = sure / (kept + sure)
    mixed = old + (share if now.ndim == 2 else share[..., None]) * (now - old)
    most = np.float32(strength * _MEMORY_FRAMES)
    return mixed, np.minimum(kept + sure, np.maximum(most * sure, sure))


def _match_instances(ids: ndarray, old: ndarray) -> list[tuple[int, int]]:
    """(instance, past track) pairs by overlap, each used at most once; includes (0, 0)."""
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
    """Part of its past that each pixel keeps: small differences are flicker, larger ones are real changes."""
    width = np.float32(np.clip(_GATE_MEDIANS * _median(difference, reliability), *limits))
    # Flat up to about the width and steep after it: flicker keeps its past, an edge drops it at once.
    kept: Float32[ndarray, "h w"] = reliability * np.exp(-np.square(np.square(difference / width)))
    gated: ndarray = np.nan_to_num(kept, copy=False)
    return gated


def _median(values: Float32[ndarray, "h w"], reliability: Float32[ndarray, "h w"]) -> float:
    """Median over every fourth reliable pixel per axis; 0 if there is none."""
    sample = values[::4, ::4][reliability[::4, ::4] > 0.5]
    sample = sample[np.isfinite(sample)]
    return float(np.median(sample)) if sample.size else 0.0


def _match_scale(now: ndarray, old: ndarray, reliability: ndarray, *, shift: bool) -> ndarray:
    """New values in the scale (and shift) of the old ones, by robust least squares over reliable pixels."""
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
