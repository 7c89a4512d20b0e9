"""Answers onto photos: where each pixel of the photo lies in the answer that was painted over it.

Generators resize photos to canvases of their own. The real answers fit ``cover`` best: the photo was scaled to cover
the canvas and cropped around its center (20 of 23 measured pairs), so up to 1 % of a photo's border was never painted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

from distill.errors import UsageError
from distill.labels import Label
from distill.tasks import TASKS
from distill.teachers.decoders import teacher_task
from distill.teachers.registration.estimate import PX_PER_NAT, MatchStats, find_drift
from distill.teachers.registration.refine import CHANCE

ALGORITHM_VERSION = 7
"""Raised whenever `estimate_registration` would find something else: what an older method found is then looked for again."""
RESIZE_MODES = ("cover", "fill", "contain")


@dataclass(frozen=True, slots=True)
class Registration:
    """How a generated image drifted away from its resize mode, and whether it can be trusted.

    A point at ``p`` from the center of the answer, as the rule says, was painted at ``shift + scale * p``.

    Attributes:
        shift_px: (down, right), in pixels of the answer.
        zoom: Above 1 the answer shows things larger than the rule says.
        aspect: Horizontal scale over vertical scale.
        residual_px: What is expected to be left between photo and answer after mending, at the answer's borders.
        score: The chance that the answer is about this photo and lies over it after mending, in [0, 1].
        accepted: Whether the answer may be used.
        reason: Why it may not, or why nothing is known; such as "it has no borders to compare".
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
"""The answer lies exactly where its resize mode says."""


WEIGHTS = {"margin": 24.5, "shortness": -98.0, "offset": -0.5}
"""Of the chance that photo and answer belong together: how far their agreement exceeds that of the answer turned over,
and 1 over the square root of the length of its borders in px. Short outlines fit many photos: 400 px must exceed it by
0.22, 2000 px by 0.11. By logistic regression on the tuning pairs of ``benchmarks/registration.py``, but for the offset:
of real photos, right answers exceeded it by 0.11 and more and wrong ones by 0.10 at most, and it lies between."""
CLEAR, CLEAR_WEIGHT = -0.4, 15.0
"""Close agreement that no answer about another photo reached (-0.59 at most), and what each unit beyond it adds: things
with straight sides fit turned over nearly as well, and were rejected though they fitted to a hair (-0.02 and more)."""
GAIN_NATS = 6.0
"""Mending must explain the borders this much better, each 15 px of border counted as one observation: with four numbers
to choose, a few short edges always fit a little better."""
GAIN_PER_PX, MAX_GAIN = 0.08, 0.45
"""Share of the way from chance to the agreement found that mending must win, for each px that corners move, and at
most: true drifts of 3 px win 0.4 to 0.8 of it and those of 7 px 0.8 to 1. Five price tags, whose outlines could be
drawn onto their own frames 19 px away, had won 0.33 while borders were picked by dice (0.01 since)."""
SURE_NATS, GAIN_SURE = 8.0, 0.2
"""Long borders that win this much need not win so large a share: single things that lie partly over where they should
be, and soft normals, won 0.2 to 0.45 at their right place, and were left up to 32 px away."""
STILL_PX = 0.5
"""Corners that would move less than this are left where they are."""
BARS_PX = 3.0
"""Corners that would move more than this are mended without any gain where bars say so: borders of labels that lie off
by themselves gained nothing at the right place, and were left up to 20 px away."""
SHORT_PX = 400.0
"""An answer with shorter borders (one small thing in a small picture) shows too little to be rejected for it: 11 % of
right ones would be."""
SHORT_MARGIN = 0.05
"""Unless it agrees hardly better than it would turned over."""
FEW_BORDERS = "it has too few borders to be sure"
NOT_OVER_PHOTO = "its borders do not lie on edges of the photo, at any shift, zoom or aspect"
MAX_SHEAR = 0.06
"""Right answers seemed sheared by 3.5 % at most."""
SHEARED = "it is sheared or turned, which no shift, zoom or aspect mends"
BENT_PX, BENT_GAIN = 8.0, 0.16
"""Parts of the answer that moved by themselves by this much (px of 1000), and what moving them back wins in agreement:
right answers about real photos gained up to 0.16 (labels of a camera beside the photo's own, 13 px) and synthetic ones
0.12; answers bent by 15 to 30 px gained 0.15 to 0.6, but labels of street scenes 0.05 to 0.15."""
BENT = "it is bent, which no shift, zoom or aspect mends"
WARP_GAIN, TURN_NATS, ZOOM_NATS = 0.04, 4.0, 8.0
"""An answer that fits this much better turned, sheared or zoomed is no drifted one, each 15 px of border counted as one
observation: right answers about real photos gained 0.04 at most, moved ones 0.05 to 1. A box whose faces show a pattern
fits that pattern at another zoom (0.1 at 770 px, 5 nats)."""
TOO_FAR = "it would have to be stretched more than a drift does"


def estimate_registration(
    photo_rgb: UInt8[ndarray, "h w 3"], generated_rgb: UInt8[ndarray, "h2 w2 3"], resize_mode: str = "cover"
) -> Registration:
    """Where the answer was really painted; for `warp_label`, which mends it. Not accepted: no placement makes them agree."""
    size_hw = generated_rgb.shape[:2]
    found = decide(
        find_drift(photo_rgb, generated_rgb, resize_scale(photo_rgb.shape[:2], size_hw, resize_mode)), size_hw
    )
    # Sums come out differently in their last digits from run to run, and shards must be the same to the last byte.
    return replace(
        found,
        shift_px=(round(found.shift_px[0], 3), round(found.shift_px[1], 3)),
        zoom=round(found.zoom, 6),
        aspect=round(found.aspect, 6),
        residual_px=round(found.residual_px, 3),
        score=round(found.score, 4),
    )


