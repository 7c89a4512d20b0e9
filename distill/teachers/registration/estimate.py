"""Estimate of shift, zoom and aspect between a photo and a generated image.

One image is a photo, the other a depth map, a normal map or flat colors: brightness and color are not comparable, but
borders of objects have the same positions and directions. The generated image becomes edge points with normals, the
photo a field of thin edges with an unsigned direction, and they are matched twice:

    256 px     every zoom and aspect of a grid, every shift; correlation surfaces of small tiles, summed
    full size  the best candidates, refined: along its normal, each edge point searches for edges of the photo

A point has no information about the direction along its border, and a point in texture, where the photo has edges
everywhere, has none at all: the contrast of an edge against everything within reach of the point counts. Weighted least
squares over all points, repeated while the reach shrinks (expectation maximization), give four parameters; their
uncertainty comes from the scatter between parts of the image.
"""

from __future__ import annotations

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
    measure_affine,
    measure_shear,
    measure_smooth,
)
from distill.teachers.registration.edges import EdgePoints
from distill.teachers.registration.match_stats import MAX_ASPECT, AxisAlignedTransform, MatchStats
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

# tuned: benchmarks/registration.py; reasons: docs/registration.md
_CANDIDATES = 5
_RIVAL_NATS, _RIVAL_PX = 3.0, 3.0
_SMALL_PX, _NEIGHBOR_NATS = 1600.0, 2.0
_MANY, _FEW = 8000, 1200
_MIN_POINTS = 24
_SAME_SHARE, _SYMMETRIC = 0.006, 0.7
PX_PER_NAT = 15.0
"""Borders of this length count as one observation: errors of neighboring points are correlated."""
_CLEAR = 0.1
_BARS_PREFERRED = 0.25


def find_drift(
    photo: UInt8[ndarray, "h w 3"], answer: UInt8[ndarray, "h2 w2 3"], scale_hw: tuple[float, float]
) -> MatchStats | None:
    """Estimated transform and its evidence; None for an image without borders.

    Args:
        photo: Any size.
        answer: Generated image.
        scale_hw: Pixels of the generated image per photo pixel by the resize mode; both share their centers.
    """
    pair = RegistrationPair(photo, answer, scale_hw)
    if len(pair.edge_points) < _MIN_POINTS:
        return None
    with one_blas_thread():
        return _found(pair)


def _found(pair: RegistrationPair) -> MatchStats:
    few, many = pair.edge_points.subsample(_FEW), pair.edge_points.subsample(_MANY)
    search = CoarseSearch(pair)
    rough = _best(pair, few, [np.zeros(4), *search.best(pair.edge_points, _CANDIDATES)], [])
    letterbox, seen = pair.letterbox, rough.agreement
    if letterbox and _believable(letterbox, max(pair.size_hw)):
        # A bar on one side leaves most parameters open.
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
    """The flips that change the edge points; a flip that does not is no counter-example."""
    tree = cKDTree(edge_points.position)
    reach_px = _SAME_SHARE * longest_px
    low, high = edge_points.position.min(axis=0), edge_points.position.max(axis=0)
    anywhere = np.random.default_rng(0).uniform(low, high, (_FEW, 2))
    # Where borders are everywhere, any point is near one.
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
    """Best refined candidate; an implausible one only if there is no other.

    At coarse scale, the two sides of an object's rim, or its shadow, match as well as the object: candidates that are
    nearly as good are refined further before one is chosen.
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
    """Log posterior: short contours fit nearly as well elsewhere, and then the smaller transform is likelier."""
    agreement = fit.agreement - (not _to_transform(pair, fit.params).is_plausible)
    return agreement * pair.edge_points.length_px / PX_PER_NAT - neg_log_prior(fit.params)


def _better_nearby(
    pair: RegistrationPair, points: EdgePoints, fit: TransformFit, letterbox: LetterboxEdges
) -> TransformFit:
    """A better fit nearby, if one side of a small contour is on a neighboring edge; else the same fit."""
    if pair.edge_points.length_px > _SMALL_PX:
        return fit
    worth_nats = partial(_worth_nats, pair)
    neighbor = max(side_alternatives(pair, points.subsample(_FEW // 2), fit, letterbox), key=worth_nats)
    better = worth_nats(neighbor) > worth_nats(fit) + _NEIGHBOR_NATS
    return refine_final(pair, points, neighbor.params, letterbox) if better else fit


def _apart_px(points: EdgePoints, one: TransformFit, other: TransformFit) -> float:
    """Largest distance between two fits over the edge points."""
    moves = one.params[:2] - other.params[:2] + (one.params - other.params)[2:] * points.position
    return float(np.abs(moves).max())


def _believable(letterbox: LetterboxEdges, longest_px: float) -> bool:
    """Whether the content between the bars can be the whole photo, with its aspect ratio."""
    params = fit_letterbox(letterbox)
    left_px = [abs(params[axis] + (1 + params[2 + axis]) * begins - ends) for axis, begins, ends in letterbox]
    tall, wide = np.log1p(np.maximum(params[2:], -0.9))
    believable: bool = max(left_px) < 0.015 * longest_px and abs(tall - wide) < MAX_ASPECT and -0.1 < tall < 0.7
    return believable


def _expected_error(pair: RegistrationPair, points: EdgePoints, covariance: Float[ndarray, "4 4"]) -> float:
    """Root mean square error over the borders, in pixels of the generated image."""
    variance = 0.0
    for axis in (0, 1):
        position = points.position[:, axis]
        shift, both, scale = (covariance[i, j] for i, j in ((axis, axis), (axis, 2 + axis), (2 + axis, 2 + axis)))
        variance += float(np.mean(shift + 2 * both * position + scale * position**2)) / pair.share[axis] ** 2
    return float(np.sqrt(max(variance, 0.0)))


def _to_transform(pair: RegistrationPair, params: Float[ndarray, " 4"]) -> AxisAlignedTransform:
    """The inverse map, in pixels of the generated image: generated positions of the photo's points."""
    scale = 1 / (1 + params[2:])
    shift = -params[:2] * scale / np.array(pair.share)
    return AxisAlignedTransform((float(shift[0]), float(shift[1])), (float(scale[0]), float(scale[1])))
