"""Frames of generated images: bars of one color along all four sides, which are no part of the photo."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.teachers.codecs.answer_image import AnswerImage
from distill.teachers.quality.straight_lines import UNEXPLAINED, longest_unexplained_line
from distill.teachers.registration.align import IDENTITY
from distill.teachers.registration.letterbox import letterbox_lines

_STRAIGHT = 0.6
"""Least part of each side of the content where the color changes; the border of an object on a background has less."""
_NUM_LINES, _MOSTLY = 48, 0.5
_CHANGE = 14
_BLURRED_PX = 2
"""JPEG blurs the border of a frame."""


def without_frame(generated: AnswerImage, photo_rgb: UInt8[ndarray, "h w 3"]) -> AnswerImage | None:
    """The image with the color of the nearest content in place of its frame, without values there; None without one.

    A photo through a window has a border of one color that it shows itself. Registration compares contents only.
    """
    lines = letterbox_lines(generated.rgb) if _may_have_frame(generated.rgb) else []
    if len(lines) < 4 or min(line.share for line in lines) < _STRAIGHT:
        return None
    if longest_unexplained_line(generated.rgb, photo_rgb, IDENTITY).share < UNEXPLAINED:
        return None
    widths = {(line.axis, line.far): line.width + _BLURRED_PX for line in lines}
    top, bottom, left, right = (widths[side] for side in ((0, False), (0, True), (1, False), (1, True)))
    height, width = generated.rgb.shape[:2]
    content = np.s_[top : height - bottom, left : width - right]
    if not generated.rgb[content].size:
        return None
    opaque = np.zeros((height, width), bool)
    opaque[content] = True if generated.opaque is None else generated.opaque[content]
    gray16 = generated.gray16
    sides = (top, bottom, left, right, cv2.BORDER_REPLICATE)
    return replace(
        generated,
        rgb=cv2.copyMakeBorder(generated.rgb[content], *sides),
        opaque=opaque,
        gray16=None if gray16 is None else cv2.copyMakeBorder(gray16[content], *sides),
        notes=(*generated.notes, f"the image has a frame, {1 - opaque.mean():.0%} of its area, which has no values"),
    )


def _may_have_frame(rgb: UInt8[ndarray, "h w 3"]) -> bool:
    """Whether the color changes at the same distance from each side, on most of a few lines across the image.

    A search for bars reads all of an image with a background, and this one a few rows and columns.
    """
    for turned in (rgb, rgb[:, ::-1], rgb.swapaxes(0, 1), rgb.swapaxes(0, 1)[:, ::-1]):
        places = np.linspace(0, len(turned) - 1, _NUM_LINES + 2).astype(int)[1:-1]
        lines = turned[places, : turned.shape[1] // 2].astype(np.int16)
        changed = np.abs(lines - lines[:, :1]).max(axis=-1) > _CHANGE
        first = np.sort(changed.argmax(axis=1)[changed.any(axis=1)])
        near = np.searchsorted(first, first + _BLURRED_PX, side="right") - np.arange(len(first))
        if near.max(initial=0) < _MOSTLY * _NUM_LINES:
            return False
    return True
