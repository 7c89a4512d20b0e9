"""Areas of a generated image whose colors have no meaning: watermarks, swapped channels, unnamed classes.

Generators blend colors at borders, so good images have seams without a meaning, but no areas.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.labels import Label
from distill.labels.conversions import pick_pixels
from distill.teachers.tasks import teacher_task
from distill.teachers.tasks.comparison_size import comparison_size

# tuned: benchmarks/damaged_answers.py
_WIDTH = 0.013
"""Narrower parts, of the longer side, are seams."""
_SEAM_PX = 8.0
"""So are parts narrower than this, in pixels of the image."""
TOLERATED = 0.01
"""A smaller fraction is no sign of anything: 13 real images have 0 to 0.008."""
TOLERATED_LINE = 0.06
"""A shorter line is no sign of anything: real images have 0.06 at most, and 0.15 or more with one half filled."""
_EXPONENT, _LINE_EXPONENT = 3.0, 4.0


def off_code_fraction(label: Label, generated: UInt8[ndarray, "h w 3"]) -> float:
    """Fraction of the image in such areas; of segmentations, of the image without its most frequent class.

    Args:
        label: The decoded image, at the image's own size, with every meaningful pixel valid.
        generated: The image.
    """
    if label.valid.all():
        return 0.0
    size_hw = comparison_size(label.size_hw)
    valid = pick_pixels(label.valid, size_hw)
    side = round(max(3.0, _WIDTH * max(size_hw), _SEAM_PX * max(size_hw) / max(label.size_hw)))
    padded = cv2.copyMakeBorder((~valid).astype(np.uint8), side, side, side, side, cv2.BORDER_REPLICATE)
    opened = cv2.morphologyEx(padded, cv2.MORPH_OPEN, np.ones((side, side), np.uint8))[side:-side, side:-side] > 0
    if not opened.any():
        return 0.0
    return teacher_task(label.task).off_code(opened, pick_pixels(label.value, size_hw), pick_pixels(generated, size_hw))


@dataclass(frozen=True, slots=True)
class Flaws:
    """What a good image has none of.

    Attributes:
        off_code: Fraction of the image in areas whose colors have no meaning.
        straight_line: Part of a side that a straight line covers, which the photo does not show
            (`straight_lines.longest_unexplained_line`).
    """

    off_code: float = 0.0
    straight_line: float = 0.0

    @property
    def validity_factor(self) -> float:
        """Factor of the validity of the image's colors."""
        colors, line = max(0.0, self.off_code - TOLERATED), max(0.0, self.straight_line - TOLERATED_LINE)
        return float((1 - colors) ** _EXPONENT * (1 - line) ** _LINE_EXPONENT)

    def to_record(self) -> dict[str, float]:
        """Those that matter, for a label's record."""
        limits = {"off_code": (self.off_code, TOLERATED), "straight_line": (self.straight_line, TOLERATED_LINE)}
        return {name: round(value, 4) for name, (value, limit) in limits.items() if value > limit}


NO_FLAWS = Flaws()
