"""Label of a generated image at the image's own size: by its own prompt, or by another one about the same photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from jaxtyping import Bool, UInt8
from numpy import ndarray

from distill.errors import DistillError
from distill.labels import Label
from distill.tasks import TASKS
from distill.teachers.base import PromptSpec
from distill.teachers.codecs.answer_image import AnswerImage
from distill.teachers.codecs.flat_colors import distance
from distill.teachers.quality.off_code import off_code_fraction
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
_SWAPPED = "the image has the legend of {}, not its own, and was decoded with that: two images seem to be swapped"


class AnswerRejected(DistillError):  # noqa: N818 - as `ContentRefused`
    """A decoded image that must not become a label.

    Attributes:
        generated: Its pixels, for the report; None if they could not be decoded.
    """

    generated: UInt8[ndarray, "h w 3"] | None = None


@dataclass(frozen=True, slots=True)
class AnswerReading:
    """Label of an image by one prompt.

    Attributes:
        label: At the image's own size.
        prompt_spec: The prompt.
        colors: The prompt with what was read from the image.
        notes: What was decoded otherwise than the prompt says, or was assumed.
        off_code: Fraction of the image in areas whose colors have no meaning (`off_code_fraction`).
    """

    label: Label
    prompt_spec: PromptSpec
    colors: PromptSpec
    notes: tuple[str, ...]
    off_code: float


def decode_by_prompts(
    generated: AnswerImage, prompt_spec: PromptSpec, all_prompts: Sequence[PromptSpec]
) -> AnswerReading:
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
    generated: AnswerImage, own: AnswerReading, all_prompts: Sequence[PromptSpec], *, is_empty: bool
) -> AnswerReading | None:
    """Reading by another legend that fits while the own one shows nothing; None if there is none."""
    task = teacher_task(own.label.task)
    shown = task.shown(own.label)
    if not is_empty and shown >= MIN_SHARE_VALID:
        return None
    best: AnswerReading | None = None
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


def _read(generated: AnswerImage, prompt_spec: PromptSpec) -> AnswerReading:
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
    label = label or task.decode(generated.rgb, colors)
    # Before masking: pixels without a color are no loss.
    off_code, remarks = off_code_fraction(label, generated.rgb), task.remarks(label)
    label = _opaque(label, generated)
    if task.masks_background and colors.background is not None:
        label = _masked(label, distance(generated.rgb, colors.background) > BACKGROUND_TAU)
    return AnswerReading(label, prompt_spec, colors, (*completion.notes, *remarks), off_code)


def _opaque(label: Label, generated: AnswerImage) -> Label:
    """The label without transparent pixels."""
    return label if generated.opaque is None else _masked(label, generated.opaque)


def _masked(label: Label, kept: Bool[ndarray, "h w"]) -> Label:
    """The label with other pixels than these invalid."""
    valid = label.valid & kept
    value = label.value.copy()
    value[~valid] = TASKS[label.task].fill
    return replace(label, value=value, valid=valid, confidence=label.confidence * valid)
