"""Registration of a generated image with its photo: decision, correction of the label.

Generators resize photos to canvases of their own. Real images fit ``cover`` best: the photo was scaled to cover the
canvas and cropped around its center (20 of 23 measured pairs), so up to 1 % of a photo's border is missing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

from distill.errors import UsageError
from distill.labels import Label
from distill.tasks import TASKS
from distill.teachers.registration.estimate import PX_PER_NAT, find_drift
from distill.teachers.registration.match_stats import MatchStats
from distill.teachers.registration.refine import CHANCE
from distill.teachers.tasks import teacher_task

ALGORITHM_VERSION = 9
"""Raised whenever results of `estimate_registration` change, so that cached ones are computed again."""
RESIZE_MODES = ("cover", "fill", "contain")


@dataclass(frozen=True, slots=True)
class Registration:
    """Transform of a generated image relative to its resize mode, and the decision about it.

    A point at ``p`` from the image center by the resize mode was generated at ``shift + scale * p``.

    Attributes:
        shift_px: (down, right), in pixels of the generated image.
        zoom: Above 1, objects are larger than by the resize mode.
        aspect: Horizontal scale over vertical scale.
        residual_px: Expected error after correction, at the image's borders.
        score: Probability that the image shows this photo and is aligned after correction, in [0, 1].
        accepted: Whether the image may be used.
        reason: Why not, or why it is unknown; such as "it has no borders to compare".
    """

    shift_px: tuple[float, float] = (0.0, 0.0)
    zoom: float = 1.0
    aspect: float = 1.0
    residual_px: float = 0.0
    score: float = 1.0
    accepted: bool = True
    reason: str = ""

    @property
    def scale_hw(self) -> tuple[float, float]:
        """(vertical, horizontal) scale."""
        return self.zoom / self.aspect**0.5, self.zoom * self.aspect**0.5


IDENTITY = Registration()
"""Aligned as the resize mode states."""


# tuned: benchmarks/registration.py; reasons: docs/registration.md
WEIGHTS = {"margin": 24.5, "shortness": -98.0, "offset": -0.5}
"""Log odds that photo and image belong together: margin over the flipped image, and 1 / sqrt(border length in px)."""
CLEAR, CLEAR_WEIGHT = -0.4, 15.0
"""Agreement above the first number adds its excess times the second to the log odds."""
BENT = "it is bent: parts of it are displaced, which no shift, zoom or aspect corrects"
BENT_AGREEMENT, BENT_GAIN = -0.68, 0.046
"""An image that agrees less than the first number is bent if displacing its parts wins more than the second."""
FAR_PX, FAR_WEIGHT = 45.0, 0.04
"""Displacements beyond the first number, in px of 1000, lower the log odds: so far, images of other photos fit, too."""
ACCEPTED = 0.5
"""Score of an image that may be used."""
ABOUT_EQUAL = 0.05
"""An image that fits closely may be less by this than its flip: a box flipped and shifted is the same box."""
GAIN_NATS = 6.0
"""Log likelihood that a correction must win."""
GAIN_PER_PX, MAX_GAIN = 0.08, 0.45
"""Part of the way from chance to the agreement that a correction must win, per px that corners move, and at most."""
SURE_NATS, GAIN_SURE = 8.0, 0.15
"""Corrections that win this log likelihood need only this part."""
STILL_PX = 0.5
"""Corners that would move less than this are not corrected."""
BARS_PX = 3.0
"""Corrections by bars that move corners farther need no gain."""
SHORT_PX, SHORT_MARGIN = 400.0, 0.05
"""Images with shorter borders are not rejected if their margin is larger."""
FEW_BORDERS = "it has too few borders for a decision"
TOO_FAR = "it would have to be stretched more than generators do"
MAX_LEFT = 0.01
"""An image is rejected if a drift that is left is larger than this fraction of its longer side."""
NOT_OVER_PHOTO = "its borders are not on edges of the photo, at any shift, zoom or aspect"
WARP_GAIN, TURN_NATS, ZOOM_NATS = 0.06, 4.0, 8.0
"""Agreement, and log likelihood, that a distortion must win over the best drift."""
PERSPECTIVE_GAIN = 0.12
"""Agreement that a perspective must win: its two parameters also fit dents of single contours."""
FIT_MARGIN = 0.12
"""Excess over the flipped image without which no distortion is named: any image fits some distortion a little."""
FLIP_GAIN, FLIP_SEEN = 0.1, -0.75
"""A flip is named as the reason if it agrees better by the first number, and as much as the second."""
LEFT_NATS, LOCAL_NATS = 4.0, 10.0
"""Log likelihood from which a drift, and offsets of parts, that are left are more likely real than not."""


def estimate_registration(
    photo_rgb: UInt8[ndarray, "h w 3"], generated_rgb: UInt8[ndarray, "h2 w2 3"], resize_mode: str = "cover"
) -> Registration:
    """Registration of a generated image with its photo, for `warp_label`."""
    size_hw = generated_rgb.shape[:2]
    found = decide(
        find_drift(photo_rgb, generated_rgb, resize_scale(photo_rgb.shape[:2], size_hw, resize_mode)), size_hw
    )
    # The last digits of sums differ between runs, and shards must be byte-identical.
    return replace(
        found,
        shift_px=(round(found.shift_px[0], 3), round(found.shift_px[1], 3)),
        zoom=round(found.zoom, 6),
        aspect=round(found.aspect, 6),
        residual_px=round(found.residual_px, 3),
        score=round(found.score, 4),
    )


def decide(stats: MatchStats | None, size_hw: tuple[int, int]) -> Registration:
    """Decision for an image of this size: correct it, leave it as it is, or reject it."""
    if stats is None:
        return replace(IDENTITY, score=0.0, reason="it has no borders to compare")
    score, transform = _score(stats, size_hw), stats.transform
    # Too little evidence against it: accepted with its low score, and corrected only by bars.
    is_short = score < ACCEPTED and stats.border_px < SHORT_PX and stats.margin > SHORT_MARGIN
    reason = _distorted(stats) if is_short else _reason(stats, score)
    reach_px = [abs(transform.shift_px[i]) + abs(transform.scale_hw[i] - 1) * size_hw[i] / 2 for i in (0, 1)]
    gain_nats = (stats.agreement_fine - stats.agreement_at_identity) * stats.border_px / PX_PER_NAT
    gain = (stats.agreement_fine - stats.agreement_at_identity) / max(stats.agreement_fine - CHANCE, 1e-3)
    most = MAX_GAIN if gain_nats < SURE_NATS else GAIN_SURE
    too_little = gain_nats < GAIN_NATS or gain < min(most, GAIN_PER_PX * max(reach_px))
    if stats.has_letterbox and max(reach_px) > BARS_PX:
        too_little = False
    left = bool(reason) or max(reach_px) < STILL_PX or too_little or (is_short and not stats.has_letterbox)
    # What is left is an error as far as it is real.
    left_px = stats.moved_px * _real(gain_nats, LEFT_NATS) if left else 0.0
    local_px = stats.local_px * _real(stats.local_gain * stats.border_px / PX_PER_NAT, LOCAL_NATS)
    if not (reason or is_short) and left_px > MAX_LEFT * max(size_hw):
        reason = f"it is displaced by about {left_px:.0f} px, and how is not clear"
    found = replace(
        IDENTITY,
        residual_px=float(np.hypot.reduce([stats.uncertainty_px, local_px, left_px])),
        score=score,
        accepted=not reason,
        reason=reason or (FEW_BORDERS if is_short else ""),
    )
    if left:
        return found
    vertical, horizontal = transform.scale_hw
    zoom, aspect = (vertical * horizontal) ** 0.5, horizontal / vertical
    return replace(found, shift_px=transform.shift_px, zoom=zoom, aspect=aspect)


def _real(gain_nats: float, even_nats: float) -> float:
    """Root of the probability that a displacement is real, which wins this log likelihood."""
    probability: float = 1 / (1 + math.exp(min(even_nats - gain_nats, 700.0)))
    return math.sqrt(probability)


def _reason(stats: MatchStats, score: float) -> str:
    """Why the image cannot be used; empty if it can."""
    if stats.margin < -FLIP_GAIN and stats.agreement_mirrored > FLIP_SEEN:
        return f"it is {stats.flip}"
    if stats.margin + stats.distortion.gain > FIT_MARGIN:
        if name := _distorted(stats):
            return name
        if not (stats.has_letterbox or stats.transform.is_plausible):
            return stats.distortion.name if stats.distortion.is_stretched else TOO_FAR
    # Bars with straight ends belong to an image that is not bent.
    displaced = stats.local_gain > BENT_GAIN and not stats.has_letterbox
    if score >= ACCEPTED and stats.agreement < BENT_AGREEMENT and displaced:
        return BENT
    return NOT_OVER_PHOTO if score < ACCEPTED else ""


def _distorted(stats: MatchStats) -> str:
    """Name of the distortion if one fits clearly better; empty if none does."""
    distortion = stats.distortion
    least_nats = ZOOM_NATS if distortion.is_stretched else TURN_NATS
    least_gain = WARP_GAIN if distortion.is_stretched or distortion.is_turned else PERSPECTIVE_GAIN
    wins = distortion.gain > max(least_gain, least_nats * PX_PER_NAT / stats.border_px)
    is_distorted = distortion.is_stretched or distortion.is_turned or distortion.is_tilted
    return distortion.name if wins and is_distorted else ""


def _score(stats: MatchStats, size_hw: tuple[int, int]) -> float:
    """Probability that the image shows this photo at the estimated transform."""
    total = WEIGHTS["offset"] + WEIGHTS["margin"] * stats.margin
    total += WEIGHTS["shortness"] / max(1.0, stats.border_px) ** 0.5
    if stats.margin > 0 or (stats.agreement > CLEAR and stats.margin > -ABOUT_EQUAL):
        total += CLEAR_WEIGHT * max(0.0, stats.agreement_fine - CLEAR)
    moved_px = stats.moved_px * 1000 / max(size_hw)
    total -= 0.0 if stats.has_letterbox else FAR_WEIGHT * max(0.0, moved_px - FAR_PX)
    return float(1 / (1 + np.exp(-total)))


def warp_label(
    label: Label, photo_size_hw: tuple[int, int], resize_mode: str = "cover", registration: Registration = IDENTITY
) -> Label:
    """The label in the photo's frame, covering the whole photo, at no higher resolution than the generated image.

    Nearest neighbor: no depth, direction or class appears that was not in the image. Pixels outside the image are
    invalid. For a photo smaller than the image, the label has the photo's size.
    """
    scale_hw = resize_scale(photo_size_hw, label.size_hw, resize_mode)
    detail = min(1.0, *scale_hw)
    size_hw = max(1, round(photo_size_hw[0] * detail)), max(1, round(photo_size_hw[1] * detail))
    rows, columns = (
        _source(
            photo_size_hw[i],
            size_hw[i],
            label.size_hw[i],
            scale_hw[i] * registration.scale_hw[i],
            registration.shift_px[i],
        )
        for i in (0, 1)
    )
    vertical, horizontal = (photo_size_hw[i] / size_hw[i] * scale_hw[i] for i in (0, 1))
    label = teacher_task(label.task).before_shrinking(label, (vertical, horizontal))

    def picked(values: ndarray) -> ndarray:
        # Whole rows first, then columns: four times faster than both at once.
        picked_values: ndarray = values.take(np.maximum(rows, 0), axis=0).take(np.maximum(columns, 0), axis=1)
        return picked_values

    valid = picked(label.valid) & (rows >= 0)[:, None] & (columns >= 0)[None]
    value = picked(label.value)
    if not valid.all():
        value[~valid] = TASKS[label.task].fill
    layers = tuple(picked(layer) * valid for layer in label.layers)
    return replace(label, value=value, valid=valid, confidence=picked(label.confidence) * valid, layers=layers)


def resize_scale(
    photo_size_hw: tuple[int, int], answer_size_hw: tuple[int, int], resize_mode: str
) -> tuple[float, float]:
    """Image pixels per photo pixel, (vertical, horizontal), by resize mode; both share their centers.

    Raises:
        UsageError: Unknown resize mode.
    """
    vertical, horizontal = (answer_size_hw[i] / photo_size_hw[i] for i in (0, 1))
    if resize_mode == "fill":
        return vertical, horizontal
    if resize_mode not in RESIZE_MODES:
        raise UsageError(f"unknown resize mode {resize_mode!r}", hint=f"one of {', '.join(RESIZE_MODES)}")
    scale = max(vertical, horizontal) if resize_mode == "cover" else min(vertical, horizontal)
    return scale, scale


def _source(photo_size: int, size: int, answer_size: int, scale: float, shift_px: float) -> Int[ndarray, " n"]:
    """Index of the image's pixel at the center of each result pixel along one axis; -1 outside."""
    center: Float[ndarray, " n"] = ((np.arange(size) + 0.5) / size - 0.5) * photo_size
    source = np.floor(answer_size / 2 + shift_px + center * scale).astype(np.int64)
    return np.where((source >= 0) & (source < answer_size), source, -1)
