"""Depth metrics against formulas written out in float64 numpy and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression
from sklearn.metrics import root_mean_squared_error

from distill.errors import DistillError, UsageError
from distill.metrics import Alignment, DepthMetrics, align_depth, default_alignment
from distill.tasks import DepthKind


def _images(seed: int = 0, count: int = 3) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        truth = rng.uniform(0.5, 9.0, (13, 17)).astype(np.float32)
        prediction = (truth * rng.uniform(0.6, 1.6, truth.shape)).astype(np.float32)
        images.append((prediction, truth, rng.random(truth.shape) < 0.7))
    return images


def _reference(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    p, g = prediction.astype(np.float64), truth.astype(np.float64)
    e = np.log(p) - np.log(g)
    ratio = np.max([p / g, g / p], axis=0)
    return {
        "delta1": np.mean(ratio < 1.25),
        "delta2": np.mean(ratio < 1.25**2),
        "delta3": np.mean(ratio < 1.25**3),
        "abs_rel": np.mean(np.abs(p - g) / g),
        "sq_rel": np.mean((p - g) ** 2 / g),
        "rmse_m": root_mean_squared_error(g, p),
        "rmse_log": root_mean_squared_error(np.log(g), np.log(p)),
        "log10": np.mean(np.abs(np.log10(p) - np.log10(g))),
        "silog": np.sqrt(np.mean(e**2) - 0.5 * np.mean(e) ** 2),
        "irmse": root_mean_squared_error(1 / g, 1 / p),
    }


def test_every_score_is_the_mean_over_images_of_its_formula() -> None:
    metrics, rows, variances = DepthMetrics(), [], []
    for prediction, truth, valid in _images():
        own = metrics.update(prediction, truth, valid)
        rows.append(_reference(prediction[valid], truth[valid]))
        variances.append(np.var(np.log(prediction[valid].astype(float)) - np.log(truth[valid].astype(float))))
        assert own == pytest.approx(rows[-1], abs=1e-6)
    found = metrics.compute()
    for name in DepthMetrics.NAMES:
        assert found[name] == pytest.approx(np.mean([row[name] for row in rows]), abs=1e-6)
    assert found["silog_marigold"] == pytest.approx(100 * math.sqrt(np.mean(variances)), abs=1e-6)
    assert (found["images"], found["bad_pixels"]) == (3, 0)
    assert found["pixels"] == sum(int(valid.sum()) for _, _, valid in _images())


def test_the_pixel_mean_would_be_another_number() -> None:
    # If this fails, the mean over images has become a mean over pixels.
    metrics = DepthMetrics()
    truth = np.full((4, 4), 2.0, np.float32)
    one = np.zeros((4, 4), bool)
    one[0, 0] = True
    metrics.update(truth * 2, truth, one)
    metrics.update(truth, truth, np.ones_like(one))
    assert metrics.compute()["abs_rel"] == pytest.approx(0.5)


@pytest.mark.parametrize("alignment", list(Alignment))
def test_alignment_equals_a_regression_by_scikit_learn(alignment: Alignment) -> None:
    prediction, truth, valid = _images(seed=4, count=1)[0]
    p, g = prediction[valid].astype(np.float64), truth[valid].astype(np.float64)

    def fitted(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return LinearRegression().fit(x[:, None], y).predict(x[:, None])

    aligned = {
        Alignment.NONE: p,
        Alignment.MEDIAN_SCALE: p * np.median(g) / np.median(p),
        Alignment.SCALE_SHIFT_DEPTH: fitted(p, g),
        Alignment.SCALE_SHIFT_DISPARITY: 1 / np.maximum(fitted(1 / p, 1 / g), 1 / 90.0),
        Alignment.SCALE_SHIFT_LOG: np.exp(fitted(np.log(p), np.log(g))),
    }[alignment]
    metrics = DepthMetrics(alignment=alignment, max_depth_m=90.0)
    metrics.update(prediction, truth, valid)
    expected = _reference(np.clip(aligned, 1e-3, 90.0), g)
    found = metrics.compute()
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)


@given(st.floats(0.05, 20), st.floats(-0.4, 5))
@settings(max_examples=25, deadline=None)
def test_disparity_scores_do_not_move_under_scale_and_shift(scale: float, shift: float) -> None:
    _, truth, valid = _images(seed=1, count=1)[0]
    disparity = (1.0 / truth + 0.05 * np.random.default_rng(2).random(truth.shape)).astype(np.float64)
    depth_kind, alignment = DepthKind.AFFINE_INVARIANT_DISPARITY, Alignment.SCALE_SHIFT_DISPARITY
    plain, moved = (DepthMetrics(alignment=alignment, depth_kind=depth_kind) for _ in range(2))
    plain.update(disparity, truth, valid)
    moved.update(scale * disparity + shift, truth, valid)
    assert moved.compute() == pytest.approx(plain.compute(), rel=1e-6, abs=1e-7)


def test_a_perfect_disparity_is_perfect_depth() -> None:
    _, truth, valid = _images(seed=1, count=1)[0]
    metrics = DepthMetrics(alignment=Alignment.SCALE_SHIFT_DISPARITY, depth_kind=DepthKind.AFFINE_INVARIANT_DISPARITY)
    metrics.update(0.3 / truth.astype(np.float64) + 0.2, truth, valid)
    assert metrics.compute()["abs_rel"] < 1e-6


@pytest.mark.parametrize("depth_kind", [depth_kind for depth_kind in DepthKind if depth_kind is not DepthKind.METRIC])
def test_a_relative_prediction_is_refused_without_alignment(depth_kind: DepthKind) -> None:
    with pytest.raises(UsageError, match=f"depth kind {depth_kind} cannot be scored with alignment none"):
        DepthMetrics(depth_kind=depth_kind)
    DepthMetrics(depth_kind=depth_kind, alignment=default_alignment(depth_kind))


def test_a_shift_cannot_be_left_unknown() -> None:
    with pytest.raises(UsageError, match="use --alignment scale_shift_disparity"):
        DepthMetrics(depth_kind=DepthKind.AFFINE_INVARIANT_DISPARITY, alignment=Alignment.MEDIAN_SCALE)


@pytest.mark.parametrize("alignment", list(Alignment))
def test_predictions_that_are_no_numbers_are_punished_and_counted(alignment: Alignment) -> None:
    prediction, truth, _ = _images(seed=6, count=1)[0]
    everywhere = np.ones(truth.shape, bool)
    clean = DepthMetrics(alignment=alignment)
    clean.update(prediction, truth, everywhere)
    broken = prediction.copy()
    broken[0, :3] = [np.nan, np.inf, -np.inf]
    broken[1, 0] = 0.0
    metrics = DepthMetrics(alignment=alignment)
    metrics.update(broken, truth, everywhere)
    found = metrics.compute()
    assert found["bad_pixels"] == 3
    assert all(math.isfinite(value) for value in found.values())
    assert found["abs_rel"] > clean.compute()["abs_rel"]


def test_nan_is_near_and_infinity_is_far() -> None:
    truth = np.full((1, 2), 4.0, np.float32)
    metrics = DepthMetrics(min_depth_m=1.0, max_depth_m=10.0)
    metrics.update(np.array([[np.nan, np.inf]], np.float32), truth, np.ones((1, 2), bool))
    assert metrics.compute()["abs_rel"] == pytest.approx((0.75 + 1.5) / 2)


@pytest.mark.parametrize(
    ("alignment", "nothing"),
    [
        *((alignment, np.nan) for alignment in Alignment),
        # Under a scale of depth, zero and less are depths, and take part in the fit.
        *(
            (alignment, zero)
            for alignment in (Alignment.NONE, Alignment.SCALE_SHIFT_DISPARITY, Alignment.SCALE_SHIFT_LOG)
            for zero in (0.0, -3.0)
        ),
    ],
)
def test_a_hole_is_near_under_every_alignment(alignment: Alignment, nothing: float) -> None:
    metrics = DepthMetrics(alignment=alignment, min_depth_m=1.0, max_depth_m=10.0)
    truth = np.array([[2.0, 4.0, 8.0, 5.0]], np.float32)
    valid = np.ones((1, 4), bool)
    assert metrics.update(np.array([[2.0, 4.0, 8.0, nothing]]), truth, valid)["abs_rel"] == pytest.approx(0.2)


def test_truth_out_of_range_does_not_count() -> None:
    truth = np.array([[0.0, np.nan, np.inf, 11.0, 2.0, -1.0]], np.float32)
    metrics = DepthMetrics(max_depth_m=10.0)
    metrics.update(np.full_like(truth, 2.5), truth, np.ones(truth.shape, bool))
    assert metrics.compute()["pixels"] == 1
    assert metrics.compute()["abs_rel"] == pytest.approx(0.25)


@pytest.mark.parametrize("alignment", list(Alignment))
def test_one_pixel_and_constants_have_a_score(alignment: Alignment) -> None:
    truth = np.array([[2.0, 4.0]], np.float32)
    for prediction, valid in (
        (np.array([[3.0, 9.0]], np.float32), np.array([[True, False]])),
        (np.full((1, 2), 3.0, np.float32), np.ones((1, 2), bool)),
        (np.zeros((1, 2), np.float32), np.ones((1, 2), bool)),
    ):
        metrics = DepthMetrics(alignment=alignment)
        metrics.update(prediction, truth, valid)
        # One value next to itself has no jump, so the F1 of jumps alone may be undefined.
        assert all(math.isfinite(value) for name, value in metrics.compute().items() if name != "boundary_f1")


def test_without_a_valid_pixel_there_is_no_number() -> None:
    metrics = DepthMetrics()
    truth = np.full((2, 2), 2.0, np.float32)
    own = metrics.update(truth, truth, np.zeros((2, 2), bool))
    assert all(math.isnan(value) for value in own.values())
    found = metrics.compute()
    assert math.isnan(found["delta1"]) and math.isnan(found["silog_marigold"])
    assert (found["images"], found["images_skipped"]) == (0, 1)
    metrics.update(truth, truth, np.ones((2, 2), bool))
    assert metrics.compute()["delta1"] == 1.0


def test_an_empty_range_is_refused() -> None:
    with pytest.raises(DistillError, match="empty or not positive"):
        DepthMetrics(min_depth_m=5.0, max_depth_m=2.0)


def test_the_aligned_picture_is_what_was_scored() -> None:
    prediction, truth, valid = _images(seed=9, count=1)[0]
    aligned = align_depth(
        prediction, truth, valid, alignment=Alignment.SCALE_SHIFT_LOG, min_depth_m=1e-3, max_depth_m=90.0
    )
    metrics = DepthMetrics(alignment=Alignment.SCALE_SHIFT_LOG)
    metrics.update(prediction, truth, valid)
    assert _reference(aligned[valid], truth[valid])["abs_rel"] == pytest.approx(metrics.compute()["abs_rel"], abs=1e-9)
