"""Referring segmentation metrics: cumulative and mean IoU over masks, as in LISA."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from distill.metrics.base import HIGHER, TaskMetric, Values, foreground_error


class ReferringMetrics:
    """``ciou`` (sum of intersections over sum of unions) and ``giou`` (mean over masks; an empty union counts 1).

    The constants of the reference (1e-10 and 1e-5 in the denominators) are included, so that numbers are comparable.
    """

    def __init__(self) -> None:
        self._rows: list[list[float]] = []

    def update(
        self, prediction: Bool[ndarray, "h w"], truth: Bool[ndarray, "h w"], valid: Bool[ndarray, "h w"]
    ) -> dict[str, float]:
        """The ``iou`` of this one mask; it also enters both scores."""
        intersection = int((prediction & truth & valid).sum())
        union = int(((prediction | truth) & valid).sum())
        iou = intersection / (union + 1e-5) + (1.0 if union == 0 else 0.0)
        self._rows.append([intersection, union, iou, 1.0])
        return {"iou": iou}

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._rows)

    def rows(self) -> Float[ndarray, "n 4"]:
        """One row of sums per mask, for `pool`."""
        return np.array(self._rows, np.float64).reshape(-1, 4)

    @staticmethod
    def pool(sums: Float[ndarray, "... 4"]) -> dict[str, Values]:
        """Scores of a set of masks from the sum of their rows."""
        with np.errstate(invalid="ignore", divide="ignore"):
            ciou = np.where(sums[..., 3] > 0, sums[..., 0] / (sums[..., 1] + 1e-10), np.nan)
            return {"ciou": ciou, "giou": sums[..., 2] / sums[..., 3]}

    def compute(self) -> dict[str, float]:
        """Both scores, with ``masks``; NaN without any mask."""
        scores = self.pool(self.rows().sum(axis=0))
        return {**{name: float(value) for name, value in scores.items()}, "masks": len(self._rows)}


TASK = TaskMetric(
    build=lambda facts: ReferringMetrics(),
    measure="",
    columns={"ciou": ("cIoU", HIGHER), "giou": ("gIoU", HIGHER), "masks": ("masks", "")},
    note="cIoU: sum of intersections over sum of unions; gIoU: mean over masks.",
    image_error="1 - mean IoU",
    error_of=lambda result: 1.0 - result["iou"],
    pixel_error=foreground_error,
)
