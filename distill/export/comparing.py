"""Is it slower than it was? Two timings of one subject, and whether their difference is more than noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from distill.errors import UsageError

TOLERANCE = 0.02
"""A change below this is nobody's concern."""
_QUANTILE = 25.0
"""What is compared: the quarter of undisturbed calls says more about the engine than the median of a busy machine."""
_BLOCKS = 20
_RESAMPLES = 2000
_CONFIDENCE = 0.998


@dataclass(frozen=True, slots=True)
class Comparison:
    """One series then and now.

    Attributes:
        series: Subject, kind, size, batch, threads.
        base_ms: The lower quartile of the calls then.
        new_ms: The same now.
        ratio: Now to then; 1.05 is 5 % slower.
        low: Lower end of the ratio's confidence interval.
        high: Upper end.
    """

    series: str
    base_ms: float
    new_ms: float
    ratio: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """``slower`` or ``faster`` beyond noise and tolerance, else ``same``."""
        if self.low > 1.0 + TOLERANCE:
            return "slower"
        return "faster" if self.high < 1.0 - TOLERANCE else "same"


def compare_calls(base_ms: Sequence[float], new_ms: Sequence[float], series: str = "", seed: int = 0) -> Comparison:
    """The comparison of two series of calls.

    Neighbouring calls are alike (a machine slows down for seconds, not for single calls), so what is drawn again and
    again is not single calls but runs of them: a block bootstrap.
    """
    random = np.random.default_rng(seed)
    base, new = (np.asarray(calls, np.float64) for calls in (base_ms, new_ms))
    ratios = _resampled(new, random) / _resampled(base, random)
    low, high = np.percentile(ratios, [50 * (1 - _CONFIDENCE), 50 * (1 + _CONFIDENCE)])
    then, now = (float(np.percentile(calls, _QUANTILE)) for calls in (base, new))
    return Comparison(series, then, now, now / then, float(low), float(high))


def compare_results(base: Mapping[str, Any], new: Mapping[str, Any]) -> list[Comparison]:
    """Every series that two results of ``distill bench`` share.

    Raises:
        UsageError: They share none, or one is no such result.
    """
    try:
        before, after = ({_series(row): row["calls_ms"] for row in result["timings"]} for result in (base, new))
    except (KeyError, TypeError) as error:
        raise UsageError("--compare: not a result of distill bench", hint="give the bench.json of --out") from error
    shared = [series for series in before if series in after]
    if not shared:
        raise UsageError(
            f"--compare: no series in common; there it was {next(iter(before), 'nothing')}",
            hint="time the same subjects at the same --batch, --size and --threads",
        )
    return [compare_calls(before[series], after[series], series) for series in shared]


def _series(row: Mapping[str, Any]) -> str:
    height, width = row["size_hw"]
    return f"{row['subject']}, {row['what']}, {height}x{width}, batch {row['batch']}, {row.get('threads', 0)} threads"


def _resampled(calls: Float[ndarray, " n"], random: np.random.Generator) -> Float[ndarray, " r"]:
    length = max(1, len(calls) // _BLOCKS)
    count = -(-len(calls) // length)
    starts = random.integers(0, len(calls) - length + 1, (_RESAMPLES, count))
    drawn = calls[starts[..., None] + np.arange(length)].reshape(_RESAMPLES, -1)
    return np.percentile(drawn, _QUANTILE, axis=1)
