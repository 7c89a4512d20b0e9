"""One generated image to a label: file -> pixels -> label at the image's size -> registration -> aligned label.

No requests to a teacher: the same bytes can be parsed again with another decoder, registration or threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.images import Photo
from distill.labels import Label
from distill.teachers.answer_frame import without_frame
from distill.teachers.answer_reading import AnswerRejected, decode_by_prompts
from distill.teachers.base import GeneratedImage, PromptSpec
from distill.teachers.codecs.answer_image import MIN_SIDE_PX, AnswerImage, decode_answer_image
from distill.teachers.registration.align import (
    ACCEPTED,
    IDENTITY,
    Registration,
    estimate_registration,
    resize_scale,
    warp_label,
)
from distill.teachers.registration.letterbox import centered_content
from distill.teachers.registration.result_cache import RegistrationCache

MIN_COVERED = 0.75
"""Minimum fraction of the photo in an image of another shape. Real images, whose sides are rounded to multiples of 16,
show 98 % or more."""

_BARRED = 0.95
"""Letterbox bars are searched for if the canvas would show less than this fraction of the photo."""


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """Label of one generated image.

    Attributes:
        label: Aligned with the photo.
        generated: Pixels of the image.
        container: Format of its bytes.
        registration: Its alignment.
        prompt_spec: The prompt whose legend it has: its own, or another one about the photo.
        colors: That prompt with the background and the legend that were read from the image.
        notes: One sentence for everything that was decoded otherwise than the prompt says, or was assumed.
        off_code: Fraction of the image in areas whose colors have no meaning.
    """

    label: Label
    generated: UInt8[ndarray, "h w 3"]
    container: str
    registration: Registration
    prompt_spec: PromptSpec
    colors: PromptSpec
    notes: tuple[str, ...] = ()
    off_code: float = 0.0


def parse_answer(
    photo: Photo,
    answer: GeneratedImage,
    all_prompts: Sequence[PromptSpec],
    *,
    register: bool,
    registration_cache: RegistrationCache | None = None,
) -> ParsedAnswer:
    """Label of a generated image, aligned with its photo.

    Args:
        photo: The photo of the prompt.
        answer: The generated image.
        all_prompts: All prompts about this photo, for images that were mixed up.
        register: Whether the image is registered to the photo, and corrected or rejected.
        registration_cache: Earlier registrations; new ones are added.

    Raises:
        DistillError: The bytes are not an image with exact pixels.
        AnswerRejected: The image is not a usable label.
    """
    generated = decode_answer_image(answer.data, answer.name)
    best: ParsedAnswer | None = None
    refused: AnswerRejected | None = None
    try:
        regions = _regions(photo, generated, answer.prompt_spec.resize_mode, register=register)
        unframed = without_frame(generated, photo.rgb) if register else None
        if unframed is not None:
            regions.insert(0, (unframed, answer.prompt_spec.resize_mode))
        for shown, resize_mode in regions:
            try:
                found = _parse_region(
                    photo,
                    answer,
                    shown,
                    resize_mode,
                    all_prompts,
                    register=register,
                    registration_cache=None if shown is unframed else registration_cache,
                )
            except AnswerRejected as rejection:
                refused = refused or rejection
                continue
            if best is None or _trust(found) > _trust(best):
                best = found
            if shown is unframed and found.registration.accepted and found.registration.score >= ACCEPTED:
                break  # a frame whose sides are on no edge of the photo is no part of it, however well it fits
        if best is None:
            raise refused or AnswerRejected("no region of the generated image matches the photo")
        if not best.registration.accepted:
            reason = best.registration.reason or "the generated image is not aligned with the photo"
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
    """Label and registration of one region of the canvas, at its own size."""
    reading = decode_by_prompts(shown, answer.prompt_spec, all_prompts)
    prompt_spec = replace(reading.prompt_spec, resize_mode=resize_mode)
    registration = _register(photo, answer, shown, prompt_spec, registration_cache) if register else IDENTITY
    notes = (*shown.notes, *reading.notes)
    return ParsedAnswer(
        reading.label, shown.rgb, shown.container, registration, prompt_spec, reading.colors, notes, reading.off_code
    )


def _trust(parsed: ParsedAnswer) -> tuple[bool, float]:
    """Sort key: accepted first, then by score."""
    return parsed.registration.accepted, parsed.registration.score


def _register(
    photo: Photo,
    answer: GeneratedImage,
    generated: AnswerImage,
    prompt_spec: PromptSpec,
    registration_cache: RegistrationCache | None,
) -> Registration:
    """Cached or new registration."""
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
    """(region, resize mode) candidates: the whole canvas, the content between bars, or both.

    Raises:
        AnswerRejected: The image is much too small, or its shape differs too much from the photo's.
    """
    size_hw = generated.rgb.shape[:2]
    height, width = size_hw
    if any(size_hw[i] < min(MIN_SIDE_PX, photo.size_hw[i] / 2) for i in (0, 1)):
        raise AnswerRejected(f"the generated image has only {width}x{height} px")
    if resize_mode != "cover":
        return [(generated, resize_mode)]
    scale = resize_scale(photo.size_hw, size_hw, resize_mode)
    covered = np.prod([min(1.0, size_hw[i] / (scale[i] * photo.size_hw[i])) for i in (0, 1)])
    found = [(generated, resize_mode)] if covered >= MIN_COVERED else []
    # Bars are no proof; the registration decides whether the content between them is the photo.
    if register and covered < _BARRED and (content := centered_content(generated.rgb, photo.size_hw)):
        found.append((_crop(generated, content), "fill"))
    if not found:
        raise AnswerRejected(
            f"the generated image has {width}x{height} px, the photo {photo.size_hw[1]}x{photo.size_hw[0]}: "
            "the shapes are too different to align them"
        )
    return found


def _crop(generated: AnswerImage, region: tuple[slice, slice]) -> AnswerImage:
    opaque = generated.opaque[region] if generated.opaque is not None else None
    gray16 = generated.gray16[region] if generated.gray16 is not None else None
    return replace(generated, rgb=np.ascontiguousarray(generated.rgb[region]), opaque=opaque, gray16=gray16)
