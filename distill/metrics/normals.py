"""Angular errors of surface normals, pooled over all valid pixels of all images, as in DSINE."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from distill.metrics.base import HIGHER, LOWER, TaskMetric, TemporalMetric, Values
from distill.metrics.running import GroupSums, RunningMedian


class NormalsMetrics:
    """Angular error of unit vectors in degrees, pooled over pixels.

    Vectors need not be unit length. A pixel counts where `valid` and where the truth has a direction; a prediction
    without one (NaN, infinite, zero) counts as 180 degrees and in ``bad_pixels``.

    Scores: ``mean_deg``, ``median_deg``, ``rmse_deg``, and the fractions below a threshold ``within_5``,
    ``within_7_5``, ``within_11_25``, ``within_22_5``, ``within_30``.
    """

    THRESHOLDS_DEG = (5.0, 7.5, 11.25, 22.5, 30.0)

    def __init__(self) -> None:
        self._median_deg = RunningMedian(180.0)
        self._rows: list[list[float]] = []
        self.by_group = GroupSums()
        self._skipped = self._pixels = self._bad = 0

    def update(
        self,
        prediction: Float[ndarray, "h w 3"],
        truth: Float[ndarray, "h w 3"],
        valid: Bool[ndarray, "h w"],
        groups: UInt8[ndarray, "h w"] | None = None,
    ) -> dict[str, float]:
        """``mean_deg`` and ``median_deg`` of this one image, NaN without a valid pixel; its pixels enter the pool.

        `groups` (such as class ids) group the pixels for `by_group`, whose error is the angle.
        """
        valid = valid & _has_direction(truth)
        errors_deg, bad = _angles_deg(prediction[valid], truth[valid])
        if groups is not None:
            self.by_group.add(errors_deg, groups[valid])
        if errors_deg.size == 0:
            self._skipped += 1
            return {"mean_deg": math.nan, "median_deg": math.nan}
        self._pixels += errors_deg.size
        self._bad += bad
        below = [float((errors_deg < threshold).sum()) for threshold in self.THRESHOLDS_DEG]
        self._rows.append([float(errors_deg.sum()), float(errors_deg @ errors_deg), *below, float(errors_deg.size)])
        self._median_deg.add(errors_deg)
        return {"mean_deg": float(errors_deg.mean()), "median_deg": float(np.median(errors_deg))}

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._rows)

    def rows(self) -> Float[ndarray, "n k"]:
        """One row of sums per scored image, for `pool`."""
        return np.array(self._rows, np.float64).reshape(-1, len(self.THRESHOLDS_DEG) + 3)

    @classmethod
    def pool(cls, sums: Float[ndarray, "... k"]) -> dict[str, Values]:
        """Scores of a set of images from the sum of their rows; without the median, which sums do not give."""
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = sums[..., :-1] / sums[..., -1:]
        return {
            "mean_deg": mean[..., 0],
            "rmse_deg": np.sqrt(mean[..., 1]),
            **{
                f"within_{threshold:g}".replace(".", "_"): mean[..., 2 + index]
                for index, threshold in enumerate(cls.THRESHOLDS_DEG)
            },
        }

    def compute(self) -> dict[str, float]:
        """Every score of the pool, with ``images``, ``images_skipped``, ``pixels`` and ``bad_pixels``."""
        scores = {name: float(value) for name, value in self.pool(self.rows().sum(axis=0)).items()}
        return {
            "mean_deg": scores.pop("mean_deg"),
            "median_deg": self._median_deg.compute(),
            **scores,
            "images": len(self._rows),
            "images_skipped": self._skipped,
            "pixels": self._pixels,
            "bad_pixels": self._bad,
        }


def angular_error_deg(
    prediction: Float[ndarray, "h w 3"], truth: Float[ndarray, "h w 3"], valid: Bool[ndarray, "h w"]
) -> Float[ndarray, "h w"]:
    """Angle per pixel in degrees; 0 where invalid."""
    errors_deg = np.zeros(valid.shape, np.float32)
    counts = valid & _has_direction(truth)
    errors_deg[counts] = _angles_deg(prediction[counts], truth[counts])[0]
    return errors_deg


def _has_direction(vectors: ndarray) -> ndarray:
    known: ndarray = np.isfinite(vectors).all(-1) & (vectors != 0).any(-1)
    return known


def _angles_deg(prediction: ndarray, truth: ndarray) -> tuple[ndarray, int]:
    """(angles of the rows whose truth has a direction, number of these without a predicted direction)."""
    counts = _has_direction(truth)
    if not counts.all():
        prediction, truth = prediction[counts], truth[counts]
    bad = ~_has_direction(prediction)
    p, g = prediction.astype(np.float64), truth.astype(np.float64)
    if bad.any():
        p[bad] = -g[bad]  # 180 degrees
    # float64 throughout: acos of a float32 cosine near 1 is off by up to 0.02 degrees.
    cosine = np.einsum("ni,ni->n", p, g) / np.sqrt(np.einsum("ni,ni->n", p, p) * np.einsum("ni,ni->n", g, g))
    angles_deg = np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
    return angles_deg, int(bad.sum())


def _angle_deg(now: ndarray, moved: ndarray) -> ndarray:
    lengths = np.linalg.norm(now, axis=-1) * np.linalg.norm(moved, axis=-1)
    cosine = np.einsum("hwc,hwc->hw", now, moved) / np.maximum(lengths, 1e-6)
    angle_deg: ndarray = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    return angle_deg


def _beyond(change: ndarray, true_change: ndarray) -> ndarray:
    beyond: ndarray = np.abs(change - true_change)
    return beyond


TASK = TaskMetric(
    build=lambda facts: NormalsMetrics(),
    measure="mean_deg",
    columns={
        "mean_deg": ("mean, °", LOWER),
        "median_deg": ("median, °", LOWER),
        "rmse_deg": ("RMSE, °", LOWER),
        "within_5": ("within 5°", HIGHER),
        "within_7_5": ("within 7.5°", HIGHER),
        "within_11_25": ("within 11.25°", HIGHER),
        "within_22_5": ("within 22.5°", HIGHER),
        "within_30": ("within 30°", HIGHER),
    },
    note="Pooled over all valid pixels of all images.",
    image_error="mean error in degrees",
    error_of=lambda result: result["mean_deg"],
    pixel_error=angular_error_deg,
    error_limit=(45.0, "°"),
    temporal=TemporalMetric(
        "normals_change_deg", "normals change, degrees per frame", change=_angle_deg, beyond=_beyond
    ),
    group_title="mean, °",
)
