"""Angular errors against float64 numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from distill.metrics import NormalsMetrics
from distill.metrics.normals import angular_error_deg


def _unit(rng: np.random.Generator, size_hw: tuple[int, int]) -> np.ndarray:
    vectors = rng.normal(size=(*size_hw, 3))
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def _reference_deg(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    p, g = prediction.astype(np.float64), truth.astype(np.float64)
    # atan2 of cross and dot: another road to the same angle.
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(p, g), axis=-1), np.sum(p * g, axis=-1)))


def test_scores_pool_the_pixels_of_all_images() -> None:
    rng, metrics, errors = np.random.default_rng(0), NormalsMetrics(), []
    for size_hw in ((11, 7), (23, 30), (5, 5)):
        truth = _unit(rng, size_hw)
        prediction = truth + 0.3 * _unit(rng, size_hw)
        valid = rng.random(size_hw) < 0.6
        metrics.update(prediction, truth, valid)
        errors.append(_reference_deg(prediction[valid], truth[valid]))
    pooled, found = np.concatenate(errors), metrics.compute()
    assert found["mean_deg"] == pytest.approx(pooled.mean(), abs=1e-6)
    assert found["rmse_deg"] == pytest.approx(math.sqrt(np.mean(pooled**2)), abs=1e-6)
    assert found["median_deg"] == pytest.approx(np.median(pooled), abs=1e-6)
    for threshold in NormalsMetrics.THRESHOLDS_DEG:
        name = f"within_{threshold:g}".replace(".", "_")
        assert found[name] == pytest.approx(np.mean(pooled < threshold), abs=1e-6)
    assert found["pixels"] == pooled.size


def test_equal_float32_normals_have_no_error() -> None:
    # A cosine in float32 would show up to 0.02 degrees here.
    truth, metrics = _unit(np.random.default_rng(1), (50, 50)), NormalsMetrics()
    metrics.update(truth, truth, np.ones((50, 50), bool))
    assert metrics.compute()["mean_deg"] < 1e-5


def test_length_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    truth, prediction = _unit(rng, (9, 9)), _unit(rng, (9, 9))
    short, long = NormalsMetrics(), NormalsMetrics()
    everywhere = np.ones((9, 9), bool)
    short.update(prediction, truth, everywhere)
    long.update(prediction * np.float32(8), truth * np.float32(0.25), everywhere)  # without rounding
    assert long.compute() == pytest.approx(short.compute(), abs=1e-6)


def test_a_prediction_without_direction_is_the_worst() -> None:
    truth = np.zeros((1, 4, 3), np.float32)
    truth[..., 2] = 1
    prediction = truth.copy()
    prediction[0, 0] = np.nan
    prediction[0, 1] = np.inf
    prediction[0, 2] = 0
    metrics = NormalsMetrics()
    metrics.update(prediction, truth, np.ones((1, 4), bool))
    found = metrics.compute()
    assert found["mean_deg"] == pytest.approx(135.0)
    assert (found["bad_pixels"], found["within_5"]) == (3, 0.25)


def test_truth_without_direction_does_not_count() -> None:
    truth = np.zeros((1, 3, 3), np.float32)
    truth[0, 0] = [0, 0, 1]
    truth[0, 1] = np.nan
    metrics = NormalsMetrics()
    metrics.update(np.ones((1, 3, 3), np.float32), truth, np.ones((1, 3), bool))
    assert metrics.compute()["pixels"] == 1


def test_without_a_valid_pixel_there_is_no_number() -> None:
    truth, metrics = _unit(np.random.default_rng(3), (3, 3)), NormalsMetrics()
    assert math.isnan(metrics.update(truth, truth, np.zeros((3, 3), bool))["mean_deg"])
    found = metrics.compute()
    assert all(math.isnan(found[name]) for name in ("mean_deg", "median_deg", "rmse_deg", "within_30"))
    assert found["images_skipped"] == 1


def test_opposite_normals_are_180_degrees_apart() -> None:
    truth = _unit(np.random.default_rng(4), (4, 4))
    error_deg = angular_error_deg(-truth, truth, np.ones((4, 4), bool))
    np.testing.assert_allclose(error_deg, 180.0, atol=1e-4)
