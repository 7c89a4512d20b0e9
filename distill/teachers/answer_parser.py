"""One painted answer, read: file -> pixels -> label at the answer's own size -> found on the photo -> placed over it.

Nothing here asks a teacher: the same bytes can be read again with another decoder, another registration or another
threshold at no cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.errors import DistillError
from distill.images import Photo
from distill.labels import Label, faces_away
from distill.tasks import IGNORE_INSTANCE, IGNORE_SEMANTIC, Gauge, Task
from distill.teachers.base import Answer, Question
from distill.teachers.decoders import decode_answer
from distill.teachers.decoders.image import MIN_SIDE_PX, Painted, decode_painted
from distill.teachers.registration.align import EXACT, Placement, canvas_scale, estimate, place
from distill.teachers.registration.cache import Placements

MIN_SHARE_VALID = 0.05
"""An answer of which less can be read is no answer to the question that was asked."""
FITS = 0.8
"""An answer of which this much can be read in another legend about the same photo belongs to that one."""
MIN_COVERED = 0.75
"""An answer that shows less of its photo (cut to another shape) is an answer to something else. Real ones, whose sides
are rounded to multiples of 16, show 98 % or more."""

_NEAREST_M = 1e-3
_BARRED = 0.95
"""Bars are looked for where the photo, cut to the canvas, would lose more than the rest of this."""
_BAR_LEVELS, _BAR_SHARE, _BLURRED = 12, 0.98, 0.1
"""Bars: so many levels around one color, this share of their pixels, but for the tenth that is next to the picture."""


class Rejection(DistillError):  # noqa: N818 - as `Refusal`
    """An answer came and was read, and does not deserve to be a label.

    Attributes:
        painted: Its pixels, for the report; None when not even those could be had.
    """

    painted: UInt8[ndarray, "h w 3"] | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read out of one answer.

    Attributes:
        label: Placed over the photo.
        painted: The answer's pixels.
        container: The format of its bytes.
        placement: How it was mended.
        question: The question in whose legend it was painted: the one that was asked, or another one.
    """

    label: Label
    painted: UInt8[ndarray, "h w 3"]
    container: str
    placement: Placement
    question: Question


def read_answer(
    photo: Photo, answer: Answer, asked: Sequence[Question], *, register: bool, known: Placements | None = None
) -> Reading:
    """The label in an answer, over its photo.

    Args:
        photo: What was asked about.
        answer: What came back.
        asked: All questions about this photo, for answers that were mixed up.
        register: Whether drift between photo and answer is looked for, and mended or rejected.
        known: Where answers were found before, and where what is found now is kept.

    Raises:
        DistillError: The bytes are no picture that can be read exactly.
        Rejection: It can be read and is no label.
    """
    painted = decode_painted(answer.data, answer.name)
    best: Reading | None = None
    refused: Rejection | None = None
    try:
        for shown, canvas in _canvases(photo, painted, answer.question.canvas, register=register):
            try:
                found = _read_shown(photo, answer, shown, canvas, asked, register=register, known=known)
            except Rejection as rejection:
                refused = refused or rejection
                continue
            if best is None or _trust(found) > _trust(best):
                best = found
        if best is None:
            raise refused or Rejection("nothing of the answer can be the photo")
        if not best.placement.accepted:
            reason = best.placement.reason or "the answer does not lie over the photo"
            raise Rejection(f"{reason} ({best.placement.score:.2f})")
    except Rejection as rejection:
        rejection.painted = painted.rgb
        raise
    return replace(best, label=place(best.label, photo.size_hw, best.question.canvas, best.placement))


def _read_shown(
    photo: Photo,
    answer: Answer,
    shown: Painted,
    canvas: str,
    asked: Sequence[Question],
    *,
    register: bool,
    known: Placements | None,
) -> Reading:
    """What is read out of one part of the canvas, at its own size, and where it lies."""
    label, question = _decode(shown, answer.question, asked)
    question = replace(question, canvas=canvas)
    placement = _placed(photo, answer, shown, question, known) if register else EXACT
    return Reading(label, shown.rgb, shown.container, placement, question)


def _trust(reading: Reading) -> tuple[bool, float]:
    """The more the better: whether it lies over the photo at all, then how well."""
    return reading.placement.accepted, reading.placement.score


def _placed(photo: Photo, answer: Answer, painted: Painted, question: Question, known: Placements | None) -> Placement:
    """Where the answer lies over the photo, as it was found before or is found now."""
    before = known.find(photo, answer, question) if known is not None else None
    if before is not None:
        return before
    placement = estimate(photo.rgb, painted.rgb, question.canvas)
    if known is not None:
        known.keep(photo, answer, question, placement)
    return placement


