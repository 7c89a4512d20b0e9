"""Errors by group of pixels, such as the class that the truth sees there."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray


class GroupSums:
    """The mean error of each of up to 256 groups, over the pixels of all images."""

    def __init__(self) -> None:
        self._sums = np.zeros((2, 256))

    def add(self, errors: Float[ndarray, " n"], groups: UInt8[ndarray, " n"]) -> None:
        """The pixels of one image."""
        self._sums[0] += np.bincount(groups, errors, 256)
        self._sums[1] += np.bincount(groups, minlength=256)

    def means(self) -> dict[int, tuple[float, int]]:
        """Group to (mean error, pixels); groups without a pixel are left out."""
        errors, counts = self._sums.tolist()
        return {group: (errors[group] / count, int(count)) for group, count in enumerate(counts) if count}
