"""Depth errors of single images, averaged over images, as Marigold and Depth Anything V2 compute them."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from distill.errors import DistillError
from distill.metrics.alignment import Alignment, check_alignment, clip_depth, fit_depth
from distill.tasks import FAR_DEPTH_M, Gauge


class DepthMetrics:
    """Depth scores of many images: each metric over the valid pixels of an image, then the mean over images.

    A pixel counts where `valid`, where the truth is finite and within [min, max]. The prediction is aligned, then
    clipped to the same range; NaN counts as the nearest depth and an infinity as the farthest, and both are counted
    in ``bad_pixels``. Images without a valid pixel are counted in ``images_skipped`` and nowhere else.

    Scores: ``delta1 delta2 delta3`` (share with max(p/g, g/p) < 1.25^k), ``abs_rel``, ``sq_rel`` (metres), ``rmse_m``,
    ``rmse_log``, ``log10``, ``silog`` (Depth Anything V2: sqrt(mean e^2 - (mean e)^2 / 2), e = ln p - ln g),
    ``silog_marigold`` (100 sqrt of the mean over images of the variance of e), ``irmse`` (1/m).
    """

    NAMES = ("delta1", "delta2", "delta3", "abs_rel", "sq_rel", "rmse_m", "rmse_log", "log10", "silog", "irmse")

    def __init__(
        self,
        *,
        alignment: Alignment = Alignment.NONE,
        min_depth_m: float = 1e-3,
        max_depth_m: float = FAR_DEPTH_M,
        gauge: Gauge = Gauge.METRIC,
    ) -> None:
        check_alignment(alignment, gauge)
        if not 0 < min_depth_m < max_depth_m:
            raise DistillError(
                f"the depth range {min_depth_m} to {max_depth_m} m is empty or not positive",
                hint="choose 0 < --min-depth < --max-depth",
            )
        self.alignment, self.gauge = alignment, gauge
        self.min_depth_m, self.max_depth_m = min_depth_m, max_depth_m
        self._sums = dict.fromkeys((*self.NAMES, "log_variance"), 0.0)
        self._images = self._skipped = self._pixels = self._bad = 0

    def update(
        self, prediction: Float[ndarray, "h w"], truth_m: Float[ndarray, "h w"], valid: Bool[ndarray, "h w"]
    ) -> dict[str, float]:
        """The scores of this one image, NaN where it has no valid pixel; they also enter the mean."""
        with np.errstate(invalid="ignore"):
            counts = valid & (truth_m >= self.min_depth_m) & (truth_m <= self.max_depth_m)
        truth, raw = truth_m[counts].astype(np.float64), prediction[counts].astype(np.float64)
        if truth.size == 0:
            self._skipped += 1
            return dict.fromkeys(self.NAMES, math.nan)
        fit = fit_depth(raw, truth, self.alignment, self.gauge, self.max_depth_m)
        scores = _score(clip_depth(fit(raw), self.min_depth_m, self.max_depth_m), truth)
        self._images += 1
        self._pixels += truth.size
        self._bad += int(truth.size - np.isfinite(raw).sum())
        for name, value in scores.items():
            self._sums[name] += value
        return {name: scores[name] for name in self.NAMES}

    def compute(self) -> dict[str, float]:
        """The mean over images of every score, with ``images``, ``images_skipped``, ``pixels`` and ``bad_pixels``."""
        mean = {name: total / self._images if self._images else math.nan for name, total in self._sums.items()}
        variance = mean.pop("log_variance")
        mean["silog_marigold"] = 100.0 * math.sqrt(max(variance, 0.0)) if self._images else math.nan
        return {
            **mean,
            "images": self._images,
            "images_skipped": self._skipped,
            "pixels": self._pixels,
            "bad_pixels": self._bad,
        }


def _score(prediction: ndarray, truth: ndarray) -> dict[str, float]:
    """Every score of flat, positive, finite float64 depths."""
    difference = prediction - truth
    squared = difference * difference
    logs = np.log(prediction) - np.log(truth)
    log_squares, log_mean = float(np.mean(logs * logs)), float(np.mean(logs))
    worst_ratio = np.maximum(prediction / truth, truth / prediction)
    return {
        **{f"delta{k}": float(np.mean(worst_ratio < 1.25**k)) for k in (1, 2, 3)},
        "abs_rel": float(np.mean(np.abs(difference) / truth)),
        "sq_rel": float(np.mean(squared / truth)),
        "rmse_m": math.sqrt(np.mean(squared)),
        "rmse_log": math.sqrt(log_squares),
        "log10": float(np.mean(np.abs(logs))) / math.log(10.0),
        "silog": math.sqrt(max(log_squares - 0.5 * log_mean**2, 0.0)),
        "irmse": math.sqrt(np.mean((1.0 / prediction - 1.0 / truth) ** 2)),
        "log_variance": max(log_squares - log_mean**2, 0.0),
    }