def decide(stats: MatchStats | None, size_hw: tuple[int, int]) -> Registration:
    """What follows from what was seen: mend, leave, or reject an answer of this size."""
    if stats is None:
        return replace(IDENTITY, score=0.0, reason="it has no borders to compare")
    score, transform = _score(stats), stats.transform
    if score < 0.5 and stats.border_px < SHORT_PX and stats.margin > SHORT_MARGIN:
        # Too little to be sure of either: left where it is, and scored as what it is.
        return replace(IDENTITY, residual_px=stats.uncertainty_px, score=score, reason=FEW_BORDERS)
    reason = "" if score >= 0.5 else NOT_OVER_PHOTO
    if not (stats.has_letterbox or transform.is_plausible):
        reason = TOO_FAR
    least_nats = ZOOM_NATS if stats.affine.zoomed else TURN_NATS
    if stats.affine.gain > max(WARP_GAIN, least_nats * PX_PER_NAT / stats.border_px):
        reason = TOO_FAR if stats.affine.zoomed else SHEARED
    bent = stats.smooth.moved_px > BENT_PX and stats.smooth.gain > BENT_GAIN and stats.border_px > SHORT_PX
    # Waves can draw a turn or a zoom, too, and a little more.
    if bent and (not reason or stats.smooth.gain > 2 * stats.affine.gain):
        reason = BENT
    if stats.shear > MAX_SHEAR and stats.border_px > SHORT_PX:
        reason = SHEARED
    found = replace(IDENTITY, residual_px=stats.uncertainty_px, score=score, accepted=not reason, reason=reason)
    reach_px = [abs(transform.shift_px[i]) + abs(transform.scale_hw[i] - 1) * size_hw[i] / 2 for i in (0, 1)]
    gain_nats = (stats.agreement_fine - stats.agreement_at_identity) * stats.border_px / PX_PER_NAT
    gain = (stats.agreement_fine - stats.agreement_at_identity) / max(stats.agreement_fine - CHANCE, 1e-3)
    most = MAX_GAIN if gain_nats < SURE_NATS else GAIN_SURE
    too_little = gain_nats < GAIN_NATS or gain < min(most, GAIN_PER_PX * max(reach_px))
    if stats.has_letterbox and max(reach_px) > BARS_PX:
        too_little = False
    if reason or max(reach_px) < STILL_PX or too_little:
        return found
    vertical, horizontal = transform.scale_hw
    zoom, aspect = (vertical * horizontal) ** 0.5, horizontal / vertical
    return replace(found, shift_px=transform.shift_px, zoom=zoom, aspect=aspect)


def _score(stats: MatchStats) -> float:
    """The chance in [0, 1] that the answer is about this photo and lies where it was found to."""
    total = WEIGHTS["offset"] + WEIGHTS["margin"] * stats.margin
    total += WEIGHTS["shortness"] / max(1.0, stats.border_px) ** 0.5
    if stats.margin > 0:
        total += CLEAR_WEIGHT * max(0.0, stats.agreement_fine - CLEAR)
    return float(1 / (1 + np.exp(-total)))


def warp_label(
    label: Label, photo_size_hw: tuple[int, int], resize_mode: str = "cover", registration: Registration = IDENTITY
) -> Label:
    """The label in the photo's frame: covering the whole photo, nowhere finer than the answer was.

    Pixels are picked, never mixed: no depth, direction or class appears that was not in the answer. What the answer did
    not cover is invalid. A photo smaller than the answer gives exactly the photo's size.
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
        return values.take(np.maximum(rows, 0), axis=0).take(np.maximum(columns, 0), axis=1)

    valid = picked(label.valid) & (rows >= 0)[:, None] & (columns >= 0)[None]
    value = picked(label.value)
    if not valid.all():
        value[~valid] = TASKS[label.task].fill
    return replace(label, value=value, valid=valid, confidence=picked(label.confidence) * valid)


def resize_scale(
    photo_size_hw: tuple[int, int], answer_size_hw: tuple[int, int], resize_mode: str
) -> tuple[float, float]:
    """Answer pixels per photo pixel, (vertical, horizontal), by resize mode; photo and answer share their centers.

    Raises:
        UsageError: Unknown rule.
    """
    vertical, horizontal = (answer_size_hw[i] / photo_size_hw[i] for i in (0, 1))
    if resize_mode == "fill":
        return vertical, horizontal
    if resize_mode not in RESIZE_MODES:
        raise UsageError(f"unknown resize mode {resize_mode!r}", hint=f"one of {', '.join(RESIZE_MODES)}")
    scale = max(vertical, horizontal) if resize_mode == "cover" else min(vertical, horizontal)
    return scale, scale


def _source(photo_size: int, size: int, answer_size: int, scale: float, shift_px: float) -> Int[ndarray, " n"]:
    """For each pixel of the result along one axis, the answer's pixel that holds its center; -1 where there is none."""
    center: Float[ndarray, " n"] = ((np.arange(size) + 0.5) / size - 0.5) * photo_size
    source = np.floor(answer_size / 2 + shift_px + center * scale).astype(np.int64)
    return np.where((source >= 0) & (source < answer_size), source, -1)
