"""How far a generated image drifted from its photo: shift, zoom and aspect, found from what the two have in common.

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
from distill.teachers.registration.coarse_search import CoarseSearch, LetterboxEdges, RegistrationPair
from distill.teachers.registration.distortion import (
    NO_AFFINE_DEVIATION,
    NO_SMOOTH_DEVIATION,
    AffineDeviation,
    SmoothDeviation,
    measure_affine,
    measure_shear,
    measure_smooth,
)
from distill.teachers.registration.edges import EdgePoints
from distill.teachers.registration.refine import (
    CHANCE,
    TransformFit,
    agreement_at_identity,
    fit_letterbox,
    neg_log_prior,
    refine_coarse,
    refine_final,
    refine_fine,
    side_alternatives,
)

_BELIEVABLE = 0.1, 0.06
"""Zoom and aspect that may be found: real labels that lie a little off their photos pull the numbers out of range."""
_CANDIDATES = 5
_RIVAL_NATS, _RIVAL_PX = 3.0, 3.0
"""Places worth so little less than the best, and so far from it, are all looked at closely before one is chosen."""
_SMALL_PX, _BESIDE_NATS = 1600.0, 2.0
"""Outlines of one or two things, and by how much a place beside the one that was found must be worth more."""
_MANY, _FEW = 8000, 1200
_MIN_POINTS = 24
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
class AxisAlignedTransform:
    """An axis-aligned map from where the resize mode puts a point (from the answer's center) to where it was painted.

    Attributes:
        shift_px: (down, right), in pixels of the answer.
        scale_hw: (vertical, horizontal).
    """

    shift_px: tuple[float, float] = (0.0, 0.0)
    scale_hw: tuple[float, float] = (1.0, 1.0)

    @property
    def is_plausible(self) -> bool:
        """Whether zoom and aspect are those of a drift, and not of another picture."""
        tall, wide = np.log(self.scale_hw)
        return bool(abs(tall + wide) / 2 <= _BELIEVABLE[0] and abs(tall - wide) <= _BELIEVABLE[1])


@dataclass(frozen=True, slots=True)
class MatchStats:
    """How well photo and answer agree, at the drift that was found.

    Agreement is the mean logarithm of how much clearer the photo's edges are on the answer's borders than around them.

    Attributes:
        transform: What was found.
        uncertainty_px: Expected error of the drift on the answer's borders, from the scatter between its parts.
        agreement: Looked at coarsely, at the best place; even where bars say another, since labels may lie off.
        agreement_mirrored: The same for the answer turned over, at its own best place: what chance and straight walls
            give; `CHANCE` for an answer that is symmetric every way.
        agreement_fine: At the drift, looked at closely.
        agreement_unmended: The same at no drift at all.
        border_px: Length of the answer's borders; clear ones count fully, at most 3000 px of them.
        barred: Whether bars in the answer said where the photo ends.
        shear: How far the answer seems sheared or turned besides, as a share of its size.
        smooth: How far parts of it seem to have moved by themselves.
        affine: How much better it fits turned, sheared, enlarged or shrunk.
    """

    transform: AxisAlignedTransform
    uncertainty_px: float
    agreement: float
    agreement_mirrored: float
    agreement_fine: float
    agreement_at_identity: float
    border_px: float
    has_letterbox: bool
    shear: float = 0.0
    smooth: SmoothDeviation = NO_SMOOTH_DEVIATION
    affine: AffineDeviation = NO_AFFINE_DEVIATION

    @property
    def margin(self) -> float:
        """How far the agreement exceeds that of the answer turned over."""
        return self.agreement - self.agreement_mirrored


def find_drift(
    photo: UInt8[ndarray, "h w 3"], answer: UInt8[ndarray, "h2 w2 3"], scale_hw: tuple[float, float]
) -> MatchStats | None:
    """Where the answer was really painted; nothing where the answer has no borders to go by.

    Args:
        photo: Any size.
        answer: Painted over the photo.
        scale_hw: Answer pixels per photo pixel by the resize mode; both share their centers.
    """
    pair = RegistrationPair(photo, answer, scale_hw)
    if len(pair.edge_points) < _MIN_POINTS:
        return None
    with one_blas_thread():
        return _found(pair)


def _found(pair: RegistrationPair) -> MatchStats:
    """The same, of an answer that has borders."""
    few, many = pair.edge_points.subsample(_FEW), pair.edge_points.subsample(_MANY)
    search = CoarseSearch(pair)
    rough = _best(pair, few, [np.zeros(4), *search.best(pair.edge_points, _CANDIDATES)], [])
    letterbox, seen = pair.letterbox, rough.agreement
    if letterbox and _believable(letterbox, max(pair.size_hw)):
        # A bar on one side leaves most of the place open.
        letterboxed = max(
            (refine_coarse(pair, few, start, letterbox) for start in (fit_letterbox(letterbox), rough.params)),
            key=attrgetter("agreement"),
        )
        letterbox, rough = (
            (letterbox, letterboxed) if letterboxed.agreement > rough.agreement - _BARS_PREFERRED else ([], rough)
        )
    else:
        letterbox = []
    settled, at_identity = refine_fine(pair, many, rough.params, letterbox)
    fit = _better_nearby(pair, many, settled, letterbox)
    if fit is not settled:
        at_identity = agreement_at_identity(pair, many)
    mirrored = max(
        (
            refine_coarse(pair, turned.subsample(_FEW), start, []).agreement
            for turned in _turned(pair.edge_points, max(pair.size_hw))
            for start in search.best(turned, 1)
        ),
        default=CHANCE,
    )
    return MatchStats(
        _to_transform(pair, fit.params),
        _expected_error(pair, many, fit.covariance),
        max(seen, rough.agreement),
        mirrored,
        fit.agreement,
        at_identity,
        pair.edge_points.length_px,
        bool(letterbox),
        measure_shear(pair, few, fit.params),
        measure_smooth(pair, few, fit.params),
        measure_affine(pair, search, rough, _FEW) if fit.agreement < _CLEAR else NO_AFFINE_DEVIATION,
    )


def _turned(edge_points: EdgePoints, longest_px: float) -> list[EdgePoints]:
    """The outline turned over, in the ways that change it: a symmetric one is itself and no counter-example."""
    tree = cKDTree(edge_points.position)
    reach_px = _SAME_SHARE * longest_px
    low, high = edge_points.position.min(axis=0), edge_points.position.max(axis=0)
    anywhere = np.random.default_rng(0).uniform(low, high, (_FEW, 2))
    # Where borders are everywhere, any point lies near one.
    chance = float(np.isfinite(tree.query(anywhere, distance_upper_bound=reach_px)[0]).mean())
    found = []
    for sign in ((1, -1), (-1, 1), (-1, -1)):
        turned = edge_points.flip(sign)
        some = turned.subsample(_FEW)
        apart, _ = tree.query(some.position, distance_upper_bound=reach_px)
        same = float(some.weight[np.isfinite(apart)].sum() / some.weight.sum())
        if same - chance < _SYMMETRIC * (1 - chance):
            found.append(turned)
    return found


def _best(
    pair: RegistrationPair, points: EdgePoints, starts: list[Float[ndarray, " 4"]], letterbox: LetterboxEdges
) -> TransformFit:
    """The best of the places near these, but one that no drift leads to only if there is no other.

    From afar, the two sides of a thing's rim, or its shadow, look as good as the thing: what is nearly as good is
    looked at closely, too.
    """
    worth_nats = partial(_worth_nats, pair)
    fits = sorted((refine_coarse(pair, points, start, letterbox) for start in starts), key=worth_nats, reverse=True)
    rivals: list[TransformFit] = []
    for fit in fits:
        if worth_nats(fit) < worth_nats(fits[0]) - _RIVAL_NATS:
            break
        if all(_apart_px(points, fit, other) > _RIVAL_PX for other in rivals):
            rivals.append(fit)
    if len(rivals) < 2:
        return fits[0]
    return max(rivals, key=lambda rival: worth_nats(refine_fine(pair, points, rival.params, letterbox)[0]))


def _worth_nats(pair: RegistrationPair, fit: TransformFit) -> float:
    """What a place is worth: short outlines fit nearly as well elsewhere, and then the smaller drift is likelier."""
    agreement = fit.agreement - (not _to_transform(pair, fit.params).is_plausible)
    return agreement * pair.edge_points.length_px / PX_PER_NAT - neg_log_prior(fit.params)


def _better_nearby(
    pair: RegistrationPair, points: EdgePoints, fit: TransformFit, letterbox: LetterboxEdges
) -> TransformFit:
    """A better place beside this one, where a side of a small outline lies on another edge; else the same."""
    if pair.edge_points.length_px > _SMALL_PX:
        return fit
    worth_nats = partial(_worth_nats, pair)
    beside = max(side_alternatives(pair, points.subsample(_FEW // 2), fit, letterbox), key=worth_nats)
    better = worth_nats(beside) > worth_nats(fit) + _BESIDE_NATS
    return refine_final(pair, points, beside.params, letterbox) if better else fit


def _apart_px(points: EdgePoints, one: TransformFit, other: TransformFit) -> float:
    """How far the two places are apart, at most, over the outline."""
    moves = one.params[:2] - other.params[:2] + (one.params - other.params)[2:] * points.position
    return float(np.abs(moves).max())


def _believable(letterbox: LetterboxEdges, longest_px: float) -> bool:
    """Whether the picture between the bars could be the whole photo, in its own shape."""
    params = fit_letterbox(letterbox)
    left_px = [abs(params[axis] + (1 + params[2 + axis]) * begins - ends) for axis, begins, ends in letterbox]
    tall, wide = np.log1p(np.maximum(params[2:], -0.9))
    return max(left_px) < 0.015 * longest_px and abs(tall - wide) < _BELIEVABLE[1] and -0.1 < tall < 0.7


def _expected_error(pair: RegistrationPair, points: EdgePoints, covariance: Float[ndarray, "4 4"]) -> float:
    """Root mean square over the answer's borders, in pixels of the answer."""
    variance = 0.0
    for axis in (0, 1):
        position = points.position[:, axis]
        shift, both, scale = (covariance[i, j] for i, j in ((axis, axis), (axis, 2 + axis), (2 + axis, 2 + axis)))
        variance += float(np.mean(shift + 2 * both * position + scale * position**2)) / pair.share[axis] ** 2
    return float(np.sqrt(max(variance, 0.0)))


def _to_transform(pair: RegistrationPair, params: Float[ndarray, " 4"]) -> AxisAlignedTransform:
    """The same seen from the other side, in pixels of the answer: where the photo's points were painted."""
    scale = 1 / (1 + params[2:])
    shift = -params[:2] * scale / np.array(pair.share)
    return AxisAlignedTransform((float(shift[0]), float(shift[1])), (float(scale[0]), float(scale[1])))
