"""Depth metrics per image, averaged over images, as in Marigold and Depth Anything V2."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from distill.errors import UsageError
from distill.metrics.base import HIGHER, LOWER, MetricFacts, TaskMetric, TemporalMetric, Values
from distill.metrics.boundary import RATIOS, boundary_f1, depth_boundary_counts
from distill.metrics.depth_alignment import Alignment, check_alignment, clip_depth, default_alignment, fit_depth
from distill.metrics.running import GroupSums
from distill.tasks import FAR_DEPTH_M, DepthKind

BANDS_M = np.array([0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 1e6])
"""Edges of the distance bands; the last one has no end."""


class DepthMetrics:
    """Depth scores of many images: each metric over the valid pixels of an image, then the mean over images.

    A pixel counts where `valid`, where the truth is finite and within [min, max]. The prediction is aligned, then
    clipped to the same range; NaN counts as the nearest depth and an infinity as the farthest, and both are counted
    in ``bad_pixels``. Images without a valid pixel are counted in ``images_skipped`` and nowhere else.

    Scores: ``delta1 delta2 delta3`` (fraction with max(p/g, g/p) < 1.25^k), ``abs_rel``, ``sq_rel`` (meters),
    ``rmse_m``, ``rmse_log``, ``log10``,
    ``silog`` (Depth Anything V2: sqrt(mean e^2 - (mean e)^2 / 2), e = ln p - ln g),
    ``silog_marigold`` (100 sqrt of the mean over images of the variance of e), ``irmse`` (1/m), ``boundary_f1`` (depth
    jumps found at their position, over the images that have any).
    """

    NAMES = ("delta1", "delta2", "delta3", "abs_rel", "sq_rel", "rmse_m", "rmse_log", "log10", "silog", "irmse")

    def __init__(
        self,
        *,
        alignment: Alignment = Alignment.NONE,
        min_depth_m: float = 1e-3,
        max_depth_m: float = FAR_DEPTH_M,
        depth_kind: DepthKind = DepthKind.METRIC,
    ) -> None:
        check_alignment(alignment, depth_kind)
        if not 0 < min_depth_m < max_depth_m:
            raise UsageError(
                f"the depth range {min_depth_m} to {max_depth_m} m is empty or not positive",
                hint="choose 0 < --min-depth < --max-depth",
            )
        self.alignment, self.depth_kind = alignment, depth_kind
        self.min_depth_m, self.max_depth_m = min_depth_m, max_depth_m
        self._rows: list[list[float]] = []
        self._bands = np.zeros((len(BANDS_M) - 1, 3))
        self.by_group = GroupSums()
        self._skipped = self._pixels = self._bad = 0

    def update(
        self,
        prediction: Float[ndarray, "h w"],
        truth_m: Float[ndarray, "h w"],
        valid: Bool[ndarray, "h w"],
        groups: UInt8[ndarray, "h w"] | None = None,
    ) -> dict[str, float]:
        """Scores of this image, NaN without a valid pixel; they also enter the mean.

        `groups` (such as class ids) group the pixels for `by_group`, whose error is AbsRel.
        """
        with np.errstate(invalid="ignore"):
            counts = valid & (truth_m >= self.min_depth_m) & (truth_m <= self.max_depth_m)
        truth, raw = truth_m[counts].astype(np.float64), prediction[counts].astype(np.float64)
        if truth.size == 0:
            self._skipped += 1
            return dict.fromkeys(self.NAMES, math.nan)
        fit = fit_depth(raw, truth, self.alignment, self.depth_kind, self.max_depth_m)
        fitted = np.ones(counts.shape)
        fitted[counts] = clip_depth(fit(raw), self.min_depth_m, self.max_depth_m)
        scores = _score(fitted[counts], truth)
        self._add_bands(fitted[counts], truth)
        if groups is not None:
            self.by_group.add(np.abs(fitted[counts] - truth) / truth, groups[counts])
        self._pixels += truth.size
        self._bad += int(truth.size - np.isfinite(raw).sum())
        edges = _boundary_f1(fitted, truth_m, counts)
        self._rows.append([*scores.values(), 0.0 if math.isnan(edges) else edges, float(not math.isnan(edges)), 1.0])
        return {name: scores[name] for name in self.NAMES}

    def _add_bands(self, prediction: ndarray, truth: ndarray) -> None:
        band = np.digitize(truth, BANDS_M) - 1
        error = np.abs(prediction - truth) / truth
        close = np.maximum(prediction / truth, truth / prediction) < 1.25
        for column, values in enumerate((error, close, np.ones_like(error))):
            self._bands[:, column] += np.bincount(band, values, len(BANDS_M))[: len(BANDS_M) - 1]

    def bands(self) -> dict[str, dict[str, float]]:
        """AbsRel, delta1 and pixels by distance of the truth, over all pixels; empty bands are left out."""
        return {
            (f"{near:g} to {far:g} m" if far < BANDS_M[-1] else f"{near:g} m and more"): {
                "abs_rel": error / count,
                "delta1": close / count,
                "pixels": int(count),
            }
            for near, far, (error, close, count) in zip(
                BANDS_M[:-1].tolist(), BANDS_M[1:].tolist(), self._bands.tolist(), strict=True
            )
            if count
        }

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._rows)

    def rows(self) -> Float[ndarray, "n k"]:
        """One row of sums per scored image, for `pool`."""
        return np.array(self._rows, np.float64).reshape(-1, len(self.NAMES) + 4)

    @classmethod
    def pool(cls, sums: Float[ndarray, "... k"]) -> dict[str, Values]:
        """Scores of a set of images from the sum of their rows."""
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = sums[..., :-3] / sums[..., -1:]
            scores = {name: mean[..., index] for index, name in enumerate(cls.NAMES)}
            scores["silog_marigold"] = 100.0 * np.sqrt(np.maximum(mean[..., -1], 0.0))
            scores["boundary_f1"] = sums[..., -3] / sums[..., -2]
        return scores

    def compute(self) -> dict[str, float]:
        """Mean over images of every score, with ``images``, ``images_skipped``, ``pixels`` and ``bad_pixels``."""
        scores = self.pool(self.rows().sum(axis=0))
        return {
            **{name: float(value) for name, value in scores.items()},
            "images": len(self._rows),
            "images_skipped": self._skipped,
            "pixels": self._pixels,
            "bad_pixels": self._bad,
        }


def _boundary_f1(prediction_m: ndarray, truth_m: ndarray, counts: ndarray) -> float:
    """F1 of depth jumps over the ratios, larger ones with more weight; NaN without any jump. Source: Depth Pro."""
    found = depth_boundary_counts(prediction_m, truth_m, counts)
    scores = boundary_f1(found[:, 0], found[:, 1], found[:, 0], found[:, 2])
    known = np.isfinite(scores)
    return float(np.average(scores[known], weights=RATIOS[known])) if known.any() else math.nan


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


def _log_depth(value: ndarray, metric_depth: bool) -> ndarray:
    return np.log(np.clip(value, 1e-3, 1e4)) if metric_depth else value


def _build(facts: MetricFacts) -> DepthMetrics:
    return DepthMetrics(alignment=default_alignment(facts.depth_kind), depth_kind=facts.depth_kind)


def _error_percent(value: ndarray, truth: ndarray, counts: ndarray) -> ndarray:
    error: ndarray = 100 * np.abs(value - truth) / np.maximum(truth, 1e-3)
    return error


TASK = TaskMetric(
    build=_build,
    measure="delta1",
    columns={
        "delta1": ("delta1 (< 1.25)", HIGHER),
        "delta2": ("delta2 (< 1.25²)", HIGHER),
        "delta3": ("delta3 (< 1.25³)", HIGHER),
        "abs_rel": ("AbsRel", LOWER),
        "sq_rel": ("SqRel, m", LOWER),
        "rmse_m": ("RMSE, m", LOWER),
        "rmse_log": ("RMSE of ln", LOWER),
        "log10": ("log10", LOWER),
        "silog": ("SILog (Depth Anything)", LOWER),
        "silog_marigold": ("SILog × 100 (Marigold)", LOWER),
        "irmse": ("iRMSE, 1/m", LOWER),
        "boundary_f1": ("F1 of depth jumps", HIGHER),
    },
    note="Each score over an image's valid pixels, then the mean over images.",
    image_error="AbsRel",
    error_of=lambda result: result["abs_rel"],
    pixel_error=_error_percent,
    error_limit=(50.0, " %"),
    temporal=TemporalMetric(
        "depth_change_percent",
        "depth change, % per frame",
        scale=100.0,
        prepare=_log_depth,
        jitter_key="depth_scale_jitter_percent",
        jitter_title="depth scale jitter, %",
        marks_invalid=True,
    ),
    band_title="distance (AbsRel)",
    group_title="AbsRel",
)
