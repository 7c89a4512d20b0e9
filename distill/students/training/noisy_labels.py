"""Noisy-label filter: leaves out labels whose error stays far above that of most labels.

A wrong generated image is wrong as a whole: classes swapped, everything shifted, a flat depth. A student trained on
many labels cannot memorize it at first, so its error stays large while that of correct labels falls.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from distill.tasks import Task

_MEMORY = 0.5
"""Weight of the previous running error at each new error."""
_BELOW = 0.1587
"""Quantile one standard deviation below the median of a normal distribution. The spread is measured in the lower half,
which holds correct labels only; with a quarter of all labels wrong, the median absolute deviation is twice as large."""


class NoisyLabelFilter:
    """Running error of every label, and the weights that follow from it.

    Each process tracks the photos of its own batches.
    """

    def __init__(self, num_photos: int, tasks: Sequence[Task], limit: float) -> None:
        self._tasks, self._limit = tuple(tasks), limit
        self.errors = torch.full((len(self._tasks), num_photos), torch.nan)

    def weights(
        self, task: Task, rows: Int[Tensor, " b"], errors: Float[Tensor, " b"], *, active: bool
    ) -> Float[Tensor, " b"]:
        """Update the running errors; returns 0 for noisy labels and 1 for the others.

        Args:
            task: Of the labels.
            rows: Indices of the photos; negative ones are not recorded.
            errors: Label error of each photo; 0 without a label.
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
        """Running error above which a label counts as noisy."""
        known = self.errors[self._tasks.index(task)]
        known = known[~known.isnan()]
        if not len(known):
            return float("inf")
        middle = known.median()
        return float(middle + self._limit * (middle - known.quantile(_BELOW)))

    def noisy_fraction(self, task: Task) -> float:
        """Fraction of the labels seen so far that count as noisy."""
        known = self.errors[self._tasks.index(task)]
        seen = ~known.isnan()
        return float((known[seen] > self.threshold(task)).float().mean()) if bool(seen.any()) else 0.0
