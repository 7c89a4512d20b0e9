"""Instance metrics per (image, noun phrase) of the SA-Co benchmark: cgF1, IL_MCC, pmF1.

Instances are compared with their whole masks, hidden parts included, on both sides; masks may overlap.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt16
from numpy import ndarray

from distill.labels.instance_layers import Layers, match_pairs, pair_ious, present_ids, stack_masks
from distill.metrics.base import HIGHER, TaskMetric, Values, foreground_error
from distill.tasks import IGNORE_INSTANCE

_THRESHOLDS = np.arange(0.5, 0.951, 0.05)
_EPSILON = 1e-4


class InstanceMetrics:
    """SA-Co scores over pairs of image and noun phrase.

    One `update` per pair, empty pairs included (they test presence). Predictions scored below 0.5 are dropped; the
    rest are matched one to one with the truth by total mask IoU.

    Scores: ``pmf1`` (F1 averaged over the IoU thresholds 0.50 to 0.95; false positives only where the truth has
    instances), ``il_mcc`` (Matthews correlation of presence), ``cgf1`` (their product). All in [0, 1]; the paper prints
    percent.
    """

    def __init__(self) -> None:
        self._rows: list[ndarray] = []

    def update(
        self,
        prediction: Bool[ndarray, "n h w"],
        truth: Bool[ndarray, "m h w"],
        scores: Float[ndarray, " n"] | None = None,
    ) -> dict[str, int]:
        """``predicted``, ``true`` and ``matched`` (at IoU 0.5) counts of this one pair; they also enter the scores."""
        kept = prediction if scores is None else prediction[scores >= 0.5]
        ids, true_ids = range(1, len(kept) + 1), range(1, len(truth) + 1)
        size_hw = truth.shape[1:]
        return self._count(
            stack_masks(zip(ids, kept, strict=True), size_hw),
            ids,
            stack_masks(zip(true_ids, truth, strict=True), size_hw),
            true_ids,
        )

    def update_layers(self, prediction: Layers, truth: Layers) -> dict[str, int]:
        """`update` for ids in layers (`distill.labels.instance_layers`): all instances in them belong to the phrase."""
        return self._count(prediction, present_ids(prediction), truth, present_ids(truth))

    def _count(self, prediction: Layers, ids: Sequence[int], truth: Layers, true_ids: Sequence[int]) -> dict[str, int]:
        num_kept, num_true = len(ids), len(true_ids)
        presence = np.zeros((2, 2), np.int64)
        presence[int(num_true > 0), int(num_kept > 0)] = 1
        ious = pair_ious(prediction, ids, truth, true_ids)
        ious = ious[match_pairs(ious)]
        # A match computed as 0.6 = 0.6000000000000001 - 1 ulp is a match.
        hits = (ious[None, :] >= _THRESHOLDS[:, None] - 1e-12).sum(axis=1)
        false_positives = num_kept - hits if num_true and num_kept else np.zeros_like(hits)
        self._rows.append(np.concatenate([hits, false_positives, num_true - hits, presence.ravel()]))
        return {"predicted": num_kept, "true": num_true, "matched": int(hits[0])}

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._rows)

    def rows(self) -> Float[ndarray, "n k"]:
        """One row of sums per pair, for `pool`."""
        return np.array(self._rows, np.float64).reshape(-1, 3 * len(_THRESHOLDS) + 4)

    @staticmethod
    def pool(sums: Float[ndarray, "... k"]) -> dict[str, Values]:
        """Scores of a set of pairs from the sum of their rows."""
        count = len(_THRESHOLDS)
        hits, false_positives, misses = (sums[..., i * count : (i + 1) * count] for i in range(3))
        recall = hits / (hits + misses + _EPSILON)
        precision = hits / (hits + false_positives + _EPSILON)
        pmf1 = (2 * precision * recall / (precision + recall + _EPSILON)).mean(axis=-1)
        presence = sums[..., 3 * count :]
        pmf1 = np.where(presence.sum(axis=-1) > 0, pmf1, np.nan)
        il_mcc = _matthews(presence)
        return {"cgf1": pmf1 * il_mcc, "il_mcc": il_mcc, "pmf1": pmf1}

    def compute(self) -> dict[str, float]:
        """The three scores, with ``pairs``; NaN where undefined."""
        scores = self.pool(self.rows().sum(axis=0))
        return {**{name: float(value) for name, value in scores.items()}, "pairs": len(self._rows)}


def _matthews(presence: Float[ndarray, "... 4"]) -> ndarray:
    """Matthews correlation of presence; NaN when truth or prediction is always the same."""
    tn, fp, fn, tp = (presence[..., index] for index in range(4))
    norm = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(norm > 0, (tp * tn - fp * fn) / norm, np.nan)


class InstanceMapMetrics:
    """`InstanceMetrics` over whole images: one pair of id maps per image, whatever the classes.

    It compares what is visible: maps of students and of exported files have one instance per pixel.
    """

    def __init__(self) -> None:
        self._metrics = InstanceMetrics()

    def update(
        self, prediction: Shaped[ndarray, "h w"], truth: UInt16[ndarray, "h w"], valid: Bool[ndarray, "h w"]
    ) -> None:
        """Count one image; predictions where the truth is not known are left out."""
        known = valid & (truth != IGNORE_INSTANCE)
        predicted, true = (np.where(known, ids, 0).astype(np.uint16) for ids in (prediction, truth))
        self._metrics.update_layers([predicted], [true])

    def compute(self) -> dict[str, float]:
        """As `InstanceMetrics.compute`."""
        return self._metrics.compute()


TASK = TaskMetric(
    build=lambda facts: InstanceMapMetrics(),
    measure="pmf1",
    columns={
        "cgf1": ("cgF1", HIGHER),
        "il_mcc": ("IL_MCC", HIGHER),
        "pmf1": ("pmF1", HIGHER),
        "pairs": ("image-class pairs", ""),
    },
    note="SA-Co: every image and class is a pair, also where the class is absent.",
    image_error="fraction of instances missed or invented",
    error_of=lambda result: result["error"],
    pixel_error=foreground_error,
    undefined="it needs photos with and without instances of a class, in the truth and in the answers; compare pmF1",
)
