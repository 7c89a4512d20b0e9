"""Segmentation scores against torchmetrics and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, recall_score

from distill.errors import DistillError
from distill.metrics import ReferringMetrics, SegmentationMetrics


def _ids(seed: int, num_classes: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, num_classes, (40, 50)).astype(np.uint8)
    prediction = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(0, num_classes, truth.shape))
    truth[rng.random(truth.shape) < 0.1] = 255
    return prediction.astype(np.uint8), truth, rng.random(truth.shape) < 0.9


def test_scores_equal_torchmetrics_and_scikit_learn() -> None:
    import torch
    from torchmetrics.classification import MulticlassJaccardIndex

    metrics, reference = SegmentationMetrics(6), MulticlassJaccardIndex(6, average=None)
    trues, saids = [], []
    for seed in range(3):
        prediction, truth, valid = _ids(seed)
        metrics.update(prediction, truth, valid)
        counts = valid & (truth != 255)
        trues.append(truth[counts])
        saids.append(prediction[counts])
        reference.update(torch.from_numpy(saids[-1].astype(int)), torch.from_numpy(trues[-1].astype(int)))
    true, said = np.concatenate(trues), np.concatenate(saids)
    iou, found = reference.compute().numpy(), metrics.compute()
    assert found["miou"] == pytest.approx(iou.mean(), abs=1e-6)
    assert [row["iou"] for row in metrics.per_class().values()] == pytest.approx(iou, abs=1e-6)
    assert found["pixel_accuracy"] == pytest.approx(np.mean(true == said), abs=1e-6)
    assert found["mean_accuracy"] == pytest.approx(recall_score(true, said, average="macro"), abs=1e-6)
    assert found["fw_iou"] == pytest.approx(iou @ np.bincount(true, minlength=6) / true.size, abs=1e-6)
    np.testing.assert_array_equal(metrics.confusion()[:, :6], confusion_matrix(true, said))


def test_classes_that_nobody_has_are_left_out() -> None:
    truth = np.array([[0, 0, 2, 2]], np.uint8)
    prediction = np.array([[0, 0, 2, 3]], np.uint8)
    metrics = SegmentationMetrics(9)
    metrics.update(prediction, truth, np.ones(truth.shape, bool))
    # Class 3 is only predicted and scores 0; 1 and 4 to 8 are nowhere.
    assert metrics.compute()["miou"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert metrics.compute()["mean_accuracy"] == pytest.approx(0.75)
    assert set(metrics.per_class()) == {0, 2, 3}


def test_a_prediction_that_is_no_class_is_wrong_and_charged_to_nobody() -> None:
    truth = np.array([[0, 0, 1, 1]], np.uint8)
    prediction = np.array([[0, 255, 1, 7]], np.uint8)
    metrics = SegmentationMetrics(2)
    metrics.update(prediction, truth, np.ones(truth.shape, bool))
    found = metrics.compute()
    assert (found["miou"], found["pixel_accuracy"]) == (0.5, 0.5)
    assert metrics.per_class()[0]["precision"] == 1.0


def test_truth_of_another_class_list_is_refused() -> None:
    with pytest.raises(DistillError, match="class id 7, but there are 3 classes"):
        SegmentationMetrics(3).update(np.zeros((1, 1), np.uint8), np.full((1, 1), 7, np.uint8), np.ones((1, 1), bool))


def test_without_a_valid_pixel_there_is_no_number() -> None:
    metrics, ids = SegmentationMetrics(3), np.full((2, 2), 255, np.uint8)
    assert math.isnan(metrics.update(ids, ids, np.ones((2, 2), bool))["miou"])
    found = metrics.compute()
    assert math.isnan(found["miou"]) and found["images_skipped"] == 1 and metrics.per_class() == {}


def test_referring_scores_are_those_of_lisa() -> None:
    rng, metrics, pairs = np.random.default_rng(0), ReferringMetrics(), []
    for _ in range(5):
        prediction, truth = rng.random((9, 9)) < 0.5, rng.random((9, 9)) < 0.5
        metrics.update(prediction, truth, np.ones((9, 9), bool))
        pairs.append(((prediction & truth).sum(), (prediction | truth).sum()))
    nothing = np.zeros((9, 9), bool)
    metrics.update(nothing, nothing, ~nothing)
    intersections, unions = np.array(pairs).T
    found = metrics.compute()
    assert found["ciou"] == pytest.approx(intersections.sum() / unions.sum(), abs=1e-6)
    assert found["giou"] == pytest.approx((np.sum(intersections / (unions + 1e-5)) + 1) / 6, abs=1e-6)
    assert math.isnan(ReferringMetrics().compute()["ciou"])
