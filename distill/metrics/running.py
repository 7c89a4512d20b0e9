"""Bounded-memory median, and mean error by group."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

_MAX_VALUES = 1 << 24
"""Number of values in memory at once, 128 MiB."""
_BINS = 180_000


class RunningMedian:
    """Median of values in [0, highest] that are added in pieces.

    All values are counted in bins. The values themselves stay in memory while they fit; after that, only those in a
    bracket around the current median, which narrows whenever it is full. The median is exact while it is inside the
    bracket, as for a long sequence of photos; otherwise it is the center of its bin.
    """

    def __init__(self, highest: float, *, max_values: int = _MAX_VALUES) -> None:
        self._step, self._max_values = highest / _BINS, max_values
        self._bins = np.zeros(_BINS + 1, np.int64)
        self._low, self._high = -math.inf, math.inf
        self._below = 0
        self._kept: list[ndarray] = []
        self._room = max_values

    def add(self, values: Float[ndarray, " n"]) -> None:
        """Count the values."""
        self._bins += np.bincount((values / self._step).astype(np.int64), minlength=len(self._bins))
        self._keep(values.astype(np.float64))
        if self._room < 0:
            self._narrow()

    def compute(self) -> float:
        """Median (mean of the two middle values for an even count); NaN without values."""
        total = int(self._bins.sum())
        if not total:
            return math.nan
        ranks = np.array([(total - 1) // 2, total // 2])
        kept = np.concatenate(self._kept)
        places = ranks - self._below
        if places[0] >= 0 and places[1] < len(kept):
            return float(np.partition(kept, places)[places].mean())
        return float((np.searchsorted(np.cumsum(self._bins), ranks + 1).mean() + 0.5) * self._step)

    def _keep(self, values: ndarray) -> None:
        """Store values inside the bracket, and count those below it."""
        kept = values
        if self._low > -math.inf:
            kept = values[(values >= self._low) & (values <= self._high)]
            self._below += int((values < self._low).sum())
        self._kept.append(kept)
        self._room -= len(kept)

    def _narrow(self) -> None:
        """Drop at least half of the stored values, those far from the current median."""
        values, middle = np.concatenate(self._kept), self.compute()
        for half in (len(self._bins) * self._step / 2.0**power for power in range(3, 18)):
            inside = (values >= middle - half) & (values <= middle + half)
            if inside.sum() <= self._max_values // 2:
                break
        else:
            # Nearly all values are equal, and their bin gives the median: no values are stored from here on.
            self._low, self._kept, self._room = math.inf, [values[:0]], self._max_values
            return
        self._low, self._high = max(self._low, middle - half), min(self._high, middle + half)
        self._below += int((values < self._low).sum())
        self._kept, self._room = [values[inside]], self._max_values - int(inside.sum())


class GroupSums:
    """Mean error of each of up to 256 groups, over the pixels of all images."""

    def __init__(self) -> None:
        self._sums = np.zeros((2, 256))

    def add(self, errors: Float[ndarray, " n"], groups: UInt8[ndarray, " n"]) -> None:
        """Add the pixels of one image."""
        self._sums[0] += np.bincount(groups, errors, 256)
        self._sums[1] += np.bincount(groups, minlength=256)

    def means(self) -> dict[int, tuple[float, int]]:
        """Group to (mean error, pixels); groups without a pixel are left out."""
        errors, counts = self._sums.tolist()
        return {group: (errors[group] / count, int(count)) for group, count in enumerate(counts) if count}
