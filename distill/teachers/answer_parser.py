"""One generated image, read: file -> pixels -> label at the answer's own size -> found on the photo -> placed over it.

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
from distill.labels import Label
from distill.tasks import TASKS
from distill.teachers.base import GeneratedImage, PromptSpec
from distill.teachers.codecs.answer_image import MIN_SIDE_PX, AnswerImage, decode_answer_image
from distill.teachers.decoders import decode_answer, teacher_task
from distill.teachers.registration.align import IDENTITY, Registration, estimate_registration, resize_scale, warp_label
from distill.teachers.registration.cache import RegistrationCache
from distill.teachers.registration.letterbox import centered_content

MIN_SHARE_VALID = 0.05
"""An answer of which less can be read is no answer to the question that was asked."""
FITS = 0.8
"""An answer of which this much can be read in another legend about the same photo belongs to that one."""
MIN_COVERED = 0.75
"""An answer that shows less of its photo (cut to another shape) is an answer to something else. Real ones, whose sides
are rounded to multiples of 16, show 98 % or more."""

_BARRED = 0.95
"""Bars are looked for where the photo, cut to the canvas, would lose more than the rest of this."""


class AnswerRejected(DistillError):  # noqa: N818 - as `ContentRefused`
    """An answer came and was read, and does not deserve to be a label.

    Attributes:
        painted: Its pixels, for the report; None when not even those could be had.
    """

    generated: UInt8[ndarray, "h w 3"] | None = None


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """What was read out of one answer.

    Attributes:
        label: Placed over the photo.
        painted: The answer's pixels.
        container: The format of its bytes.
        placement: How it was mended.
        question: The question in whose legend it was painted: the one that was asked, or another one.
    """

    label: Label
    generated: UInt8[ndarray, "h w 3"]
    container: str
    registration: Registration
    prompt_spec: PromptSpec


def parse_answer(
    photo: Photo,
    answer: GeneratedImage,
    all_prompts: Sequence[PromptSpec],
    *,
    register: bool,
    registration_cache: RegistrationCache | None = None,
) -> ParsedAnswer:
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
    generated = decode_answer_image(answer.data, answer.name)
    best: ParsedAnswer | None = None
    refused: AnswerRejected | None = None
    try:
        for shown, resize_mode in _regions(photo, generated, answer.prompt_spec.resize_mode, register=register):
            try:
                found = _parse_region(
                    photo,
                    answer,
                    shown,
                    resize_mode,
                    all_prompts,
                    register=register,
                    registration_cache=registration_cache,
                )
            except AnswerRejected as rejection:
                refused = refused or rejection
                continue
            if best is None or _trust(found) > _trust(best):
                best = found
        if best is None:
            raise refused or AnswerRejected("nothing of the answer can be the photo")
        if not best.registration.accepted:
            reason = best.registration.reason or "the answer does not lie over the photo"
            raise AnswerRejected(f"{reason} ({best.registration.score:.2f})")
    except AnswerRejected as rejection:
        rejection.generated = generated.rgb
        raise
    return replace(best, label=warp_label(best.label, photo.size_hw, best.prompt_spec.resize_mode, best.registration))


def _parse_region(
    photo: Photo,
    answer: GeneratedImage,
    shown: AnswerImage,
    resize_mode: str,
    all_prompts: Sequence[PromptSpec],
    *,
    register: bool,
    registration_cache: RegistrationCache | None,
) -> ParsedAnswer:
    """What is read out of one part of the canvas, at its own size, and where it lies."""
    label, prompt_spec = _decode(shown, answer.prompt_spec, all_prompts)
    prompt_spec = replace(prompt_spec, resize_mode=resize_mode)
    registration = _placed(photo, answer, shown, prompt_spec, registration_cache) if register else IDENTITY
    return ParsedAnswer(label, shown.rgb, shown.container, registration, prompt_spec)


def _trust(parsed: ParsedAnswer) -> tuple[bool, float]:
    """The more the better: whether it lies over the photo at all, then how well."""
    return parsed.registration.accepted, parsed.registration.score


def _placed(
    photo: Photo,
    answer: GeneratedImage,
    generated: AnswerImage,
    prompt_spec: PromptSpec,
    registration_cache: RegistrationCache | None,
) -> Registration:
    """Where the answer lies over the photo, as it was found before or is found now."""
    before = registration_cache.get(photo, answer, prompt_spec) if registration_cache is not None else None
    if before is not None:
        return before
    registration = estimate_registration(photo.rgb, generated.rgb, prompt_spec.resize_mode)
    if registration_cache is not None:
        registration_cache.put(photo, answer, prompt_spec, registration)
    return registration


def _regions(
    photo: Photo, generated: AnswerImage, resize_mode: str, *, register: bool
) -> list[tuple[AnswerImage, str]]:
    """What of the answer can be the photo, and by which rule: all of it as was asked, what lies between bars, or both.

    Raises:
        Rejection: The answer is far too small, or cut to a shape that cannot be this photo.
    """
    size_hw = generated.rgb.shape[:2]
    height, width = size_hw
    if any(size_hw[i] < min(MIN_SIDE_PX, photo.size_hw[i] / 2) for i in (0, 1)):
        raise AnswerRejected(f"the answer is only {width}x{height} px large")
    if resize_mode != "cover":
        return [(generated, resize_mode)]
    scale = resize_scale(photo.size_hw, size_hw, resize_mode)
    covered = np.prod([min(1.0, size_hw[i] / (scale[i] * photo.size_hw[i])) for i in (0, 1)])
    found = [(generated, resize_mode)] if covered >= MIN_COVERED else []
    # Bars alone prove nothing: whether what lies between them is the photo is for the registration to say.
    if register and covered < _BARRED and (content := centered_content(generated.rgb, photo.size_hw)):
        found.append((_crop(generated, content), "fill"))
    if not found:
        raise AnswerRejected(
            f"the answer is {width}x{height} px, the photo {photo.size_hw[1]}x{photo.size_hw[0]}: "
            "shapes so different cannot lie over each other"
        )
    return found


def _crop(generated: AnswerImage, region: tuple[slice, slice]) -> AnswerImage:
    opaque = generated.opaque[region] if generated.opaque is not None else None
    return replace(generated, rgb=np.ascontiguousarray(generated.rgb[region]), opaque=opaque)


def _decode(
    generated: AnswerImage, prompt_spec: PromptSpec, all_prompts: Sequence[PromptSpec]
) -> tuple[Label, PromptSpec]:
    """(label, the question in whose legend it is painted): the one that was asked, or another one about the same photo.

    Two answers about one photo get mixed up in manifests. An answer that holds next to nothing in its own legend and
    nearly everything in the other one's is read with that; the report says so.

    Raises:
        Rejection: Next to nothing can be read.
    """
    label = _opaque(decode_answer(generated.rgb, prompt_spec), generated)
    task = teacher_task(prompt_spec.task)
    said = float(task.informative(label).mean())
    if said >= MIN_SHARE_VALID:
        if reason := task.reject(label):
            raise AnswerRejected(reason)
        return label, prompt_spec
    if not prompt_spec.legend:
        raise AnswerRejected(f"only {said:.1%} of the answer is painted as {prompt_spec.task} is")
    for other in all_prompts:
        if other.legend and other.task is prompt_spec.task and other.legend != prompt_spec.legend:
            found = _opaque(decode_answer(generated.rgb, other), generated)
            if found.valid_fraction > FITS:
                return found, other
    raise AnswerRejected(f"only {said:.1%} of the answer is in the colors of its legend")


def _opaque(label: Label, generated: AnswerImage) -> Label:
    """The label without what was read out of transparent pixels."""
    if generated.opaque is None:
        return label
    valid = label.valid & generated.opaque
    value = label.value.copy()
    value[~valid] = TASKS[label.task].fill
    return replace(label, value=value, valid=valid, confidence=label.confidence * valid)
