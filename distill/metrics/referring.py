"""Referring segmentation: one mask per sentence; cumulative and mean IoU, as LISA computes them."""

from __future__ import annotations

import math

from jaxtyping import Bool
from numpy import ndarray


class ReferringMetrics:
    """``ciou`` (sum of intersections over sum of unions) and ``giou`` (mean over masks; an empty union counts 1).

    The small constants of the reference (1e-10 and 1e-5 in the denominators) are kept, so that numbers compare.
    """

    def __init__(self) -> None:
        self._intersection = self._union = self._masks = 0
        self._sum_iou = 0.0

    def update(
        self, prediction: Bool[ndarray, "h w"], truth: Bool[ndarray, "h w"], valid: Bool[ndarray, "h w"]
    ) -> dict[str, float]:
        """The ``iou`` of this one mask; it also enters both scores."""
        intersection = int((prediction & truth & valid).sum())
        union = int(((prediction | truth) & valid).sum())
        iou = intersection / (union + 1e-5) + (1.0 if union == 0 else 0.0)
        self._intersection += intersection
        self._union += union
        self._sum_iou += iou
        self._masks += 1
        return {"iou": iou}

    def compute(self) -> dict[str, float]:
        """Both scores, with ``masks``; NaN without any mask."""
        return {
            "ciou": self._intersection / (self._union + 1e-10) if self._masks else math.nan,
            "giou": self._sum_iou / self._masks if self._masks else math.nan,
            "masks": self._masks,
        }
