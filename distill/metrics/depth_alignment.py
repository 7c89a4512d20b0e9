"""Alignment of depth predictions to the truth: none, scale, or scale and shift.

Scores depend on the alignment: the same map may score delta1 0.2 without and 0.95 with scale and shift.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from distill.errors import UsageError
from distill.tasks import DepthKind


class Alignment(StrEnum):
    """Fit of the free parameters of one image to its truth, over the valid pixels."""

    NONE = "none"
    """No fit: meters."""
    MEDIAN_SCALE = "median_scale"
    """Scale: ratio of the medians."""
    SCALE_SHIFT_DEPTH = "scale_shift_depth"
    """Least squares scale and shift in depth (Marigold)."""
    SCALE_SHIFT_DISPARITY = "scale_shift_disparity"
    """Least squares scale and shift in inverse depth, then inverted (MiDaS, Depth Anything)."""
    SCALE_SHIFT_LOG = "scale_shift_log"
    """Least squares scale and shift in log depth (FE2E)."""


_ALLOWED = {
    DepthKind.METRIC: tuple(Alignment),
    DepthKind.SCALE_INVARIANT: tuple(alignment for alignment in Alignment if alignment is not Alignment.NONE),
    DepthKind.AFFINE_INVARIANT_DEPTH: (Alignment.SCALE_SHIFT_DEPTH,),
    DepthKind.AFFINE_INVARIANT_DISPARITY: (Alignment.SCALE_SHIFT_DISPARITY,),
}
_DEFAULT = {
    DepthKind.METRIC: Alignment.NONE,
    DepthKind.SCALE_INVARIANT: Alignment.MEDIAN_SCALE,
    DepthKind.AFFINE_INVARIANT_DEPTH: Alignment.SCALE_SHIFT_DEPTH,
    DepthKind.AFFINE_INVARIANT_DISPARITY: Alignment.SCALE_SHIFT_DISPARITY,
}


def default_alignment(depth_kind: DepthKind) -> Alignment:
    """Weakest alignment under which a prediction of this depth kind can be scored."""
    return _DEFAULT[depth_kind]


def can_align(alignment: Alignment, depth_kind: DepthKind) -> bool:
    """Whether a prediction of this depth kind can be scored under this alignment."""
    return alignment in _ALLOWED[depth_kind]


def check_alignment(alignment: Alignment, depth_kind: DepthKind) -> None:
    """Raise if the alignment leaves unknowns of the depth kind open.

    Raises:
        UsageError: The depth kind cannot be scored under it; the hint names alignments that can.
    """
    if not can_align(alignment, depth_kind):
        raise UsageError(
            f"a depth prediction of depth kind {depth_kind} cannot be scored with alignment {alignment}: "
            "its scale or shift would stay unknown",
            hint=f"use --alignment {' or '.join(_ALLOWED[depth_kind])}",
        )


def align_depth(
    prediction: Float[ndarray, "h w"],
    truth_m: Float[ndarray, "h w"],
    valid: Bool[ndarray, "h w"],
    *,
    alignment: Alignment,
    depth_kind: DepthKind = DepthKind.METRIC,
    min_depth_m: float,
    max_depth_m: float,
) -> Float[ndarray, "h w"]:
    """The prediction in meters, fitted over `valid` and clipped to the range; float64."""
    check_alignment(alignment, depth_kind)
    values = prediction.astype(np.float64)
    fitted = fit_depth(values[valid], truth_m.astype(np.float64)[valid], alignment, depth_kind, max_depth_m)
    return clip_depth(fitted(values), min_depth_m, max_depth_m)


def clip_depth(depth_m: ndarray, min_depth_m: float, max_depth_m: float) -> ndarray:
    """Depth within the range; NaN becomes the nearest depth (ZoeDepth's rule), so that a hole counts as an error."""
    clipped: ndarray = np.fmin(np.fmax(depth_m, min_depth_m), max_depth_m)
    return clipped


class ScaleShift:
    """Scale and shift in one of the spaces, as a function from raw prediction to meters (not clipped)."""

    def __init__(self, space: str, scale: float, shift: float, max_depth_m: float) -> None:
        self._space, self.scale, self.shift, self._max_depth_m = space, scale, shift, max_depth_m

    def __call__(self, values: ndarray) -> ndarray:
        """Raw values to meters."""
        with np.errstate(all="ignore"):
            if self._space == "log":
                return np.exp(self.scale * _log(values) + self.shift)
            if self._space == "depth":
                return self.scale * values + self.shift
            raw = _invert(values) if self._space == "inverse" else values
            # A disparity at or below zero is farther than everything: without the bound it would turn negative. NaN
            # stays NaN.
            return 1.0 / np.maximum(self.scale * raw + self.shift, 1.0 / self._max_depth_m)


def fit_depth(
    values: ndarray, truth_m: ndarray, alignment: Alignment, depth_kind: DepthKind, max_depth_m: float
) -> ScaleShift:
    """Fit flat float64 values to flat truth; pixels whose prediction is not finite are left out."""
    if alignment is Alignment.NONE:
        return ScaleShift("depth", 1.0, 0.0, max_depth_m)
    if alignment is Alignment.MEDIAN_SCALE:
        finite = np.isfinite(values)
        middle = float(np.median(values[finite])) if finite.any() else 0.0
        # A median of zero has no ratio; the map stays as it is.
        return ScaleShift("depth", float(np.median(truth_m[finite])) / middle if middle > 0 else 1.0, 0.0, max_depth_m)
    if alignment is Alignment.SCALE_SHIFT_DEPTH:
        return ScaleShift("depth", *_least_squares(values, truth_m), max_depth_m)
    if alignment is Alignment.SCALE_SHIFT_LOG:
        return ScaleShift("log", *_least_squares(_log(values), np.log(truth_m)), max_depth_m)
    space = "disparity" if depth_kind.near_is_large else "inverse"
    raw = values if depth_kind.near_is_large else _invert(values)
    return ScaleShift(space, *_least_squares(raw, 1.0 / truth_m), max_depth_m)


def _least_squares(values: ndarray, truth: ndarray) -> tuple[float, float]:
    """(scale, shift) of the best line; a constant prediction gives (0, mean of the truth)."""
    finite = np.isfinite(values)
    values, truth = values[finite], truth[finite]
    if values.size == 0:
        return 0.0, 0.0
    mean_value, mean_truth = values.mean(), truth.mean()
    centered = values - mean_value
    variance = float(centered @ centered)
    # Rounding leaves about 1e-16 of the squared values in the variance of a constant.
    if variance <= 1e-20 * max(float(values @ values), 1e-300):
        return 0.0, float(mean_truth)
    scale = float(centered @ (truth - mean_truth)) / variance
    return scale, float(mean_truth - scale * mean_value)


def _invert(values: ndarray) -> ndarray:
    with np.errstate(all="ignore"):
        return np.where(values > 0, 1.0 / values, np.nan)


def _log(values: ndarray) -> ndarray:
    with np.errstate(all="ignore"):
        return np.where(values > 0, np.log(values), np.nan)
