"""How far a painted answer drifted from its photo: shift, zoom and aspect, found from what the two have in common.

One picture is a photo, the other a depth map, a normal map or flat colors: brightness and color mean nothing across
the two, but borders of things lie in the same places and run the same way. So the answer becomes an outline (points
with normals), the photo a field of thin edges that know their direction but not their sign, and they meet twice:

    256 px     every zoom and aspect of a grid, every shift; correlation surfaces of small tiles, summed
    full size  the best of these, refined: along its normal, each point of the outline looks for edges of the photo

A point says nothing about the direction along its border, and a point in texture, where the photo has edges everywhere,
says nothing at all: what counts is how much clearer an edge is than all that lies within reach of the point. Weighted
least squares over all points, repeated while the reach shrinks (expectation maximization), give four numbers, and the
scatter between parts of the picture says how far they can be trusted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from operator import attrgetter

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from scipy.spatial import cKDTree

from distill.runtime.cpu import one_blas_thread
from distill.teachers.registration.coarse_search import Bars, Overlay, Sweep
from distill.teachers.registration.distortion import NO_WARP, STRAIGHT, Bend, Warp, bend, skew, warp
from distill.teachers.registration.edges import Outline
from distill.teachers.registration.refine import (
    CHANCE,
    Fit,
    agreement_unmended,
    approach,
    fit_bars,
    look_closely,
    settle,
    sidesteps,
    surprise,
)

_BELIEVABLE = 0.1, 0.06
"""Zoom and aspect that may be found: real labels that lie a little off their photos pull the numbers out of range."""
_CANDIDATES = 5
_RIVAL_NATS, _RIVAL_PX = 3.0, 3.0
"""Places worth so little less than the best, and so far from it, are all looked at closely before one is chosen."""
_SMALL_PX, _BESIDE_NATS = 1600.0, 2.0
"""Outlines of one or two things, and by how much a place beside the one that was found must be worth more."""
_MANY, _FEW = 8000, 1200
_LEAST = 24
"""Points of an outline; with fewer there is nothing to compare."""
_SAME_SHARE, _SYMMETRIC = 0.006, 0.7
"""An outline of which this share (more than chance) lies within so much of the longest side of itself turned over is
symmetric."""
PX_PER_NAT = 15.0
"""Borders of this length count as one observation: neighboring points err together."""
_CLEAR = 0.1
"""Close agreement that needs no other explanation than a drift: most synthetic answers reach it, and no label of a real
photo does."""
_BARS_PREFERRED = 0.25
"""So much less agreement than at the best place is accepted where bars say that the photo ends: labels may lie off."""


@dataclass(frozen=True, slots=True)
class Drift:
    """An axis-aligned map from where the canvas rule puts a point (from the answer's center) to where it was painted.

    Attributes:
        shift_px: (down, right), in pixels of the answer.
        scale_hw: (vertical, horizontal).
    """

    shift_px: tuple[float, float] = (0.0, 0.0)
    scale_hw: tuple[float, float] = (1.0, 1.0)

    @property
    def allowed(self) -> bool:
        """Whether zoom and aspect are those of a drift, and not of another picture."""
        tall, wide = np.log(self.scale_hw)
        return bool(abs(tall + wide) / 2 <= _BELIEVABLE[0] and abs(tall - wide) <= _BELIEVABLE[1])


@dataclass(frozen=True, slots=True)
class Evidence:
    """How well photo and answer agree, at the drift that was found.

    Agreement is the mean logarithm of how much clearer the photo's edges are on the answer's borders than around them.

    Attributes:
        drift: What was found.
        uncertainty_px: Expected error of the drift on the answer's borders, from the scatter between its parts.
        agreement: Looked at coarsely, at the best place; even where bars say another, since labels may lie off.
        agreement_mirrored: The same for the answer turned over, at its own best place: what chance and straight walls
            give; `CHANCE` for an answer that is symmetric every way.
        agreement_fine: At the drift, looked at closely.
        agreement_unmended: The same at no drift at all.
        border_px: Length of the answer's borders; clear ones count fully, at most 3000 px of them.
        barred: Whether bars in the answer said where the photo ends.
        skew: How far the answer seems sheared or turned besides, as a share of its size.
        bend: How far parts of it seem to have moved by themselves.
        warp: How much better it fits turned, sheared, enlarged or shrunk.
    """

    drift: Drift
    uncertainty_px: float
    agreement: float
    agreement_mirrored: float
    agreement_fine: float
    agreement_unmended: float
    border_px: float
    barred: bool
    skew: float = 0.0
    bend: Bend = STRAIGHT
    warp: Warp = NO_WARP

    @property
    def margin(self) -> float:
        """How far the agreement exceeds that of the answer turned over."""
        return self.agreement - self.agreement_mirrored


def find_drift(
    photo: UInt8[ndarray, "h w 3"], answer: UInt8[ndarray, "h2 w2 3"], scale_hw: tuple[float, float]
) -> Evidence | None:
    """Where the answer was really painted; nothing where the answer has no borders to go by.

    Args:
        photo: Any size.
        answer: Painted over the photo.
        scale_hw: Answer pixels per photo pixel by the canvas rule; both share their centers.
    """
    overlay = Overlay(photo, answer, scale_hw)
    if len(overlay.outline) < _LEAST:
        return None
    with one_blas_thread():
        return _found(overlay)


def _found(overlay: Overlay) -> Evidence:
    """The same, of an answer that has borders."""
    few, many = overlay.outline.thinned(_FEW), overlay.outline.thinned(_MANY)
    sweep = Sweep(overlay)
    rough = _best(overlay, few, [np.zeros(4), *sweep.best(overlay.outline, _CANDIDATES)], [])
    bars, seen = overlay.bars, rough.agreement
    if bars and _believable(bars, max(overlay.size_hw)):
        # A bar on one side leaves most of the place open.
        barred = max(
            (approach(overlay, few, start, bars) for start in (fit_bars(bars), rough.pull)), key=attrgetter("agreement")
        )
        bars, rough = (bars, barred) if barred.agreement > rough.agreement - _BARS_PREFERRED else ([], rough)
    else:
        bars = []
    settled, unmended = settle(overlay, many, rough.pull, bars)
    fit = _beside(overlay, many, settled, bars)
    if fit is not settled:
        unmended = agreement_unmended(overlay, many)
    mirrored = max(
        (
            approach(overlay, turned.thinned(_FEW), start, []).agreement
            for turned in _turned(overlay.outline, max(overlay.size_hw))
            for start in sweep.best(turned, 1)
        ),
        default=CHANCE,
    )
    return Evidence(
        _drift(overlay, fit.pull),
        _expected_error(overlay, many, fit.covariance),
        max(seen, rough.agreement),
        mirrored,
        fit.agreement,
        unmended,
        overlay.outline.length_px,
        bool(bars),
        skew(overlay, few, fit.pull),
        bend(overlay, few, fit.pull),
        warp(overlay, sweep, rough, _FEW) if fit.agreement < _CLEAR else NO_WARP,
    )


def _turned(outline: Outline, longest_px: float) -> list[Outline]:
    """The outline turned over, in the ways that change it: a symmetric one is itself and no counter-example."""
    tree = cKDTree(outline.place)
    reach_px = _SAME_SHARE * longest_px
    low, high = outline.place.min(axis=0), outline.place.max(axis=0)
    anywhere = np.random.default_rng(0).uniform(low, high, (_FEW, 2))
    # Where borders are everywhere, any point lies near one.
    chance = float(np.isfinite(tree.query(anywhere, distance_upper_bound=reach_px)[0]).mean())
    found = []
    for sign in ((1, -1), (-1, 1), (-1, -1)):
        turned = outline.mirrored(sign)
        some = turned.thinned(_FEW)
        apart, _ = tree.query(some.place, distance_upper_bound=reach_px)
        same = float(some.weight[np.isfinite(apart)].sum() / some.weight.sum())
        if same - chance < _SYMMETRIC * (1 - chance):
            found.append(turned)
    return found


def _best(overlay: Overlay, points: Outline, starts: list[Float[ndarray, " 4"]], bars: Bars) -> Fit:
    """The best of the places near these, but one that no drift leads to only if there is no other.

    From afar, the two sides of a thing's rim, or its shadow, look as good as the thing: what is nearly as good is
    looked at closely, too.
    """
    worth_nats = partial(_worth_nats, overlay)
    fits = sorted((approach(overlay, points, start, bars) for start in starts), key=worth_nats, reverse=True)
    rivals: list[Fit] = []
    for fit in fits:
        if worth_nats(fit) < worth_nats(fits[0]) - _RIVAL_NATS:
            break
        if all(_apart_px(points, fit, other) > _RIVAL_PX for other in rivals):
            rivals.append(fit)
    if len(rivals) < 2:
        return fits[0]
    return max(rivals, key=lambda rival: worth_nats(settle(overlay, points, rival.pull, bars)[0]))


def _worth_nats(overlay: Overlay, fit: Fit) -> float:
    """What a place is worth: short outlines fit nearly as well elsewhere, and then the smaller drift is likelier."""
    agreement = fit.agreement - (not _drift(overlay, fit.pull).allowed)
    return agreement * overlay.outline.length_px / PX_PER_NAT - surprise(fit.pull)


def _beside(overlay: Overlay, points: Outline, fit: Fit, bars: Bars) -> Fit:
    """A better place beside this one, where a side of a small outline lies on another edge; else the same."""
    if overlay.outline.length_px > _SMALL_PX:
        return fit
    worth_nats = partial(_worth_nats, overlay)
    beside = max(sidesteps(overlay, points.thinned(_FEW // 2), fit, bars), key=worth_nats)
    better = worth_nats(beside) > worth_nats(fit) + _BESIDE_NATS
    return look_closely(overlay, points, beside.pull, bars) if better else fit


def _apart_px(points: Outline, one: Fit, other: Fit) -> float:
    """How far the two places are apart, at most, over the outline."""
    moves = one.pull[:2] - other.pull[:2] + (one.pull - other.pull)[2:] * points.place
    return float(np.abs(moves).max())


def _believable(bars: Bars, longest_px: float) -> bool:
    """Whether the picture between the bars could be the whole photo, in its own shape."""
    pull = fit_bars(bars)
    left_px = [abs(pull[axis] + (1 + pull[2 + axis]) * begins - ends) for axis, begins, ends in bars]
    tall, wide = np.log1p(np.maximum(pull[2:], -0.9))
    return max(left_px) < 0.015 * longest_px and abs(tall - wide) < _BELIEVABLE[1] and -0.1 < tall < 0.7


def _expected_error(overlay: Overlay, points: Outline, covariance: Float[ndarray, "4 4"]) -> float:
    """Root mean square over the answer's borders, in pixels of the answer."""
    variance = 0.0
    for axis in (0, 1):
        place = points.place[:, axis]
        shift, both, scale = (covariance[i, j] for i, j in ((axis, axis), (axis, 2 + axis), (2 + axis, 2 + axis)))
        variance += float(np.mean(shift + 2 * both * place + scale * place**2)) / overlay.share[axis] ** 2
    return float(np.sqrt(max(variance, 0.0)))


def _drift(overlay: Overlay, pull: Float[ndarray, " 4"]) -> Drift:
    """The same seen from the other side, in pixels of the answer: where the photo's points were painted."""
    scale = 1 / (1 + pull[2:])
    shift = -pull[:2] * scale / np.array(overlay.share)
    return Drift((float(shift[0]), float(shift[1])), (float(scale[0]), float(scale[1])))
