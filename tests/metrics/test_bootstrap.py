from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from distill.metrics import DepthMetrics, InstanceMetrics, NormalsMetrics, SegmentationMetrics, compare, intervals


def mean_pool(sums: np.ndarray) -> dict[str, np.ndarray]:
    return {"mean": sums[..., 0] / sums[..., 1]}


def rows_of(values: np.ndarray) -> np.ndarray:
    return np.stack([values, np.ones_like(values)], axis=1)


def test_the_interval_of_a_mean_is_that_of_the_textbook() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    low, high = intervals(rows_of(values), mean_pool, resamples=4000)["mean"]
    wanted = stats.norm.interval(0.95, values.mean(), values.std() / 20)
    assert low == pytest.approx(wanted[0], abs=0.03) and high == pytest.approx(wanted[1], abs=0.03)
    assert intervals(rows_of(values[:1]), mean_pool) == {}


def test_a_paired_difference_is_found_where_an_unpaired_one_would_drown() -> None:
    rng = np.random.default_rng(1)
    hard = rng.normal(0, 10, 60)  # some photos are hard for everyone
    first, second = hard + rng.normal(0, 0.3, 60), hard + 0.3 + rng.normal(0, 0.3, 60)
    found = compare(rows_of(first), rows_of(second), mean_pool)["mean"]
    assert found.p < 0.005 and found.low < found.difference < found.high < 0 and found.photos == 60
    assert stats.ttest_ind(first, second).pvalue > 0.5


def test_p_is_that_of_the_exact_permutation_test() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.normal(0, 1, 10), rng.normal(0.4, 1, 10)
    exact = stats.permutation_test(
        (first, second), lambda a, b: np.mean(a) - np.mean(b), permutation_type="samples", n_resamples=np.inf
    )
    found = compare(rows_of(first), rows_of(second), mean_pool, resamples=20000)["mean"]
    assert found.p == pytest.approx(exact.pvalue, abs=0.015)


def test_equal_answers_differ_by_nothing() -> None:
    rows = rows_of(np.random.default_rng(3).random(20))
    found = compare(rows, rows.copy(), mean_pool)["mean"]
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_pools_of_all_metrics_give_what_compute_gives() -> None:
    rng = np.random.default_rng(4)
    valid = rng.random((5, 12, 16)) < 0.9
    depth, normals, classes, instances = DepthMetrics(), NormalsMetrics(), SegmentationMetrics(4), InstanceMetrics()
    for mask in valid:
        depth.update(rng.uniform(1, 5, (12, 16)), rng.uniform(1, 5, (12, 16)), mask)
        normals.update(rng.normal(0, 1, (12, 16, 3)), rng.normal(0, 1, (12, 16, 3)), mask)
        found, true = (rng.integers(0, 4, (12, 16)).astype(np.uint8) for _ in range(2))
        classes.update(found, true, mask)
        instances.update(rng.random((rng.integers(0, 3), 6, 6)) < 0.5, rng.random((rng.integers(0, 3), 6, 6)) < 0.5)
    for metrics in (depth, normals, classes, instances):
        rows = metrics.rows()
        assert len(rows) == len(metrics) == 5
        pooled = metrics.pool(np.stack([rows.sum(axis=0), rows[:2].sum(axis=0)]))
        computed = metrics.compute()
        for name, values in pooled.items():
            assert isinstance(values, np.ndarray) and values.shape == (2,)
            np.testing.assert_allclose(values[0], computed[name], rtol=1e-12)


def test_a_score_that_is_undefined_differs_by_nothing_that_could_be_luck() -> None:
    def undefined(sums: np.ndarray) -> dict[str, np.ndarray]:
        return {"none": np.full(sums.shape[:-1], np.nan), **mean_pool(sums)}

    rng = np.random.default_rng(4)
    found = compare(rows_of(rng.random(20)), rows_of(rng.random(20) + 1), undefined)
    assert np.isnan(found["none"].p) and found["mean"].p < 0.01


def test_swaps_without_a_score_say_nothing_about_luck() -> None:
    """Undefined wherever photo 0 is answered by the second: half of all swaps."""

    def half(sums: np.ndarray) -> dict[str, np.ndarray]:
        return {"mean": np.where(sums[..., 0] > 1000, sums[..., 0], np.nan)}

    first, second = np.r_[2000.0, np.zeros(9)], np.r_[1500.0, np.ones(9)]
    assert compare(rows_of(first), rows_of(second), half)["mean"].p > 0.3
