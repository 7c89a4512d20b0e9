"""The median of a stream against numpy's of all of it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from distill.metrics.running import RunningMedian


@pytest.mark.parametrize("most", [100_000, 5_000, 1_000])
@pytest.mark.parametrize("count", [1, 2, 999, 20_001, 20_002])
def test_it_is_exact_however_little_is_kept(most: int, count: int) -> None:
    values = np.random.default_rng(count).gamma(2, 10, count).clip(0, 180)
    running = RunningMedian(180.0, max_values=most)
    for start in range(0, count, 700):
        running.add(values[start : start + 700])
    assert running.compute() == pytest.approx(np.median(values), abs=1e-9)


def test_a_median_that_leaves_the_bracket_is_told_by_its_bin() -> None:
    values = np.concatenate([np.linspace(1, 2, 4_000), np.linspace(90, 91, 9_001)])
    running = RunningMedian(180.0, max_values=1_000)
    for start in range(0, len(values), 500):
        running.add(values[start : start + 500])
    assert running.compute() == pytest.approx(np.median(values), abs=1e-3)


@pytest.mark.parametrize("value", [0.0, 12.3456, 180.0])
def test_equal_values_and_none_at_all(value: float) -> None:
    running = RunningMedian(180.0, max_values=1_000)
    assert math.isnan(running.compute())
    for _ in range(9):
        running.add(np.full(500, value))
    assert running.compute() == pytest.approx(value, abs=1e-3)
