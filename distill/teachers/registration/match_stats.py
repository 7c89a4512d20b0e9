"""Estimated transform of a generated image, and the evidence for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from distill.teachers.registration.distortion import (
    NO_AFFINE_DEVIATION,
    NO_SMOOTH_DEVIATION,
    AffineDeviation,
    SmoothDeviation,
)

# tuned: benchmarks/registration.py; reasons: docs/registration.md
MAX_ZOOM, MAX_ASPECT = 0.1, 0.06
"""Largest plausible zoom and aspect, as logarithms."""


@dataclass(frozen=True, slots=True)
class AxisAlignedTransform:
    """Axis-aligned map from a point's position by the resize mode (from the center) to its generated position.

    Attributes:
        shift_px: (down, right), in pixels of the generated image.
        scale_hw: (vertical, horizontal).
    """

    shift_px: tuple[float, float] = (0.0, 0.0)
    scale_hw: tuple[float, float] = (1.0, 1.0)

    @property
    def is_plausible(self) -> bool:
        """Whether zoom and aspect are in the range of generator drift."""
        tall, wide = np.log(self.scale_hw)
        return bool(abs(tall + wide) / 2 <= MAX_ZOOM and abs(tall - wide) <= MAX_ASPECT)


@dataclass(frozen=True, slots=True)
class MatchStats:
    """Agreement of photo and generated image at the estimated transform.

    Agreement is the mean log ratio of the photo's edge strength on the image's borders to that around them.

    Attributes:
        transform: The estimate.
        uncertainty_px: Expected error on the image's borders, from the scatter between parts of the image.
        agreement: At coarse scale, for the best candidate, even if bars imply another: labels may be offset.
        agreement_mirrored: The same for the flipped image at its own best candidate, which is the level of chance and
            straight walls; `CHANCE` for an image that is symmetric in every direction.
        agreement_fine: At fine scale, at the estimate.
        agreement_at_identity: The same without any transform.
        border_px: Weighted length of the image's borders, at most 3000.
        has_letterbox: Whether bars in the image determined where the photo ends.
        shear: Additional shear or rotation, as a fraction of the image size.
        smooth: Additional smooth displacement.
        affine: Better fit under a rotation, shear or larger zoom.
    """

    transform: AxisAlignedTransform
    uncertainty_px: float
    agreement: float
    agreement_mirrored: float
    agreement_fine: float
    agreement_at_identity: float
    border_px: float
    has_letterbox: bool
    shear: float = 0.0
    smooth: SmoothDeviation = NO_SMOOTH_DEVIATION
    affine: AffineDeviation = NO_AFFINE_DEVIATION

    @property
    def margin(self) -> float:
        """Excess of the agreement over that of the flipped image."""
        return self.agreement - self.agreement_mirrored
