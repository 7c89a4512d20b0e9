"""Which labels not to believe: those that the student keeps disagreeing with, far more than with most others.

A generated image that is wrong is wrong as a whole: classes swapped, everything shifted, a flat depth. A student that
learns from many labels cannot learn such an answer by heart at first, so its error stays large while that of right
answers falls.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from distill.tasks import Task

_MEMORY = 0.5
"""Of the running error: what is kept at each new look at a photo."""
_BELOW = 0.1587
"""Quantile one standard deviation below the median of a normal distribution. The spread is taken from the lower half,
which holds right answers only; with a quarter of all labels wrong, the usual median deviation is twice as large."""


class NoisyLabelFilter:
    """The running error of every label, and what is left out because of it.

    Each process remembers the photos that it has seen itself.
    """

    def __init__(self, num_photos: int, tasks: Sequence[Task], limit: float) -> None:
        self._tasks, self._limit = tuple(tasks), limit
        self.errors = torch.full((len(self._tasks), num_photos), torch.nan)

    def weights(
        self, task: Task, rows: Int[Tensor, " b"], errors: Float[Tensor, " b"], *, active: bool
    ) -> Float[Tensor, " b"]:
        """1 for labels that are believed, 0 for the others; remembers these errors first.

        Args:
            task: Of the labels.
            rows: Which photos these are; a negative one is remembered as nothing.
            errors: Of this look at them; 0 where there is no label.
            active: Whether labels can be left out yet.
        """
        known = self.errors[self._tasks.index(task)]
        found, places = errors.detach().float().cpu(), rows.cpu()
        seen = (places >= 0) & (found > 0)
        places, found = places[seen], found[seen]
        before = known[places]
        known[places] = torch.where(before.isnan(), found, _MEMORY * before + (1 - _MEMORY) * found)
        if not active:
            return torch.ones_like(errors)
        is_noisy = known[rows.cpu().clamp(min=0)] > self.threshold(task)
        return 1.0 - is_noisy.to(errors)

    def threshold(self, task: Task) -> float:
        """The running error above which a label is not believed."""
        known = self.errors[self._tasks.index(task)]
        known = known[~known.isnan()]
        if not len(known):
            return float("inf")
        middle = known.median()
        return float(middle + self._limit * (middle - known.quantile(_BELOW)))

    def noisy_fraction(self, task: Task) -> float:
        """The share of the seen labels that is not believed."""
        known = self.errors[self._tasks.index(task)]
        seen = ~known.isnan()
        return float((known[seen] > self.threshold(task)).float().mean()) if bool(seen.any()) else 0.0
