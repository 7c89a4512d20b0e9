"""Areas of a generated image whose colors have no meaning: watermarks, swapped channels, unnamed classes.

Generators blend colors at borders, so good images have seams without a meaning, but no areas.
"""

from __future__ import annotations

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
TOLERATED = 0.01
"""A smaller fraction is no sign of anything: 13 real images have 0 to 0.008."""
_EXPONENT = 3.0


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
    side = max(3, round(_WIDTH * max(size_hw)))
    padded = cv2.copyMakeBorder((~valid).astype(np.uint8), side, side, side, side, cv2.BORDER_REPLICATE)
    opened = cv2.morphologyEx(padded, cv2.MORPH_OPEN, np.ones((side, side), np.uint8))[side:-side, side:-side] > 0
    if not opened.any():
        return 0.0
    return teacher_task(label.task).off_code(opened, pick_pixels(label.value, size_hw), pick_pixels(generated, size_hw))


def validity_factor(off_code: float) -> float:
    """Factor of the validity of an image's colors."""
    return float((1 - max(0.0, off_code - TOLERATED)) ** _EXPONENT)
