"""Estimate of shift, zoom and aspect between a photo and a generated image.

One image is a photo, the other a depth map, a normal map or flat colors: brightness and color are not comparable, but
borders of objects have the same positions and directions. The generated image becomes edge points with normals, the
photo a field of thin edges with an unsigned direction, and they are matched twice:

    160 px     every zoom and aspect of a grid, rotations, shears, every shift; correlation of small tiles, summed
    1024 px    the best candidates, refined: along its normal, each edge point searches for edges of the photo

A point has no information about the direction along its border, and a point in texture, where the photo has edges
everywhere, has none at all: the contrast of an edge against everything within reach of the point counts. Weighted least
squares over all points, repeated while the reach shrinks (expectation maximization), give four parameters; their
uncertainty comes from the scatter between parts of the image.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from operator import attrgetter

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from scipy.spatial import cKDTree

from distill.runtime.cpu import one_blas_thread
from distill.teachers.registration.coarse_search import (
    DISTORTIONS,
    DRIFTS,
    SMALL_DRIFTS,
    CoarseSearch,
    LetterboxEdges,
    RegistrationPair,
)
from distill.teachers.registration.edge_profiles import PROJECTIVE, EdgeProfiles, TransformFit, neg_log_prior
from distill.teachers.registration.edges import EdgePoints
from distill.teachers.registration.match_stats import MAX_ASPECT, AxisAlignedTransform, Distortion, MatchStats
from distill.teachers.registration.refine import (
    CHANCE,
    NEAR_PX,
    covariance,
    fit_letterbox,
    local_offsets,
    refine_coarse,
    refine_final,
    refine_fine,
    show,
    side_alternatives,
)

# tuned: benchmarks/registration.py; reasons: docs/registration.md
_CANDIDATES, _DISTORTED = 4, 5
_RIVAL_NATS, _RIVAL_PX = 3.0, 3.0
_SMALL_PX, _SMALL_POINTS, _NEIGHBOR_NATS = 1600.0, 6000, 2.0
_MANY, _FEW = 2500, 600
_MIN_POINTS = 24
_SAME_SHARE, _SYMMETRIC = 0.006, 0.7
PX_PER_NAT = 15.0
"""Borders of this length count as one observation: errors of neighboring points are correlated."""
_BARS_PREFERRED, _BAR_PREFERRED = 0.25, 0.03
_CLEAR, _CLEAR_PX = -0.55, 900.0
_STILL_GAIN, _STILL_SHARE = 0.01, 0.006
_LARGE_PX, _QUICK_PX = 900, 600
_QUICK_CLEAR, _QUICK_GAIN, _QUICK_SHARE = -0.6, 0.08, 0.0015
FLIPS = {(1, -1): "mirrored left to right", (-1, 1): "upside down", (-1, -1): "turned by 180 degrees"}


def find_drift(
    photo: UInt8[ndarray, "h w 3"], answer: UInt8[ndarray, "h2 w2 3"], scale_hw: tuple[float, float]
) -> MatchStats | None:
    """Estimated transform and its evidence; None for an image without borders.

    Args:
        photo: Any size.
        answer: Generated image.
        scale_hw: Pixels of the generated image per photo pixel by the resize mode; both share their centers.
    """
    with one_blas_thread():
        if max(answer.shape) > _LARGE_PX:
            pair = RegistrationPair(photo, answer, scale_hw, _QUICK_PX)
            if (found := _in_place(pair, _QUICK_CLEAR)) and _is_still(found, answer.shape):
                return found
        pair = RegistrationPair(photo, answer, scale_hw)
        if len(pair.edge_points) < _MIN_POINTS:
            return None
        return _in_place(pair, _CLEAR) or _searched(pair)


def _in_place(pair: RegistrationPair, clear: float) -> MatchStats | None:
    """Statistics of an image that fits in place as closely as only images of the photo do, without a search."""
    if pair.letterbox or len(pair.edge_points) < _MIN_POINTS:
        return None
    few = pair.edge_points.subsample(_FEW)
    (still,) = refine_coarse(pair, few, [np.zeros(8)], [])
    if not _is_clear(pair, still, clear):
        return None
    distortion = _distortion(pair, few, still, [])
    moved_px = np.abs(show(few, np.array(distortion.params)) - few.position).max()
    if distortion.gain >= _STILL_GAIN or moved_px >= _STILL_SHARE * max(pair.size_hw):
        return None
    return _match_stats(pair, still, still.agreement, distortion, [], _flipped(pair, None, still))


def _is_still(stats: MatchStats, size_hw: tuple[int, ...]) -> bool:
    """Whether nothing suggests a drift, which a larger size could tell better."""
    gain = stats.agreement_fine - stats.agreement_at_identity
    return gain < _QUICK_GAIN and stats.moved_px < _QUICK_SHARE * max(size_hw)


def _searched(pair: RegistrationPair) -> MatchStats:
    """Statistics of the best of all drifts and distortions."""
    few = pair.edge_points.subsample(_FEW)
    rough, distortion, search = _best_transform(pair, few)
    letterbox, seen = pair.letterbox, rough.agreement
    if letterbox and _believable(letterbox, max(pair.size_hw)):
        # A bar on one side leaves most parameters open.
        letterboxed = max(
            refine_coarse(pair, few, [fit_letterbox(letterbox), rough.params], letterbox),
            key=attrgetter("agreement"),
        )
        # One straight border may also be an object's.
        least = rough.agreement - (_BARS_PREFERRED if len(letterbox) > 1 else _BAR_PREFERRED)
        letterbox, rough = (letterbox, letterboxed) if letterboxed.agreement > least else ([], rough)
        distortion = replace(distortion, gain=distortion.gain + seen - rough.agreement)
    else:
        letterbox = []
    return _match_stats(pair, rough, seen, distortion, letterbox, _flipped(pair, search, rough))


def _match_stats(
    pair: RegistrationPair,
    rough: TransformFit,
    seen: float,
    distortion: Distortion,
    letterbox: LetterboxEdges,
    flipped: tuple[float, str],
) -> MatchStats:
    """Statistics of a transform, refined at full size."""
    many = pair.edge_points.subsample(round(_MANY / pair.finer))
    settled, at_identity = refine_fine(pair, many, rough.params, letterbox)
    fit = _better_nearby(pair, many, settled, letterbox)
    if fit is not settled:
        at_identity = EdgeProfiles(pair, many, [np.zeros(8)], 0, NEAR_PX).agreement(np.zeros(8), 1.0)
    # A small size shows a part of the gain only.
    at_identity = fit.agreement - pair.finer * (fit.agreement - at_identity)
    local_px, local_gain = local_offsets(pair, many, fit.params)
    return MatchStats(
        transform=_to_transform(pair, fit.params),
        uncertainty_px=_expected_error(pair, many, covariance(pair, many, fit)),
        agreement=max(seen, rough.agreement),
        agreement_mirrored=flipped[0],
        agreement_fine=fit.agreement,
        agreement_at_identity=at_identity,
        border_px=pair.border_px,
        has_letterbox=bool(letterbox),
        flip=flipped[1],
        distortion=distortion,
        moved_px=_moved_px(pair, many, fit.params),
        local_px=local_px / min(pair.share),
        local_gain=local_gain,
    )


def _best_transform(pair: RegistrationPair, points: EdgePoints) -> tuple[TransformFit, Distortion, CoarseSearch | None]:
    """(best drift, best distortion, the search if the drift is not clear)."""
    search = CoarseSearch(pair)
    surfaces = search.surfaces(pair.edge_points)
    drifts = search.best(surfaces, pair.edge_points, _CANDIDATES, DRIFTS)[1]
    (still,) = refine_coarse(pair, points, [np.zeros(8)], [])
    rough = _best(pair, points, [still.params, *drifts], [])
    distortion = _distortion(pair, points, rough, [])
    if _is_clear(pair, rough) and distortion.gain < _STILL_GAIN:
        return rough, distortion, None
    starts = search.best(surfaces, pair.edge_points, _DISTORTED, DISTORTIONS)[1]
    return rough, max(distortion, _distortion(pair, points, rough, starts), key=attrgetter("gain")), search


def _is_clear(pair: RegistrationPair, fit: TransformFit, clear: float = _CLEAR) -> bool:
    """Whether the image fits as closely as only images of the photo do."""
    return fit.agreement > clear and pair.border_px > _CLEAR_PX


def _distortion(
    pair: RegistrationPair, points: EdgePoints, rough: TransformFit, starts: list[Float[ndarray, " 8"]]
) -> Distortion:
    """Best rotation, shear, larger zoom or stretch, relative to the best drift."""
    best = max(refine_coarse(pair, points, starts or [rough.params], [], PROJECTIVE), key=attrgetter("agreement"))
    return Distortion(best.agreement - rough.agreement, tuple(best.params.tolist()))


def _flipped(pair: RegistrationPair, search: CoarseSearch | None, rough: TransformFit) -> tuple[float, str]:
    """(best agreement of the flipped image, which flip), the level of chance and straight walls.

    The flips of an image that is clearly of this photo are compared in place, without a search.
    """
    signs = _asymmetric(pair.edge_points, max(pair.size_hw))
    if not signs:
        return CHANCE, ""
    if search:
        flips = [pair.edge_points.flip(sign) for sign in signs]
        found = [search.best(search.surfaces(points), points, 1, SMALL_DRIFTS) for points in flips]
        # Scores of short contours are close.
        few = 1 if pair.border_px > _SMALL_PX else len(flips)
        order = sorted(range(len(flips)), key=lambda number: -found[number][0])[:few]
        starts, signs = [found[number][1][0] for number in order], [signs[number] for number in order]
    else:
        starts = [rough.params * (*sign, 1, 1, 1, 1, 1, 1) for sign in signs]
    some = pair.edge_points.subsample(_FEW if search else _FEW // 2)
    fits = refine_coarse(pair, some, starts, [], signs=signs, once=search is None)
    return max((fit.agreement, FLIPS[sign]) for fit, sign in zip(fits, signs, strict=True))


def _asymmetric(edge_points: EdgePoints, longest_px: float) -> list[tuple[int, int]]:
    """The flips that change the edge points; a flip that does not is no counter-example."""
    some = edge_points.subsample(_MANY)
    tree = cKDTree(some.position)
    reach_px = _SAME_SHARE * longest_px
    low, high = some.position.min(axis=0), some.position.max(axis=0)
    anywhere = np.random.default_rng(0).uniform(low, high, (_FEW, 2))
    # Where borders are everywhere, any point is near one.
    chance = float(np.isfinite(tree.query(anywhere, distance_upper_bound=reach_px)[0]).mean())
    found, few = [], edge_points.subsample(_FEW)
    for sign in FLIPS:
        apart, _ = tree.query(few.position * sign, distance_upper_bound=reach_px)
        same = float(few.weight[np.isfinite(apart)].sum() / few.weight.sum())
        if same - chance < _SYMMETRIC * (1 - chance):
            found.append(sign)
    return found


def _best(
    pair: RegistrationPair, points: EdgePoints, starts: list[Float[ndarray, " 8"]], letterbox: LetterboxEdges
) -> TransformFit:
    """Best refined candidate; an implausible one only if there is no other.

    At coarse scale, the two sides of an object's rim, or its shadow, match as well as the object: candidates that are
    nearly as good are refined further before one is chosen.
    """
    worth_nats = partial(_worth_nats, pair)
    fits = sorted(refine_coarse(pair, points, starts, letterbox), key=worth_nats, reverse=True)
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
    return agreement * pair.border_px / PX_PER_NAT - neg_log_prior(fit.params)


def _better_nearby(
    pair: RegistrationPair, points: EdgePoints, fit: TransformFit, letterbox: LetterboxEdges
) -> TransformFit:
    """A better fit nearby, if one side of a small contour is on a neighboring edge; else the same fit."""
    if pair.border_px > _SMALL_PX or len(pair.edge_points) > _SMALL_POINTS or pair.finer > 1:
        return fit
    worth_nats = partial(_worth_nats, pair)
    neighbor = max(side_alternatives(pair, points.subsample(_FEW // 2), fit, letterbox), key=worth_nats)
    better = worth_nats(neighbor) > worth_nats(fit) + _NEIGHBOR_NATS
    return refine_final(pair, points, neighbor.params, letterbox) if better else fit


def _apart_px(points: EdgePoints, one: TransformFit, other: TransformFit) -> float:
    """Largest distance between two fits over the edge points."""
    moves = one.params[:2] - other.params[:2] + (one.params - other.params)[2:4] * points.position
    return float(np.abs(moves).max())


def _believable(letterbox: LetterboxEdges, longest_px: float) -> bool:
    """Whether the content between the bars can be the whole photo, with its aspect ratio."""
    params = fit_letterbox(letterbox)
    left_px = [abs(params[axis] + (1 + params[2 + axis]) * begins - ends) for axis, begins, ends in letterbox]
    tall, wide = np.log1p(np.maximum(params[2:4], -0.9))
    believable: bool = max(left_px) < 0.015 * longest_px and abs(tall - wide) < MAX_ASPECT and -0.1 < tall < 0.7
    return believable


def _expected_error(pair: RegistrationPair, points: EdgePoints, spread: Float[ndarray, "4 4"]) -> float:
    """Root mean square error over the borders, in pixels of the generated image."""
    variance = 0.0
    for axis in (0, 1):
        position = points.position[:, axis]
        shift, both, scale = (spread[i, j] for i, j in ((axis, axis), (axis, 2 + axis), (2 + axis, 2 + axis)))
        variance += float(np.mean(shift + 2 * both * position + scale * position**2)) / pair.share[axis] ** 2
    return float(np.sqrt(max(variance, 0.0)))


def _moved_px(pair: RegistrationPair, points: EdgePoints, params: Float[ndarray, " 8"]) -> float:
    """Root mean square displacement of the borders, in pixels of the generated image."""
    moves = (show(points, params) - points.position) / np.array(pair.share)
    return float(np.sqrt((moves**2).sum(axis=1).mean()))


def _to_transform(pair: RegistrationPair, params: Float[ndarray, " 8"]) -> AxisAlignedTransform:
    """The inverse map, in pixels of the generated image: generated positions of the photo's points."""
    scale = 1 / (1 + params[2:4])
    shift = -params[:2] * scale / np.array(pair.share)
    return AxisAlignedTransform((float(shift[0]), float(shift[1])), (float(scale[0]), float(scale[1])))
