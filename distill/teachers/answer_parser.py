"""One generated image to a label: file -> pixels -> label at the image's size -> registration -> aligned label.

No requests to a teacher: the same bytes can be parsed again with another decoder, registration or threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray

from distill.errors import DistillError
from distill.images import Photo
from distill.labels import Label
from distill.tasks import TASKS
from distill.teachers.base import GeneratedImage, PromptSpec
from distill.teachers.codecs.answer_image import MIN_SIDE_PX, AnswerImage, decode_answer_image
from distill.teachers.codecs.flat_colors import distance
from distill.teachers.registration.align import IDENTITY, Registration, estimate_registration, resize_scale, warp_label
from distill.teachers.registration.letterbox import centered_content
from distill.teachers.registration.result_cache import RegistrationCache
from distill.teachers.tasks import teacher_task

MIN_SHARE_VALID = 0.05
"""Minimum fraction of informative pixels of an answer to its prompt."""
FITS = 0.8
"""Valid fraction from which an answer belongs to another legend about the same photo."""
LEAST_SHOWN, SHOWN_RATIO = 5e-4, 10.0
"""Another legend of the same background fits if its classes cover this fraction of the image plus this many times the
fraction that the own classes cover."""
BACKGROUND_TAU = 14.0
"""Depth, normals: colors this close (L2, of 255) to a named background have no value."""
MIN_COVERED = 0.75
"""Minimum fraction of the photo in an image of another shape. Real images, whose sides are rounded to multiples of 16,
show 98 % or more."""

_SWAPPED = "the image has the legend of {}, not its own, and was decoded with that: two images seem to be swapped"
_BARRED = 0.95
"""Letterbox bars are searched for if the canvas would show less than this fraction of the photo."""


class AnswerRejected(DistillError):  # noqa: N818 - as `ContentRefused`
    """A decoded image that must not become a label.

    Attributes:
        generated: Its pixels, for the report; None if they could not be decoded.
    """

    generated: UInt8[ndarray, "h w 3"] | None = None


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
    """

    label: Label
    generated: UInt8[ndarray, "h w 3"]
    container: str
    registration: Registration
    prompt_spec: PromptSpec
    colors: PromptSpec
    notes: tuple[str, ...] = ()


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
    reading = _decode(shown, answer.prompt_spec, all_prompts)
    prompt_spec = replace(reading.prompt_spec, resize_mode=resize_mode)
    registration = _register(photo, answer, shown, prompt_spec, registration_cache) if register else IDENTITY
    notes = (*shown.notes, *reading.notes)
    return ParsedAnswer(reading.label, shown.rgb, shown.container, registration, prompt_spec, reading.colors, notes)


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


@dataclass(frozen=True, slots=True)
class _Reading:
    """Label of an image by one prompt: ``colors`` is the prompt with what was read from the image."""

    label: Label
    prompt_spec: PromptSpec
    colors: PromptSpec
    notes: tuple[str, ...]


def _decode(generated: AnswerImage, prompt_spec: PromptSpec, all_prompts: Sequence[PromptSpec]) -> _Reading:
    """Label by the image's own prompt, or by another one about the same photo.

    Manifests may swap two images of one photo. An image that shows no class of its own legend, and has the colors of
    another one, is decoded with that one.

    Raises:
        AnswerRejected: Almost no pixel can be decoded, or the background is not clear.
    """
    reading = _read(generated, prompt_spec)
    task = teacher_task(prompt_spec.task)
    share = float(task.informative(reading.label).mean())
    if TASKS[prompt_spec.task].has_legend:
        other = _best_other(generated, reading, all_prompts, is_empty=share < MIN_SHARE_VALID)
        if other is not None:
            return other
    if share < MIN_SHARE_VALID:
        source = "its legend" if prompt_spec.legend else str(prompt_spec.task)
        raise AnswerRejected(f"only {share:.1%} of the generated image has colors of {source}")
    if reason := task.reject(reading.label):
        raise AnswerRejected(reason)
    return reading


def _best_other(
    generated: AnswerImage, own: _Reading, all_prompts: Sequence[PromptSpec], *, is_empty: bool
) -> _Reading | None:
    """Reading by another legend that fits while the own one shows nothing; None if there is none."""
    task = teacher_task(own.label.task)
    shown = task.shown(own.label)
    if not is_empty and shown >= MIN_SHARE_VALID:
        return None
    best: _Reading | None = None
    for prompt in all_prompts:
        if prompt.task is not own.prompt_spec.task or not prompt.legend or prompt.legend == own.prompt_spec.legend:
            continue
        found = _read(generated, prompt)
        fits = found.label.valid_fraction > max(FITS, (best or own).label.valid_fraction)
        # Blends at borders have colors of any legend.
        if fits and (is_empty or task.shown(found.label) > LEAST_SHOWN + SHOWN_RATIO * shown):
            best = found
    if best is None:
        return None
    note = _SWAPPED.format(", ".join(best.prompt_spec.legend))
    return replace(best, notes=(note, *best.notes))


def _read(generated: AnswerImage, prompt_spec: PromptSpec) -> _Reading:
    """Label by a prompt, at the image's own size.

    Raises:
        AnswerRejected: The background is not clear.
    """
    task = teacher_task(prompt_spec.task)
    completion = task.complete(generated.rgb, prompt_spec)
    if completion.reject:
        raise AnswerRejected(completion.reject)
    colors = completion.prompt_spec
    label = task.decode_gray16(generated.gray16, colors) if generated.gray16 is not None else None
    label = _opaque(label or task.decode(generated.rgb, colors), generated)
    if task.masks_background and colors.background is not None:
        label = _masked(label, distance(generated.rgb, colors.background) > BACKGROUND_TAU)
    return _Reading(label, prompt_spec, colors, (*completion.notes, *task.remarks(label)))


def _opaque(label: Label, generated: AnswerImage) -> Label:
    """The label without transparent pixels."""
    return label if generated.opaque is None else _masked(label, generated.opaque)


def _masked(label: Label, kept: Bool[ndarray, "h w"]) -> Label:
    """The label with other pixels than these invalid."""
    valid = label.valid & kept
    value = label.value.copy()
    value[~valid] = TASKS[label.task].fill
    return replace(label, value=value, valid=valid, confidence=label.confidence * valid)
