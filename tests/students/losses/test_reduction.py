"""Weighted reductions and per-image statistics."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.students.losses.reduction import correlation, trim_worst, weighted_mean


def test_trimming_drops_the_worst_share_of_each_image() -> None:
    error = torch.arange(20.0).view(2, 2, 5)
    weight = torch.ones(2, 2, 5)
    weight[0, 0, :2] = 0  # the two smallest errors of the first image do not count
    kept = trim_worst(error, weight, 0.25)
    assert kept[0].flatten().tolist() == [0, 0, 1, 1, 1, 1, 1, 1, 0, 0]
    assert kept[1].flatten().tolist() == [1, 1, 1, 1, 1, 1, 1, 1, 0, 0]
    assert trim_worst(error, weight, 0.0) is weight
    assert float(weighted_mean(error, torch.zeros_like(weight))) == 0
    assert not trim_worst(error, torch.zeros_like(weight), 0.5).any()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.5, 2.0), st.floats(-3, 3))
def test_correlation_equals_numpy_and_ignores_scale_and_shift(seed: int, scale: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    one, other = rng.normal(size=(2, 1, 1, 6, 7))
    weight = (rng.uniform(size=(1, 6, 7)) > 0.4).astype(float)
    used = weight[0] > 0
    found = correlation(torch.from_numpy(one), torch.from_numpy(scale * other + shift), torch.from_numpy(weight))
    np.testing.assert_allclose(found[0], np.corrcoef(one[0, 0][used], other[0, 0][used])[0, 1], atol=1e-4)


def test_correlation_of_a_flat_or_unweighted_map_is_zero() -> None:
    maps, flat = torch.randn(1, 3, 6, 7), torch.ones(1, 3, 6, 7)
    ones = torch.ones(1, 6, 7)
    assert float(correlation(maps, flat, ones)) == 0 and float(correlation(maps, maps, 0 * ones)) == 0
    assert float(correlation(maps, maps, ones)) > 0.999
