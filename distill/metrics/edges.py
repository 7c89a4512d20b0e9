"""Edge detection metrics: F-score at the best threshold over the set (ODS), per image (OIS), average precision."""

from __future__ import annotations

import math

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Shaped
from numpy import ndarray

from distill.metrics.base import HIGHER, TaskMetric, TemporalMetric, Values
from distill.metrics.boundary import boundary_f1

THRESHOLDS = np.linspace(0.01, 0.99, 33)
"""Probabilities at which predictions are cut."""
_TOLERANCE = 0.0075
"""Part of the diagonal within which edges match. Source: BSDS500 (Arbelaez et al. 2011)."""
_NUM = len(THRESHOLDS)
_DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))


class EdgeMetrics:
    """Scores of edge probabilities against true edges, pooled over images.

    Both maps are thinned to ridges first, so that a broad answer gains nothing. An edge pixel is right if an edge of
    the other map is within 0.75 % of the diagonal; several pixels may match one (BSDS matches one to one, which after
    thinning makes little difference and needs a solver).

    Scores: ``ods`` (F of the summed counts at the one best threshold), ``ois`` (F of the counts at each image's best
    threshold), ``ap`` (area under precision over recall), ``threshold`` (of the ODS).
    """

    def __init__(self) -> None:
        self._rows: list[ndarray] = []
        self._skipped = self._pixels = 0

    def update(
        self,
        prediction: Float[ndarray, "h w"],
        truth: Float[ndarray, "h w"],
        valid: Bool[ndarray, "h w"],
        groups: Shaped[ndarray, "h w"] | None = None,
    ) -> dict[str, float]:
        """F-score ``f`` of this image at its best threshold; NaN without an edge in either map.

        Args:
            prediction: Probability in [0, 1]; values that are not finite count as 0.
            truth: Probability in [0, 1]; 0.5 and more is an edge.
            valid: Pixels that count.
            groups: Not used; edges have no breakdown.
        """
        if not valid.any():
            self._skipped += 1
            return {"f": math.nan}
        counts = match_counts(prediction, truth, valid)
        scores = boundary_f1(counts[_NUM : 2 * _NUM], counts[:_NUM], counts[2 * _NUM : 3 * _NUM], counts[-1])
        best = int(np.argmax(np.nan_to_num(scores)))
        own = [counts[best], counts[_NUM + best], counts[2 * _NUM + best]]
        self._rows.append(np.concatenate([counts, own]))
        self._pixels += int(valid.sum())
        return {"f": float(scores[best])}

    def __len__(self) -> int:
        """Number of scored images."""
        return len(self._rows)

    def rows(self) -> Float[ndarray, "n k"]:
        """One row of counts per scored image, for `pool`."""
        return np.array(self._rows, np.float64).reshape(-1, 3 * _NUM + 4)

    @staticmethod
    def pool(sums: Float[ndarray, "... k"]) -> dict[str, Values]:
        """Scores of a set of images from the sum of their rows."""
        predicted, hits, found = (sums[..., part * _NUM : (part + 1) * _NUM] for part in range(3))
        true, own = sums[..., 3 * _NUM], sums[..., 3 * _NUM + 1 :]
        scores = boundary_f1(hits, predicted, found, true[..., None])
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = np.where(predicted > 0, hits / predicted, 0.0)
            recall = np.where(true[..., None] > 0, found / true[..., None], 0.0)
        order = np.argsort(recall, axis=-1)
        recall, precision = (np.take_along_axis(values, order, axis=-1) for values in (recall, precision))
        steps = np.diff(recall, axis=-1, prepend=0.0)
        return {
            "ods": scores.max(axis=-1),
            "ois": boundary_f1(own[..., 1], own[..., 0], own[..., 2], true),
            "ap": np.where(true > 0, (steps * precision).sum(axis=-1), np.nan),
            "threshold": THRESHOLDS[np.argmax(np.nan_to_num(scores), axis=-1)],
        }

    def compute(self) -> dict[str, float]:
        """Every score of the pool, with ``images``, ``images_skipped`` and ``pixels``."""
        scores = {name: float(value) for name, value in self.pool(self.rows().sum(axis=0)).items()}
        return {**scores, "images": len(self._rows), "images_skipped": self._skipped, "pixels": self._pixels}


