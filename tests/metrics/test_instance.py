"""SA-Co scores against a slow reading of their definition."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from sklearn.metrics import matthews_corrcoef

from distill.metrics import InstanceMetrics

THRESHOLDS = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
NONE = np.zeros((0, 20, 20), bool)


def _boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    masks = np.zeros((count, 20, 20), bool)
    for mask in masks:
        top, left = rng.integers(0, 12, 2)
        height, width = rng.integers(4, 9, 2)
        mask[top : top + height, left : left + width] = True
    return masks


def _best_ious(prediction: np.ndarray, truth: np.ndarray) -> list[float]:
    """By trying every assignment."""
    iou = [[(p & g).sum() / (p | g).sum() for g in truth] for p in prediction]
    if len(prediction) > len(truth):
        iou = [list(row) for row in zip(*iou, strict=True)]
    if not iou:
        return []
    tries = itertools.permutations(range(len(iou[0])), len(iou))
    return max(([iou[i][j] for i, j in enumerate(order)] for order in tries), key=sum)


def test_scores_equal_a_slow_reading_of_the_definition() -> None:
    rng, metrics = np.random.default_rng(0), InstanceMetrics()
    counted = [(_boxes(rng, int(rng.integers(0, 4))), int(rng.integers(0, 4))) for _ in range(30)]
    pairs = [(truth, np.concatenate([np.roll(truth, 1, 2)[:2], _boxes(rng, extra)])) for truth, extra in counted]
    pairs += [(NONE, NONE), (NONE, _boxes(rng, 1)), (_boxes(rng, 2), NONE)]
    hits, false, missed = np.zeros(10), np.zeros(10), np.zeros(10)
    for truth, prediction in pairs:
        metrics.update(prediction, truth)
        ious = _best_ious(prediction, truth)
        for index, threshold in enumerate(THRESHOLDS):
            hit = sum(iou >= threshold for iou in ious)
            hits[index] += hit
            missed[index] += len(truth) - hit
            if len(truth) and len(prediction):
                false[index] += len(prediction) - hit
    recall, precision = hits / (hits + missed + 1e-4), hits / (hits + false + 1e-4)
    pmf1 = np.mean(2 * precision * recall / (precision + recall + 1e-4))
    mcc = matthews_corrcoef([len(truth) > 0 for truth, _ in pairs], [len(said) > 0 for _, said in pairs])
    found = metrics.compute()
    assert found["pmf1"] == pytest.approx(pmf1, abs=1e-6)
    assert found["il_mcc"] == pytest.approx(mcc, abs=1e-6)
    assert found["cgf1"] == pytest.approx(pmf1 * mcc, abs=1e-6)
    assert found["pairs"] == len(pairs)


def test_unsure_predictions_are_dropped() -> None:
    truth, metrics = _boxes(np.random.default_rng(1), 1), InstanceMetrics()
    assert metrics.update(truth, truth, np.array([0.49]))["predicted"] == 0
    assert metrics.update(truth, truth, np.array([0.5]))["matched"] == 1


def test_one_truth_is_matched_once() -> None:
    truth, metrics = _boxes(np.random.default_rng(2), 1), InstanceMetrics()
    assert metrics.update(np.repeat(truth, 3, 0), truth)["matched"] == 1


def test_presence_that_never_varies_has_no_correlation() -> None:
    truth, metrics = _boxes(np.random.default_rng(3), 2), InstanceMetrics()
    metrics.update(truth, truth)
    assert math.isnan(metrics.compute()["il_mcc"])
    assert metrics.compute()["pmf1"] == pytest.approx(1.0, abs=1e-3)
    assert math.isnan(InstanceMetrics().compute()["pmf1"])