def _canvases(photo: Photo, painted: Painted, canvas: str, *, register: bool) -> list[tuple[Painted, str]]:
    """What of the answer can be the photo, and by which rule: all of it as was asked, what lies between bars, or both.

    Raises:
        Rejection: The answer is far too small, or cut to a shape that cannot be this photo.
    """
    size_hw = painted.rgb.shape[:2]
    height, width = size_hw
    if any(size_hw[i] < min(MIN_SIDE_PX, photo.size_hw[i] / 2) for i in (0, 1)):
        raise Rejection(f"the answer is only {width}x{height} px large")
    if canvas != "cover":
        return [(painted, canvas)]
    scale = canvas_scale(photo.size_hw, size_hw, canvas)
    covered = np.prod([min(1.0, size_hw[i] / (scale[i] * photo.size_hw[i])) for i in (0, 1)])
    found = [(painted, canvas)] if covered >= MIN_COVERED else []
    # Bars alone prove nothing: whether what lies between them is the photo is for the registration to say.
    if register and covered < _BARRED and (between := _between_bars(painted, photo.size_hw)) is not None:
        found.append((between, "stretch"))
    if not found:
        raise Rejection(
            f"the answer is {width}x{height} px, the photo {photo.size_hw[1]}x{photo.size_hw[0]}: "
            "shapes so different cannot lie over each other"
        )
    return found


def _between_bars(painted: Painted, photo_hw: tuple[int, int]) -> Painted | None:
    """The place of the whole photo in the middle of this canvas, if all around it has one color."""
    size_hw = painted.rgb.shape[:2]
    scale = min(size_hw[0] / photo_hw[0], size_hw[1] / photo_hw[1])
    bars = [(size_hw[i] - scale * photo_hw[i]) / 2 for i in (0, 1)]
    sure = [int(bar * (1 - _BLURRED)) for bar in bars]
    outside = np.ones(size_hw, bool)
    outside[sure[0] : size_hw[0] - sure[0], sure[1] : size_hw[1] - sure[1]] = False
    colors = painted.rgb[outside].astype(np.int16)
    if not len(colors):
        return None
    apart = np.abs(colors - np.median(colors, axis=0)).max(axis=1)
    if (apart <= _BAR_LEVELS).mean() < _BAR_SHARE:
        return None
    rows, columns = (slice(round(bars[i]), size_hw[i] - round(bars[i])) for i in (0, 1))
    opaque = painted.opaque[rows, columns] if painted.opaque is not None else None
    return replace(painted, rgb=np.ascontiguousarray(painted.rgb[rows, columns]), opaque=opaque)


def _decode(painted: Painted, question: Question, asked: Sequence[Question]) -> tuple[Label, Question]:
    """(label, the question in whose legend it is painted): the one that was asked, or another one about the same photo.

    Two answers about one photo get mixed up in manifests. An answer that holds next to nothing in its own legend and
    nearly everything in the other one's is read with that; the report says so.

    Raises:
        Rejection: Next to nothing can be read.
    """
    label = _opaque(decode_answer(painted.rgb, question), painted)
    said = _share_said(label)
    if said >= MIN_SHARE_VALID:
        if question.task is Task.NORMALS and faces_away(label):
            raise Rejection("more normals point away from the camera than toward it, as in another frame")
        return label, question
    if not question.legend:
        raise Rejection(f"only {said:.1%} of the answer is painted as {question.task} is")
    for other in asked:
        if other.legend and other.task is question.task and other.legend != question.legend:
            found = _opaque(decode_answer(painted.rgb, other), painted)
            if found.share_valid > FITS:
                return found, other
    raise Rejection(f"only {said:.1%} of the answer is in the colors of its legend")


def _share_said(label: Label) -> float:
    """The share of pixels that say something at all; 0 m, which black is, is where the camera stands."""
    says = label.valid & (label.confidence > 0)
    if label.task is Task.DEPTH and label.gauge in (None, Gauge.METRIC):
        says &= label.value > _NEAREST_M
    return float(says.mean())


_NOTHING = {Task.SEMANTIC: IGNORE_SEMANTIC, Task.REFERRING: IGNORE_SEMANTIC, Task.INSTANCE: IGNORE_INSTANCE}


def _opaque(label: Label, painted: Painted) -> Label:
    """The label without what was read out of transparent pixels."""
    if painted.opaque is None:
        return label
    valid = label.valid & painted.opaque
    value = label.value.copy()
    value[~valid] = _NOTHING.get(label.task, 0)
    return replace(label, value=value, valid=valid, confidence=label.confidence * valid)