def thin(probability: Float[ndarray, "h w"]) -> Float32[ndarray, "h w"]:
    """Ridges alone: a pixel keeps its value where that is the maximum across the line, else 0.

    The direction across is the one of four with the largest second difference of the blurred map.
    """
    map32 = probability.astype(np.float32, copy=False)
    blurred = cv2.GaussianBlur(map32, (3, 3), 0, borderType=cv2.BORDER_REPLICATE)
    height, width = map32.shape
    padded, padded_blur = np.pad(map32, 1, mode="edge"), np.pad(blurred, 1, mode="edge")

    def moved(values: ndarray, dy: int, dx: int) -> ndarray:
        return values[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]

    largest, is_ridge = np.full(map32.shape, -1.0, np.float32), np.zeros(map32.shape, bool)
    for dy, dx in _DIRECTIONS:
        curvature = np.abs(2 * blurred - moved(padded_blur, dy, dx) - moved(padded_blur, -dy, -dx))
        # >= on one side and > on the other: of a line between two pixel columns one stays.
        maximum = (map32 >= moved(padded, dy, dx)) & (map32 > moved(padded, -dy, -dx))
        is_ridge = np.where(curvature > largest, maximum, is_ridge)
        largest = np.maximum(largest, curvature)
    return map32 * is_ridge


def match_counts(
    prediction: Float[ndarray, "h w"], truth: Float[ndarray, "h w"], valid: Bool[ndarray, "h w"]
) -> Float[ndarray, " k"]:
    """Counts by threshold: predicted pixels, those near a true one, true ones near a predicted; then true ones."""
    radius = max(1, round(_TOLERANCE * math.hypot(*valid.shape)))
    clean = np.clip(np.nan_to_num(prediction, nan=0.0, posinf=0.0, neginf=0.0), 0.0, 1.0)
    predicted = thin(np.where(valid, clean, 0.0))
    true = (thin(np.where(valid, truth, 0.0)) >= 0.5) & valid
    if true.any():
        distance = cv2.distanceTransform((~true).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        near_true = distance <= radius
    else:
        near_true = np.zeros(true.shape, bool)
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = (rows**2 + columns**2 <= radius**2).astype(np.uint8)
    # One gray dilation gives, at every true pixel, the highest threshold at which a prediction is near.
    reach = cv2.dilate(predicted, disc)
    return np.concatenate(
        [
            _at_least(predicted[predicted > 0]),
            _at_least(predicted[near_true & (predicted > 0)]),
            _at_least(reach[true]),
            [float(true.sum())],
        ]
    )


def _at_least(values: ndarray) -> Float[ndarray, " t"]:
    """Number of values at or above each threshold."""
    return (len(values) - np.searchsorted(np.sort(values), THRESHOLDS, side="left")).astype(np.float64)


def _beyond(change: ndarray, true_change: ndarray) -> ndarray:
    beyond: ndarray = change - true_change
    return beyond


def _error(value: ndarray, truth: ndarray, counts: ndarray) -> ndarray:
    error: ndarray = np.abs(value - truth)
    return error


TASK = TaskMetric(
    build=lambda facts: EdgeMetrics(),
    measure="ods",
    columns={
        "ods": ("F at one threshold (ODS)", HIGHER),
        "ois": ("F at each image's best threshold (OIS)", HIGHER),
        "ap": ("average precision", HIGHER),
        "threshold": ("threshold of the ODS", ""),
    },
    note="Thinned maps; edges match within 0.75 % of the diagonal, several pixels may match one.",
    image_error="1 - F",
    error_of=lambda result: 1.0 - result["f"],
    pixel_error=_error,
    error_limit=(1.0, ""),
    temporal=TemporalMetric("edges_change_percent", "edges change, % per frame", scale=100.0, beyond=_beyond),
)
