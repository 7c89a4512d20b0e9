"""Comparison of the speed of two models, with a confidence interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from distill.export.runners import Runner
from distill.export.verification.timing import SCOPES, runner_call, time_pairs

TOLERANCE = 0.02
"""Smaller changes of the ratio are ignored."""
_QUANTILE = 25.0
"""Percentile of unpaired calls: on a busy machine, the least disturbed quarter describes the engine better."""
_BLOCKS = 20
_RESAMPLES = 2000
_CONFIDENCE = 0.998


@dataclass(frozen=True, slots=True)
class Comparison:
    """A new series against a base.

    Attributes:
        series: Model, scope, size, batch, threads.
        base_ms: Duration of a call of the base: median of paired calls, lower quartile of others.
        new_ms: The same for the new series.
        ratio: New divided by base; 1.05 is 5 % slower.
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


def compare_calls(
    base_ms: Sequence[float], new_ms: Sequence[float], series: str = "", *, paired: bool = False, seed: int = 0
) -> Comparison:
    """Compare two series of calls.

    Paired calls alternate, so both of a pair were made in the same state of the machine: the ratio is the median of
    theirs. Neighboring calls are correlated (a machine slows down for seconds, not for single calls), so the interval
    is a block bootstrap over runs of calls.
    """
    random = np.random.default_rng(seed)
    base, new = (np.asarray(calls, np.float64) for calls in (base_ms, new_ms))
    percent = 50.0 if paired else _QUANTILE
    then, now = (float(np.percentile(calls, percent)) for calls in (base, new))
    if paired:
        ratio = float(np.median(new / base))
        drawn = _resampled(new / base, percent, random)
    else:
        ratio = now / then
        drawn = _resampled(new, percent, random) / _resampled(base, percent, random)
    low, high = np.percentile(drawn, [50 * (1 - _CONFIDENCE), 50 * (1 + _CONFIDENCE)])
    return Comparison(series, then, now, ratio, float(low), float(high))


def compare_runners(
    base: Runner,
    new: Runner,
    batches: Sequence[int],
    sizes_hw: Sequence[tuple[int, int]],
    *,
    seconds: float,
    scope: Sequence[str] = SCOPES,
    advance: Callable[[], None] = lambda: None,
    name: str = "",
) -> list[Comparison]:
    """Compare two runners in alternate calls on the same images, for each size, batch and scope.

    Open both with `allow_spinning=False`; otherwise the idle threads of one occupy cores during calls of the other.
    """
    found = []
    for size_hw in sizes_hw:
        for batch in batches:
            for kind in scope:
                calls = [runner_call(runner, kind, batch, size_hw) for runner in (base, new)]
                then, now = time_pairs(calls[0], calls[1], seconds=seconds)
                series = f"{name or new.name}, {kind}, {size_hw[0]}x{size_hw[1]}, batch {batch}, {new.threads} threads"
                found.append(compare_calls(then, now, series, paired=True))
                advance()
    return found


def _resampled(calls: Float[ndarray, " n"], percent: float, random: np.random.Generator) -> Float[ndarray, " r"]:
    length = max(1, len(calls) // _BLOCKS)
    count = -(-len(calls) // length)
    starts = random.integers(0, len(calls) - length + 1, (_RESAMPLES, count))
    within = np.arange(length)
    return np.array([np.percentile(calls[(drawn[:, None] + within).ravel()], percent) for drawn in starts])
