"""Temporal smoothing of video maps: each frame is averaged with the past result, moved along the optical flow.

Causal: only earlier frames are used. The past of a pixel counts where the image shows the same thing as at its source
and where old and new value differ by no more than the flicker of this frame; elsewhere the new value is used, so edges
do not lag. A cut resets the filter.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.export.inference.stages import SegmentEnd, StageTimer
from distill.export.inference.task_filters import FILTERS, ID_MAPS, FilterState
from distill.export.runners import Outputs
from distill.spec import StudentSpec
from distill.tasks import DepthKind
from distill.video.optical_flow import Motion, MotionTracker, warp_by_flow


@dataclass(frozen=True, slots=True)
class TemporalFilterConfig:
    """Strength of the smoothing.

    Attributes:
        strength: 0: none; 1: averages up to 12 frames where nothing moves.
        match_scale: Relative depth: match scale and shift of the past frames.
    """

    strength: float = 0.5
    match_scale: bool = True


class TemporalFilter:
    """Stage between engine and sinks.

    Attributes:
        cuts: Indices of frames at which the filter was reset.
    """

    def __init__(self, spec: StudentSpec, config: TemporalFilterConfig | None = None) -> None:
        config = config or TemporalFilterConfig()
        depth_kind = spec.depth.depth_kind if spec.depth else DepthKind.METRIC
        self._state = FilterState(config.strength, config.match_scale, depth_kind)
        self._tracker = MotionTracker()
        self.cuts: list[int] = []

    def process(self, items: Iterable[Any], timer: StageTimer) -> Generator[Any, None, None]:
        """The items with smoothed outputs; each `SegmentEnd` takes the state that a resume needs."""
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
        """Arrays on which the next frame depends."""
        previous = {} if self._tracker.previous is None else {"gray": self._tracker.previous}
        scalars = np.array([self._state.trend, self._state.last_track])
        return {**self._state.arrays, **previous, "scalars": scalars}

    def restore(self, state: Mapping[str, ndarray]) -> None:
        """Continue from the result of `state`."""
        self._state.arrays = {name: value for name, value in state.items() if name not in ("gray", "scalars")}
        self._tracker.previous = state.get("gray")
        trend, last_track = state.get("scalars", (0.0, 0))
        self._state.trend, self._state.last_track = float(trend), int(last_track)

    def apply(self, rgb: UInt8[ndarray, "h w 3"], outputs: Outputs, index: int = 0) -> Outputs:
        """Smoothed outputs of the next frame."""
        motion = self._tracker.update(rgb)
        if motion is not None and motion.cut:
            self.cuts.append(index)
        past = self._past(motion, (rgb.shape[0], rgb.shape[1])) if motion is not None and not motion.cut else None
        filtered = dict(outputs)
        for task, task_filter in FILTERS.items():
            if task in outputs:
                filtered |= task_filter(outputs, self._state, past)
        return filtered

    def _past(self, motion: Motion, size_hw: tuple[int, int]) -> dict[str, ndarray] | None:
        """The state's maps moved to this frame, and their reliability; None if the frame size has changed."""
        arrays = self._state.arrays
        if any(value.shape[:2] != size_hw for value in arrays.values()):
            return None
        positions = motion.positions(size_hw)
        moved = {name: warp_by_flow(value, positions, ids=name in ID_MAPS) for name, value in arrays.items()}
        return {**moved, "reliability": motion.reliability(size_hw)}
