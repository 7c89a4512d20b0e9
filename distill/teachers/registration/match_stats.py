"""Estimated transform of a generated image, and the evidence for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# tuned: benchmarks/registration.py; reasons: docs/registration.md
MAX_ZOOM, MAX_ASPECT = 0.125, 0.06
"""Largest plausible zoom and aspect, as logarithms."""
_BEYOND = 0.9
"""Part of the largest plausible zoom or stretch from which it is named."""
LEAST_TURN, LEAST_SHEAR, LEAST_PERSPECTIVE = 0.016, 0.03, 0.025
"""Smaller rotations and shears, and perspectives, do not count: estimates of aligned images differ from 0 by less."""


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
class Distortion:
    """Best affine map, which drifts of generators do not need.

    Attributes:
        gain: Agreement above that of the best drift.
        params: As `distill.teachers.registration.refine.TransformFit.params`.
    """

    gain: float = 0.0
    params: tuple[float, ...] = (0.0,) * 8

    @property
    def is_turned(self) -> bool:
        """Whether it is a rotation or shear, and no less than a perspective."""
        turn, shear, perspective, _, _ = self._amounts
        return max(turn / LEAST_TURN, shear / LEAST_SHEAR) > max(1.0, perspective / LEAST_PERSPECTIVE)

    @property
    def is_tilted(self) -> bool:
        """Whether it is a perspective."""
        return self._amounts[2] > LEAST_PERSPECTIVE

    @property
    def is_stretched(self) -> bool:
        """Whether it is a zoom or stretch that is not corrected."""
        return max(self._amounts[3] / MAX_ASPECT, self._amounts[4] / MAX_ZOOM) > _BEYOND

    @property
    def name(self) -> str:
        """What is wrong with the image: "it is turned by about 2 degrees"."""
        turn, shear, perspective, stretch, zoom = self._amounts
        if self.is_stretched:
            tall, wide = 1 + self.params[2], 1 + self.params[3]
            shown = (tall * wide) ** 0.5
            if stretch / MAX_ASPECT > zoom / MAX_ZOOM:
                return f"it is stretched by about {max(wide / tall, tall / wide) - 1:.0%} in one direction"
            if shown < 1:
                return f"it shows a crop of about {shown:.0%} of the photo's width and height"
            return f"it shows the photo at about {1 / shown:.0%} of its size"
        return max(
            (turn / LEAST_TURN, f"it is turned by about {max(1, round(np.degrees(turn)))} degrees"),
            (shear / LEAST_SHEAR, f"it is sheared by about {shear:.0%}"),
            (perspective / LEAST_PERSPECTIVE, "it shows another perspective"),
        )[1]

    @property
    def _amounts(self) -> tuple[float, ...]:
        """(rotation, shear, perspective, stretch, zoom), as fractions of the distance from the center."""
        tall, wide = np.log1p(np.maximum(self.params[2:4], -0.9))
        slant, lean = self.params[4:6]
        perspective = 400 * float(np.abs(self.params[6:]).max())
        return abs(slant - lean) / 2, abs(slant + lean), perspective, abs(tall - wide), abs(tall + wide) / 2


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
        flip: The flip with the best agreement.
        distortion: Better fit under a rotation, shear or larger zoom.
        moved_px: Root mean square displacement of the borders by the transform, in pixels of the generated image.
        local_px: Root mean square offset of parts of the image after the transform, in pixels of the generated image.
        local_gain: Agreement that these offsets win.
    """

    transform: AxisAlignedTransform
    uncertainty_px: float
    agreement: float
    agreement_mirrored: float
    agreement_fine: float
    agreement_at_identity: float
    border_px: float
    has_letterbox: bool
    flip: str = ""
    distortion: Distortion = Distortion()
    moved_px: float = 0.0
    local_px: float = 0.0
    local_gain: float = 0.0

    @property
    def margin(self) -> float:
        """Excess of the agreement over that of the flipped image."""
        return self.agreement - self.agreement_mirrored
