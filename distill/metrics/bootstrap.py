"""Bootstrap intervals of scores over photos, and permutation tests between two predictors.

Photos are the sampling unit, since errors of pixels of one photo are correlated. A predictor's statistics are one row
of sums per photo, and `pool` turns any sum of rows into scores, so that a resample costs one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from distill.metrics.base import Values

Pool = Callable[[ndarray], dict[str, Values]]
"""Sums of statistics, (..., k), to scores by name, each (...)."""

_RESAMPLES = 1000
_CHUNK = 50


@dataclass(frozen=True, slots=True)
class Difference:
    """Difference of one score between two predictors on the same photos.

    Attributes:
        difference: First minus second.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p: Two-sided p value; NaN where there is no difference.
        photos: Number of photos that both have a score for.
    """

    difference: float
    low: float
    high: float
    p: float
    photos: int


def intervals(
    rows: Float[ndarray, "n k"], pool: Pool, *, resamples: int = _RESAMPLES, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """95 % percentile bootstrap interval of every score over photos; empty below two photos."""
    if len(rows) < 2:
        return {}
    found = _stack([pool(counts @ rows) for counts in _resamples(len(rows), resamples, seed)])
    return {name: _ends(values) for name, values in found.items()}


def compare(
    first: Float[ndarray, "n k"],
    second: Float[ndarray, "n k"],
    pool: Pool,
    *,
    resamples: int = _RESAMPLES,
    seed: int = 0,
) -> dict[str, Difference]:
    """Compare every score of two predictors, whose rows are of the same photos in the same order.

    The interval is a paired bootstrap; p comes from a paired permutation test (swap the two predictions of each photo
    at random). Below two photos the result is empty.
    """
    if len(first) < 2:
        return {}
    ones, others = pool(first.sum(axis=0)), pool(second.sum(axis=0))
    resampled = _stack(
        [_subtract(pool(counts @ first), pool(counts @ second)) for counts in _resamples(len(first), resamples, seed)]
    )
    swapped = _stack(list(_swaps(first, second, pool, resamples, seed)))
    found = {}
    for name, value in _subtract(ones, others).items():
        chance = np.abs(swapped[name])
        chance = chance[np.isfinite(chance)]
        # Rounding must not make equal scores differ.
        as_large = chance >= abs(float(value)) * (1 - 1e-9) - 1e-15
        p = (1 + int(as_large.sum())) / (1 + len(chance)) if np.isfinite(value) else float("nan")
        found[name] = Difference(float(value), *_ends(resampled[name]), p, len(first))
    return found


def _resamples(num_rows: int, resamples: int, seed: int) -> Iterator[ndarray]:
    """Number of times each row is drawn, in chunks of resamples."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, _CHUNK):
        count = min(_CHUNK, resamples - start)
        yield rng.multinomial(num_rows, np.full(num_rows, 1 / num_rows), size=count).astype(np.float64)


def _swaps(first: ndarray, second: ndarray, pool: Pool, resamples: int, seed: int) -> Iterator[dict[str, Values]]:
    """Differences after swapping the predictions of each photo with probability 0.5."""
    rng = np.random.default_rng((seed, 1))
    total_first, total_second, change = first.sum(axis=0), second.sum(axis=0), second - first
    for start in range(0, resamples, _CHUNK):
        moved = rng.integers(0, 2, (min(_CHUNK, resamples - start), len(first))).astype(np.float64) @ change
        yield _subtract(pool(total_first + moved), pool(total_second - moved))


def _subtract(first: dict[str, Values], second: dict[str, Values]) -> dict[str, Values]:
    return {name: first[name] - second[name] for name in first}


def _stack(parts: list[dict[str, Values]]) -> dict[str, Values]:
    return {name: np.concatenate([np.atleast_1d(part[name]) for part in parts]) for name in parts[0]}


def _ends(values: Values) -> tuple[float, float]:
    scores = np.atleast_1d(values)
    known = scores[np.isfinite(scores)]
    if not known.size:
        return float("nan"), float("nan")
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)
