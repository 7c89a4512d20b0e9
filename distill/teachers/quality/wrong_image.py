"""Generated images that cannot be labels: copies of the photo, flat images, images of another task.

Evidence is taken from small versions of photo and image, so that re-encoding, noise and color changes do not matter.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from distill.errors import UsageError
from distill.labels import Label
from distill.tasks import TASKS, Task
from distill.teachers.base import PromptSpec
from distill.teachers.prompts.legend_parser import parse_legend
from distill.teachers.quality.color_stats import ColorStats, measure_colors, reduce_size
from distill.teachers.quality.straight_lines import NO_LINE, UNEXPLAINED, StraightLine
from distill.teachers.registration.align import IDENTITY, Registration
from distill.teachers.tasks import teacher_task

# tuned: benchmarks/damaged_answers.py
_SMALL_PX = 400
_TREND_PX = 64
"""Flatness is measured at this size, where noise has no influence."""
_FLAT = 20.0
"""Largest deviation of a flat image from its trend, in 8-bit levels. Good images deviate by 33 or more."""
_GRADIENT = 100.0
"""Range of the colors of a flat image; a larger gradient may be depth."""
_SCENE_PX = 24
"""At this size, texture of a single surface has no influence."""
_SCENE = 9.0
"""Standard deviation from the trend at which a photo shows more than one surface: 13 or more in 300 photos, 4 for a
wall of bricks."""
_COPY_PX, _PATCH_PX = 160, 8
"""Size of the comparison with the photo, and of its patches."""
_TEXTURE = 2.0
"""Standard deviation of a patch of the photo that can be recognized."""
_MANY = 0.25
"""Fraction of such patches in a photo of textured surfaces. Drawings have fewer: their patches show only borders, which
good labels share."""
_SAME, _SHOWN = 24, 0.001
"""Largest difference of a channel from a color of the prompt; fraction of the image from which it is shown."""
_OTHER_COLORS = "most colors of the answer are not those of its prompt for {}"
_OFF_CODE = (
    "{:.0%} of the answer is in areas whose colors are not those of {}, as after a watermark or with swapped channels"
)
_LINE = (
    "the answer has a straight border over {:.0%} of its side, at {} {}, where the photo has no edge: a frame, a bar, "
    "or a part that was filled or cut off"
)
FITS = 0.8
"""Valid fraction from which the colors of an image speak for its task."""


@dataclass(frozen=True, slots=True)
class Trend:
    """Deviation of an image from a smooth trend, in 8-bit levels.

    Attributes:
        largest: Of any pixel.
        deviation: Root mean square, of the channel with most.
        range: Of the colors themselves.
    """

    largest: float
    deviation: float
    range: float


def measure_trend(rgb: UInt8[ndarray, "h w 3"], longest_px: int) -> Trend:
    """Deviation from a polynomial trend at a size; gradients and vignettes have none."""
    small = _shrink(reduce_size(rgb, longest_px), longest_px).astype(np.float32)
    flat = small.reshape(-1, small.shape[2])
    terms, inverse = _polynomial(small.shape[0], small.shape[1])
    rest = flat - terms @ (inverse @ flat)
    return Trend(float(np.abs(rest).max()), float(np.sqrt((rest**2).mean(axis=0)).max()), float(np.ptp(flat, 0).max()))


def shows_scene(photo_rgb: UInt8[ndarray, "h w 3"]) -> bool:
    """Whether a photo shows more than one evenly lit surface, so that no label of it is flat."""
    return measure_trend(photo_rgb, _SCENE_PX).deviation > _SCENE


def similarity(
    photo_rgb: UInt8[ndarray, "h w 3"], rgb: UInt8[ndarray, "h2 w2 3"], registration: Registration = IDENTITY
) -> tuple[float, float]:
    """(fraction of the photo's texture that the image explains, fraction of textured patches).

    The brightness of each patch of the photo is predicted from the image's colors, so that color changes do not matter.
    The mirrored image counts as well.
    """
    image = _shrink(rgb, _COPY_PX).astype(np.float32)
    height, width = image.shape[:2]
    if registration != IDENTITY:
        image = _undo(image, registration, width / rgb.shape[1])
    gray = _shrink(photo_rgb, _COPY_PX, (width, height)) @ np.array([0.299, 0.587, 0.114], np.float32)
    target = _patches(gray[..., None])
    variance = (target**2).mean(axis=(1, 2))
    textured = variance > _TEXTURE**2
    if not textured.any():
        return 0.0, 0.0
    target, variance = target[textured], variance[textured]
    shares = []
    for version in (image, image[:, ::-1]):
        given = _patches(version)[textured]
        moments = np.einsum("nki,nkj->nij", given, given) / given.shape[1] + np.eye(3, dtype=np.float32)
        shared = np.einsum("nki,nkj->nij", given, target) / given.shape[1]
        explained = (shared * np.linalg.solve(moments, shared)).sum(axis=(1, 2))
        shares.append(float((explained / variance).mean()))
    return max(shares), float(textured.mean())


def explain_wrong_image(
    photo_rgb: UInt8[ndarray, "h w 3"],
    generated_rgb: UInt8[ndarray, "h2 w2 3"],
    prompt_spec: PromptSpec,
    label: Label | None,
    registration: Registration = IDENTITY,
    *,
    off_code: float = 0.0,
    line: StraightLine = NO_LINE,
    may_be_flat: bool = False,
) -> str:
    """Why a generated image is no answer to its prompt; empty if it may be one.

    Args:
        photo_rgb: The photo.
        generated_rgb: The generated image.
        prompt_spec: Its prompt.
        label: The image decoded at its own size; None if that failed.
        registration: Its alignment with the photo.
        off_code: Fraction of the image in areas whose colors have no meaning.
        line: Its longest straight line that the photo does not show.
        may_be_flat: Accept flat images, which say that nothing was found.
    """
    task = teacher_task(prompt_spec.task)
    # Shrunk once: a photo may have 24 megapixels.
    photo_small, small = reduce_size(photo_rgb, _SMALL_PX), reduce_size(generated_rgb, _SMALL_PX)
    scene = shows_scene(photo_small)
    trend = measure_trend(small, _TREND_PX)
    if scene and not may_be_flat and trend.largest < _FLAT and trend.range < _GRADIENT:
        return "the answer is flat: it has the same color everywhere, and the photo shows more than one surface"
    share = small.shape[1] / generated_rgb.shape[1]
    down, right = registration.shift_px
    explained, textured = similarity(photo_small, small, replace(registration, shift_px=(down * share, right * share)))
    known = label is not None and label.valid_fraction > FITS
    if explained > task.copy_similarity and (textured > _MANY or not known):
        return "the answer is a copy of the photo"
    colors = measure_colors(generated_rgb, small)
    if not (task.recognizes(colors) if label is None else task.admits(colors, label, prompt_spec) or not scene):
        other = _name_task(task.answer_noun, colors)
        return other or ("" if label is None else _OTHER_COLORS.format(task.answer_noun))
    if label is None:
        return ""
    if off_code > task.max_off_code:
        return _OFF_CODE.format(off_code, task.answer_noun)
    reason = task.explain_impossible(label) or task.explain_colors(generated_rgb, prompt_spec)
    return reason or _explain_classes(small, prompt_spec) or _explain_line(line)


def _name_task(noun: str, colors: ColorStats) -> str:
    """Why an image that another task recognizes is no image of this one; empty if none does."""
    for other in map(teacher_task, Task):
        if other.answer_noun != noun and other.recognizes(colors):
            return f"the answer looks like {other.answer_noun}, and {noun} was requested"
    return ""


def _explain_line(line: StraightLine) -> str:
    """Why an image with a straight line that the photo does not show is no answer."""
    if line.share < UNEXPLAINED:
        return ""
    return _LINE.format(line.share, "row" if line.axis == 0 else "column", line.position)


def _explain_classes(rgb: UInt8[ndarray, "h w 3"], prompt_spec: PromptSpec) -> str:
    """Why an image of classes is no image of instances: it has the colors that its prompt gives to classes."""
    if TASKS[prompt_spec.task].has_legend or not TASKS[prompt_spec.task].has_background:
        return ""
    try:
        legend = parse_legend(prompt_spec.prompt)
    except UsageError:
        return ""
    pixels = rgb.reshape(-1, 3).astype(np.int32)
    shares = [float((np.abs(pixels - color).max(axis=1) <= _SAME).mean()) for color in legend.colors.values()]
    if sum(share > _SHOWN for share in shares) < 2 or sum(shares) < FITS:
        return ""
    return f"the answer has the colors of the classes that its prompt names, and {prompt_spec.task} was requested"


def _shrink(
    rgb: UInt8[ndarray, "h w 3"], longest_px: int, size_wh: tuple[int, int] | None = None
) -> UInt8[ndarray, "h2 w2 3"]:
    share = longest_px / max(rgb.shape[:2])
    size_wh = size_wh or (max(_PATCH_PX, round(rgb.shape[1] * share)), max(_PATCH_PX, round(rgb.shape[0] * share)))
    small: ndarray = cv2.resize(rgb, size_wh, interpolation=cv2.INTER_AREA)
    return small


@functools.lru_cache(maxsize=32)
def _polynomial(height: int, width: int) -> tuple[Float[ndarray, "n k"], Float[ndarray, "k n"]]:
    """(terms of a polynomial at every pixel, their pseudo-inverse)."""
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y, x**4, x * x * y, y**4], axis=-1).reshape(-1, 9)
    return terms.astype(np.float32), np.linalg.pinv(terms).astype(np.float32)


def _patches(values: Float[ndarray, "h w c"]) -> Float[ndarray, "n k c"]:
    """Square patches without their means."""
    rows, columns, channels = values.shape[0] // _PATCH_PX, values.shape[1] // _PATCH_PX, values.shape[2]
    cut = values[: rows * _PATCH_PX, : columns * _PATCH_PX].reshape(rows, _PATCH_PX, columns, _PATCH_PX, channels)
    patches = cut.swapaxes(1, 2).reshape(-1, _PATCH_PX**2, channels)
    centered: ndarray = patches - patches.mean(axis=1, keepdims=True)
    return centered


def _undo(image: Float[ndarray, "h w 3"], registration: Registration, share: float) -> Float[ndarray, "h w 3"]:
    """The image where its resize mode places it."""
    height, width = image.shape[:2]
    vertical, horizontal = registration.scale_hw
    down, right = (shift * share for shift in registration.shift_px)
    matrix = np.array(
        [
            [horizontal, 0, width / 2 * (1 - horizontal) + right],
            [0, vertical, height / 2 * (1 - vertical) + down],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
