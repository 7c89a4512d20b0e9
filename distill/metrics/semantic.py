"""Semantic segmentation scores from one confusion matrix over the whole data set."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt8
from numpy import ndarray

from distill.errors import DistillError
from distill.metrics.base import HIGHER, TaskMetric, TemporalMetric, Values
from distill.metrics.boundary import boundary_f1, semantic_boundary_counts
from distill.tasks import IGNORE_SEMANTIC


class SegmentationMetrics:
    """mIoU and related scores from one confusion matrix over all images.

    A pixel counts where `valid` and where the truth is not `ignore`. A predicted id that is no class (such as
    `ignore`) is wrong: it counts against its true class and no other. Classes that neither truth nor
    prediction contains are left out of every mean.

    Scores: ``miou``, ``pixel_accuracy``, ``mean_accuracy`` (mean recall over the classes in the truth), ``fw_iou``
    (IoU weighted by the truth's class frequency), ``boundary_f1`` (borders found within 0.75 % of the diagonal).
    """

    def __init__(self, num_classes: int, ignore: int = IGNORE_SEMANTIC) -> None:
        self.num_classes, self.ignore = num_classes, ignore
        # One more column, for predictions that are no class.
        self._counts = np.zeros((num_classes, num_classes + 1), np.int64)
        self._rows: list[ndarray] = []
        self._skipped = 0

    def update(
        self, prediction: UInt8[ndarray, "h w"], truth: UInt8[ndarray, "h w"], valid: Bool[ndarray, "h w"]
    ) -> dict[str, float]:
        """``miou`` and ``pixel_accuracy`` of this one image, NaN without a valid pixel; its pixels enter the matrix.

        Raises:
            DistillError: The truth holds an id that is no class.
        """
        counts = valid & (truth != self.ignore)
        true, said = truth[counts].astype(np.int64), prediction[counts].astype(np.int64)
        if true.size == 0:
            self._skipped += 1
            return {"miou": math.nan, "pixel_accuracy": math.nan}
        if int(true.max()) >= self.num_classes:
            raise DistillError(
                f"the truth holds class id {int(true.max())}, but there are {self.num_classes} classes",
                hint="the class list belongs to another data set",
            )
        columns = self.num_classes + 1
        said = np.minimum(said, self.num_classes)
        flat = np.bincount(true * columns + said, minlength=self.num_classes * columns)
        found = flat.reshape(self.num_classes, columns)
        self._counts += found
        edges = semantic_boundary_counts(prediction, truth, counts)
        self._rows.append(np.concatenate([*_margins(found), edges]).astype(np.float64))
        scores = self.pool(self._rows[-1])
        return {"miou": float(scores["miou"]), "pixel_accuracy": float(scores["pixel_accuracy"])}

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._rows)

    def rows(self) -> Float[ndarray, "n k"]:
        """One row of sums per scored image, for `pool`."""
        return np.array(self._rows, np.float64).reshape(-1, 3 * self.num_classes + 4)

    def pool(self, sums: Float[ndarray, "... k"]) -> dict[str, Values]:
        """Scores of a set of images from the sum of their rows."""
        c = self.num_classes
        hit, true, said, edges = sums[..., :c], sums[..., c : 2 * c], sums[..., 2 * c : 3 * c], sums[..., 3 * c :]
        total = true.sum(axis=-1)
        with np.errstate(invalid="ignore", divide="ignore"):
            iou = np.where(true + said > 0, hit / (true + said - hit), np.nan)
            recall = np.where(true > 0, hit / true, np.nan)
            return {
                "miou": _mean_known(iou),
                "pixel_accuracy": hit.sum(axis=-1) / total,
                "mean_accuracy": _mean_known(recall),
                "fw_iou": np.where(total > 0, np.nansum(iou * true, axis=-1), np.nan) / total,
                "boundary_f1": boundary_f1(edges[..., 0], edges[..., 1], edges[..., 2], edges[..., 3]),
            }

    def compute(self) -> dict[str, float]:
        """Every score over all images, with ``images``, ``images_skipped`` and ``pixels``."""
        return {
            **{name: float(value) for name, value in self.pool(self.rows().sum(axis=0)).items()},
            "images": len(self._rows),
            "images_skipped": self._skipped,
            "pixels": int(self._counts.sum()),
        }

    def per_class(self) -> dict[int, dict[str, float]]:
        """Class id to ``iou``, ``recall``, ``precision`` and ``pixels`` of the truth; absent classes are left out."""
        hit, true, said = (margin.tolist() for margin in _margins(self._counts))
        return {
            index: {
                "iou": _ratio(hit[index], true[index] + said[index] - hit[index]),
                "recall": _ratio(hit[index], true[index]),
                "precision": _ratio(hit[index], said[index]),
                "pixels": true[index],
            }
            for index in range(self.num_classes)
            if true[index] + said[index] > 0
        }

    def confusion(self) -> Int64[ndarray, "c c_plus_1"]:
        """Pixels by true class (row) and predicted class (column); the last column is no class."""
        return self._counts.copy()


def _margins(counts: ndarray) -> tuple[ndarray, ndarray, ndarray]:
    """(hits, pixels in the truth, pixels in the prediction) by class."""
    square = counts[:, :-1]
    return np.diagonal(square), counts.sum(axis=1), square.sum(axis=0)


def _mean_known(values: ndarray) -> Values:
    """Mean over the last axis without NaN; NaN where all are NaN."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: ndarray = np.where(known, values, 0.0).sum(axis=-1) / known.sum(axis=-1)
        return mean


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _beyond(change: ndarray, true_change: ndarray) -> ndarray:
    return np.where(true_change, np.nan, change)


TASK = TaskMetric(
    build=lambda facts: SegmentationMetrics(facts.num_classes),
    measure="miou",
    columns={
        "miou": ("mIoU", HIGHER),
        "miou_known": ("mIoU of classes it knows", HIGHER),
        "pixel_accuracy": ("pixel accuracy", HIGHER),
        "mean_accuracy": ("mean class accuracy", HIGHER),
        "fw_iou": ("frequency-weighted IoU", HIGHER),
        "boundary_f1": ("F1 of class borders", HIGHER),
    },
    note="From one confusion matrix over all images. Classes are joined by name; a class that a predictor does not "
    "have counts with IoU 0.",
    image_error="fraction of wrong pixels",
    error_of=lambda result: 1.0 - result["pixel_accuracy"],
    temporal=TemporalMetric(
        "semantic_change_percent",
        "pixels that change class, % per frame",
        scale=100.0,
        is_ids=True,
        change=np.not_equal,
        beyond=_beyond,
    ),
)
