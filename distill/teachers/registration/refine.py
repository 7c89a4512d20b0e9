"""Refinement of one candidate transform by expectation maximization."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from distill.teachers.registration.coarse_search import LetterboxEdges, RegistrationPair, shown_at
from distill.teachers.registration.edges import EdgePoints

CHANCE = -1.0
"""Agreement of an image that is displaced by 10 px or more: displaced real pairs had -0.9 to -1.05."""
# tuned: benchmarks/registration.py; reasons: docs/registration.md
_EVERYWHERE = 0.15
_PRIOR, _INDEPENDENT = 4.0, 4000
_STEPS, _HARDLY_PX = 8, 3.0
_IDENTITY = np.zeros(8)
_WORSE = 0.01
_NEAR_PX = np.arange(-12, 13) * 0.5
_SIDESTEP = 0.007
_PARTS, _LOCAL_PRIOR = 5, 2.0
_UNIT = np.array([1, 1, 0.01, 0.01, 0.01, 0.01, 1e-4, 1e-4])
_KNOWN = np.diag([1 / 14**2, 1 / 14**2, 1 / 5.6**2, 1 / 5.6**2, 0.05, 0.05, 0.5, 0.5])
_KNOWN[2:4, 2:4] += np.array([[1, -1], [-1, 1]]) / 1.3**2
"""Inverse covariance of the prior in px and %: shifts of 14 px, zooms of about 4 %, aspects of 1 %, no rotation."""
STRAIGHT, PROJECTIVE = 4, 8
"""Number of free parameters: without and with rotation, shear and perspective."""


@dataclass(frozen=True, slots=True)
class TransformFit:
    """A refined candidate.

    Attributes:
        params: (down, right, tall, wide, slant, lean, back, aside): the generated image's point ``a`` shows the photo's
            point ``(down, right) + [[1 + tall, slant], [lean, 1 + wide]] a + ((back, aside) a) a``, both from the
            center, with the photo placed by the resize mode. Slant and lean are 0 but for rotation and shear, back and
            aside but for perspective.
        agreement: As in `distill.teachers.registration.estimate.MatchStats`.
        across: Displacement of each point along its normal by each parameter.
        weight: Of each point.
        left_px: Displacement of each point along its normal that the transform does not explain.
    """

    params: Float[ndarray, " 8"]
    agreement: float
    across: Float[ndarray, "n p"]
    weight: Float[ndarray, " n"]
    left_px: Float[ndarray, " n"]


def _coarse_level(pair: RegistrationPair) -> int:
    return 1 if max(pair.size_hw) > 600 else 0


def show(points: EdgePoints, params: Float[ndarray, " 8"]) -> Float[ndarray, "n 2"]:
    """Positions of the edge points in the photo."""
    return shown_at(points.position, params)


def refine_coarse(
    pair: RegistrationPair,
    points: EdgePoints,
    start: Float[ndarray, " 8"],
    letterbox: LetterboxEdges,
    free: int = STRAIGHT,
) -> TransformFit:
    """From the search grid to within a few pixels."""
    level = _coarse_level(pair)
    offsets_px = np.arange(-10, 11) * float(2**level) * 0.5
    fit = refine(pair, points, start, level, offsets_px, (5.0, 3.0, 2.0), letterbox, free)
    if np.abs(show(points, fit.params) - show(points, start)).max() < _HARDLY_PX:
        return fit
    return refine(pair, points, fit.params, level, offsets_px, (3.0, 2.0), letterbox, free)


def refine_fine(
    pair: RegistrationPair, points: EdgePoints, start: Float[ndarray, " 8"], letterbox: LetterboxEdges
) -> tuple[TransformFit, float]:
    """(fit from a few pixels to the end, agreement without a transform at the same reach).

    The reach shrinks only if that improves the agreement: borders with local offsets of a few pixels (soft normals,
    labels of another moment) agree less at a small reach, and the few that are on edges by chance would dominate.
    """
    level = _coarse_level(pair)
    far_px = np.arange(-12, 13) * 0.5 * 2**level
    wide = refine(pair, points, start, level, far_px, (4.0, 3.0), letterbox)
    close = refine(pair, points, wide.params, 0, _NEAR_PX, (2.5, 1.5), letterbox)
    close = refine_final(pair, points, close.params, letterbox)
    still = _agreement(pair, points, _IDENTITY, level, far_px, 3.0)
    # A better place is also better, or no worse, at the wider reach.
    if close.agreement > wide.agreement and _agreement(pair, points, close.params, level, far_px, 3.0) > still - _WORSE:
        return close, agreement_at_identity(pair, points)
    return wide, still


def refine_final(
    pair: RegistrationPair, points: EdgePoints, start: Float[ndarray, " 8"], letterbox: LetterboxEdges
) -> TransformFit:
    """Last step: within two pixels."""
    return refine(pair, points, start, 0, _NEAR_PX, (1.5, 1.0), letterbox)


def side_alternatives(
    pair: RegistrationPair, points: EdgePoints, fit: TransformFit, letterbox: LetterboxEdges
) -> list[TransformFit]:
    """Fits with one or both of two opposite sides moved to a neighboring edge.

    A box has edges inside that are parallel to its contour, at 5 to 10 px. They cannot be separated at coarse scale,
    and at fine scale each one is a local maximum.
    """
    low, high = np.quantile(points.position, (0.02, 0.98), axis=0)
    starts = []
    for axis in (0, 1):
        for moved_low, moved_high in ((1, 0), (0, 1), (1, -1), (1, 1)):
            for step_px in (-_SIDESTEP * max(pair.size_hw), _SIDESTEP * max(pair.size_hw)):
                start = fit.params.copy()
                stretch = step_px * (moved_high - moved_low) / max(high[axis] - low[axis], 1.0)
                start[axis] += step_px * moved_low - stretch * low[axis]
                start[2 + axis] += stretch
                starts.append(start)
    nearer = [refine(pair, points, start, 0, _NEAR_PX, (1.5,), letterbox) for start in starts]
    return [refine(pair, points, fit.params, 0, _NEAR_PX, (1.0,), letterbox) for fit in nearer]


def neg_log_prior(params: Float[ndarray, " 8"]) -> float:
    """Negative log prior of a transform without rotation and shear, relative to the identity, in nats."""
    numbers = params[:STRAIGHT] / _UNIT[:STRAIGHT]
    return float(numbers @ _KNOWN[:STRAIGHT, :STRAIGHT] @ numbers) / 2


def refine(
    pair: RegistrationPair,
    points: EdgePoints,
    start: Float[ndarray, " 8"],
    level: int,
    offsets_px: Float[ndarray, " m"],
    sigmas_px: tuple[float, ...],
    letterbox: LetterboxEdges,
    free: int = STRAIGHT,
) -> TransformFit:
    """Expectation maximization from ``start`` while the reach of each point shrinks."""
    contrast = edge_contrast(pair, points, show(points, start), level, offsets_px)
    normal, position = points.normal, points.position / 100
    columns = [normal, normal * position]
    if free == PROJECTIVE:
        columns += [normal * position[:, ::-1], (normal * position).sum(axis=1, keepdims=True) * position]
    across = np.concatenate(columns, axis=1).astype(np.float32)
    move = np.zeros(free, np.float32)
    # A sample stands for the other points, too.
    stands_for = min(len(pair.edge_points), _INDEPENDENT) / len(points)
    sigma_px = 1.0
    for sigma_px in sigmas_px:
        for _ in range(_STEPS):
            there, confidence, _ = e_step(contrast, offsets_px, across @ move, sigma_px)
            weight = points.weight * confidence * (stands_for / sigma_px**2)
            before, move = move, _solve(across, weight, there, start, letterbox).astype(np.float32)
            if np.abs(move - before).max() < 0.02 * sigma_px:
                break
    there, confidence, ratio = e_step(contrast, offsets_px, across @ move, sigma_px)
    params = start.copy()
    params[:free] += move * _UNIT[:free]
    weight = points.weight * confidence
    return TransformFit(params, mean_agreement(points, ratio), across, weight, there - across @ move)


def edge_contrast(
    pair: RegistrationPair,
    points: EdgePoints,
    shown: Float[ndarray, "n 2"],
    level: int,
    offsets_px: Float[ndarray, " m"],
) -> Float[ndarray, "n m"]:
    """Photo edge strength relative to its mean within reach of a point: 1 is chance."""
    profile = pair.edge_profiles(points, shown, level, offsets_px)
    mean = profile @ np.full(len(offsets_px), 1 / len(offsets_px), np.float32)
    profile /= (mean + np.float32(_EVERYWHERE))[:, None]
    return profile


def agreement_at_identity(pair: RegistrationPair, points: EdgePoints) -> float:
    """Agreement without a transform, at fine scale."""
    return _agreement(pair, points, _IDENTITY, 0, _NEAR_PX, 1.0)


def _agreement(
    pair: RegistrationPair,
    points: EdgePoints,
    params: Float[ndarray, " 8"],
    level: int,
    offsets_px: Float[ndarray, " m"],
    sigma_px: float,
) -> float:
    """Agreement without refinement."""
    contrast = edge_contrast(pair, points, show(points, params), level, offsets_px)
    return mean_agreement(points, e_step(contrast, offsets_px, np.zeros(len(points)), sigma_px)[2])


def mean_agreement(points: EdgePoints, ratio: Float[ndarray, " n"]) -> float:
    """Agreement from the edge contrast at each edge point."""
    return float(np.average(np.log(0.3 + 0.7 * ratio), weights=points.weight))


def e_step(
    contrast: Float[ndarray, "n m"], offsets_px: Float[ndarray, " m"], at_px: Float[ndarray, " n"], sigma_px: float
) -> tuple[Float[ndarray, " n"], Float[ndarray, " n"], Float[ndarray, " n"]]:
    """(offset of each point's edge, its confidence, its contrast), weighted around ``at_px``."""
    scaled = (offsets_px * (0.5**0.5 / sigma_px)).astype(np.float32)
    middle = np.clip(at_px * (0.5**0.5 / sigma_px), scaled[0], scaled[-1]).astype(np.float32)
    near = scaled - middle[:, None]
    near *= near
    np.exp(np.negative(near, out=near), out=near)
    # Products with a matrix are several times faster than sums over short rows.
    moments = np.ones((len(offsets_px), 2), np.float32)
    moments[:, 1] = offsets_px
    everywhere = near @ moments[:, :1]
    near *= contrast
    seen = near @ moments
    total = seen[:, 0]
    ratio = total / (everywhere[:, 0] + np.float32(1e-9))
    return seen[:, 1] / (total + np.float32(1e-9)), ratio / (ratio + 1), ratio


def _solve(
    across: Float[ndarray, "n p"],
    weight: Float[ndarray, " n"],
    there_px: Float[ndarray, " n"],
    start: Float[ndarray, " 8"],
    letterbox: LetterboxEdges,
) -> Float[ndarray, " p"]:
    """Weighted least squares with the prior.

    The start of a bar is the end of the photo, which is more precise than any border.
    """
    free = across.shape[1]
    prior, already = _PRIOR * _KNOWN[:free, :free], (start / _UNIT)[:free]
    weighted = (across * weight[:, None].astype(np.float32)).T
    matrix, target = weighted @ across + prior, weighted @ there_px - prior @ already
    for axis, begins, ends in letterbox:
        row = np.zeros(free)
        row[axis], row[2 + axis] = 1, begins / 100
        matrix += np.outer(row, row) * (20 + weight.sum())
        target += row * (ends - begins - row @ already) * (20 + weight.sum())
    return np.linalg.solve(matrix, target)


def covariance(pair: RegistrationPair, points: EdgePoints, fit: TransformFit) -> Float[ndarray, "4 4"]:
    """Covariance of the first four parameters, from the disagreement of 6 x 6 parts of the image.

    A clustered sandwich estimate.
    """
    across, weight = fit.across[:, :STRAIGHT].astype(np.float64), fit.weight
    cells = np.clip(((points.position / np.array(pair.size_hw) + 0.5) * 6).astype(int), 0, 5)
    part = cells[:, 0] * 6 + cells[:, 1]
    pulls = np.stack([np.bincount(part, across[:, i] * weight * fit.left_px, minlength=36) for i in range(4)], axis=1)
    curvature = (across * weight[:, None]).T @ across + 1e-3 * np.eye(4)
    inverse = np.linalg.inv(curvature)
    # Half a pixel, common to a whole part: the scatter misses it if few parts contain borders.
    common = 0.25 * float(np.bincount(part, weight, minlength=36).max())
    spread = inverse @ (pulls.T @ pulls + common * curvature) @ inverse
    unit = np.diag(_UNIT[:4])
    projected: ndarray = unit @ spread @ unit
    return projected


def fit_letterbox(letterbox: LetterboxEdges) -> Float[ndarray, " 8"]:
    """Parameters from the bars alone."""
    params: Float[ndarray, " 8"] = _solve(np.zeros((0, 8)), np.zeros(0), np.zeros(0), np.zeros(8), letterbox) * _UNIT
    return params


def local_offsets(pair: RegistrationPair, points: EdgePoints, params: Float[ndarray, " 8"]) -> tuple[float, float]:
    """(root mean square offset of 5 x 5 parts of the image, in px; agreement that it wins).

    A large one is a distortion that the transform does not express: perspective, bending, a rotation.
    """
    level = _coarse_level(pair)
    offsets_px = np.arange(-12, 13) * 1.0 * 2**level
    contrast = edge_contrast(pair, points, show(points, params), level, offsets_px)
    cells = np.clip(((points.position / np.array(pair.size_hw) + 0.5) * _PARTS).astype(int), 0, _PARTS - 1)
    part = cells[:, 0] * _PARTS + cells[:, 1]
    before = mean_agreement(points, e_step(contrast, offsets_px, np.zeros(len(points)), 3.0)[2])
    down, right = points.normal.T
    moves = np.zeros((_PARTS**2, 2))

    def summed(values: Float[ndarray, " n"]) -> Float[ndarray, " p"]:
        return np.bincount(part, values, minlength=_PARTS**2)

    for sigma_px in (6.0, 4.0, 3.0, 3.0):
        there, confidence, _ = e_step(contrast, offsets_px, (points.normal * moves[part]).sum(axis=1), sigma_px)
        weight = points.weight * confidence
        matrix = np.stack([summed(weight * a * b) for a in (down, right) for b in (down, right)], axis=1)
        target = np.stack([summed(weight * a * there) for a in (down, right)], axis=1)
        moves = np.linalg.solve(matrix.reshape(-1, 2, 2) + _LOCAL_PRIOR * np.eye(2), target[..., None])[..., 0]
    ratio = e_step(contrast, offsets_px, (points.normal * moves[part]).sum(axis=1), 3.0)[2]
    square_px = float(np.average((moves**2).sum(axis=1), weights=summed(points.weight) + 1e-9))
    return square_px**0.5, mean_agreement(points, ratio) - before
