"""Is it slower than it was? Two timings of one model, and whether their difference is more than noise."""

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

Rounds = Sequence[Sequence[float]]
"""Milliseconds of the calls of each turn."""


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
        machine: How much slower the machine itself was now, by the yardstick; `ratio` is what is left after that.
    """

    series: str
    base_ms: float
    new_ms: float
    ratio: float
    low: float
    high: float
    machine: float | None = None

    @property
    def verdict(self) -> str:
        """``slower`` or ``faster`` beyond noise and tolerance, else ``same``."""
        if self.low > 1.0 + TOLERANCE:
            return "slower"
        return "faster" if self.high < 1.0 - TOLERANCE else "same"


def compare_calls(base_ms: Sequence[float], new_ms: Sequence[float], series: str = "", seed: int = 0) -> Comparison:
    """The comparison of two series of calls.

    Neighboring calls are alike (a machine slows down for seconds, not for single calls), so what is drawn again and
    again is not single calls but runs of them: a block bootstrap.
    """
    random = np.random.default_rng(seed)
    base, new = (np.asarray(calls, np.float64) for calls in (base_ms, new_ms))
    ratios = _resampled(new, random) / _resampled(base, random)
    low, high = np.percentile(ratios, [50 * (1 - _CONFIDENCE), 50 * (1 + _CONFIDENCE)])
    then, now = (float(np.percentile(calls, _QUANTILE)) for calls in (base, new))
    return Comparison(series, then, now, now / then, float(low), float(high))


def compare_rounds(base: Sequence[Rounds], new: Sequence[Rounds], series: str = "", seed: int = 0) -> Comparison:
    """The comparison of two series of turns, each with the turns of the yardstick beside it: (model, yardstick).

    A turn and the yardstick's next to it (or a call, where calls alternate) were in the same moment of the machine, so
    their ratio is free of what else the machine did; turns are drawn again and again.
    """
    random = np.random.default_rng(seed)
    sides = [_relative(*side) for side in (base, new)]
    drawn = []
    for rounds in sides:
        picks = random.integers(0, len(rounds), (_RESAMPLES, len(rounds)))
        drawn.append(np.array([np.median(np.concatenate([rounds[turn] for turn in pick])) for pick in picks]))
    low, high = np.percentile(drawn[1] / drawn[0], [50 * (1 - _CONFIDENCE), 50 * (1 + _CONFIDENCE)])
    (then, stick_then), (now, stick_now) = [[_typical(rounds) for rounds in side] for side in (base, new)]
    middles = [float(np.median(np.concatenate(rounds))) for rounds in sides]
    return Comparison(series, then, now, middles[1] / middles[0], float(low), float(high), stick_now / stick_then)


def _relative(model: Rounds, yardstick: Rounds) -> list[Float[ndarray, " n"]]:
    """Per turn, how long the model took in yardsticks: call by call where both have as many, else one number."""
    found = []
    for ours, theirs in zip(model, yardstick, strict=True):
        if len(ours) == len(theirs):
            found.append(np.asarray(ours, np.float64) / np.asarray(theirs, np.float64))
        else:
            found.append(np.array([np.percentile(ours, _QUANTILE) / np.percentile(theirs, _QUANTILE)]))
    return found


def _typical(rounds: Rounds) -> float:
    """Milliseconds of an undisturbed call, in the middle one of the turns."""
    return float(np.median([np.percentile(turn, _QUANTILE) for turn in rounds]))


def compare_results(base: Mapping[str, Any], new: Mapping[str, Any]) -> list[Comparison]:
    """Every series that two results of ``distill bench`` share, by the nearest yardstick that both have.

    Raises:
        UsageError: They share none, or one is no such result.
    """
    try:
        before, after = ({_series(row): row for row in result["timings"]} for result in (base, new))
        shared = [series for series in before if series in after]
        if not shared:
            raise UsageError(
                f"--compare: no series in common; there it was {next(iter(before), 'nothing')}",
                hint="time the same models at the same --batch, --size and --threads",
            )
        found = []
        for series in shared:
            then, now = before[series], after[series]
            sides = _beside_its_own(base, then, new, now) or _beside_that_of_all(base, then, new, now)
            if sides is None:
                found.append(compare_calls(then["calls_ms"], now["calls_ms"], series))
            else:
                found.append(compare_rounds(*sides, series))
    except (KeyError, TypeError) as error:
        raise UsageError("--compare: not a result of distill bench", hint="give the bench.json of --out") from error
    return found


Side = tuple[Rounds, Rounds]
"""The turns of a series and of the yardstick beside it."""


def _beside_its_own(
    base: Mapping[str, Any], then: Mapping[str, Any], new: Mapping[str, Any], now: Mapping[str, Any]
) -> tuple[Side, Side] | None:
    """By the bare engine, if it called one and the same file then and now.

    What slows the machine slows the same layers by as much, which no other network can promise.
    """
    name = then["model"]
    sticks = [_stick(result, row, name) for result, row in ((base, then), (new, now))]
    if sticks[0] is None or sticks[1] is None or sticks[0]["digest"] != sticks[1]["digest"]:
        return None
    return _sides(then, sticks[0], now, sticks[1])


def _beside_that_of_all(
    base: Mapping[str, Any], then: Mapping[str, Any], new: Mapping[str, Any], now: Mapping[str, Any]
) -> tuple[Side, Side] | None:
    """By the fixed network that is no student."""
    sticks = [_stick(result, row, "") for result, row in ((base, then), (new, now))]
    return None if sticks[0] is None or sticks[1] is None else _sides(then, sticks[0], now, sticks[1])


def _stick(result: Mapping[str, Any], row: Mapping[str, Any], beside: str) -> Mapping[str, Any] | None:
    same = ("scope", "size_hw", "batch", "threads")
    return next(
        (
            other
            for other in result.get("yardstick", ())
            if other.get("beside", "") == beside and all(other[key] == row[key] for key in same)
        ),
        None,
    )


def _sides(
    then: Mapping[str, Any], stick_then: Mapping[str, Any], now: Mapping[str, Any], stick_now: Mapping[str, Any]
) -> tuple[Side, Side] | None:
    pairs = ((then, stick_then), (now, stick_now))
    if any(not row["rounds"] or len(row["rounds"]) != len(stick["rounds"]) for row, stick in pairs):
        return None
    return (_rounds(then), _rounds(stick_then)), (_rounds(now), _rounds(stick_now))


def _rounds(row: Mapping[str, Any]) -> Rounds:
    ends = np.cumsum(row["rounds"])
    return [row["calls_ms"][end - count : end] for end, count in zip(ends, row["rounds"], strict=True)]


def _series(row: Mapping[str, Any]) -> str:
    height, width = row["size_hw"]
    return f"{row['model']}, {row['scope']}, {height}x{width}, batch {row['batch']}, {row.get('threads', 0)} threads"


def _resampled(calls: Float[ndarray, " n"], random: np.random.Generator) -> Float[ndarray, " r"]:
    length = max(1, len(calls) // _BLOCKS)
    count = -(-len(calls) // length)
    starts = random.integers(0, len(calls) - length + 1, (_RESAMPLES, count))
    drawn = calls[starts[..., None] + np.arange(length)].reshape(_RESAMPLES, -1)
    return np.percentile(drawn, _QUANTILE, axis=1)
