"""Refinement of one candidate transform by expectation maximization."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from distill.teachers.registration.coarse_search import LetterboxEdges, RegistrationPair
from distill.teachers.registration.edges import EdgePoints

CHANCE = -1.0
"""Agreement of an image that is displaced by 10 px or more: displaced real pairs had -0.9 to -1.05."""
# tuned: benchmarks/registration.py; reasons: docs/registration.md
_EVERYWHERE = 0.15
_PRIOR = 4.0
_NEAR_PX = np.arange(-12, 13) * 0.5
_SIDESTEP = 0.007
_KNOWN = np.diag([1 / 14**2, 1 / 14**2, 1 / 5.6**2, 1 / 5.6**2])
_KNOWN[2:, 2:] += np.array([[1, -1], [-1, 1]]) / 1.3**2
"""Inverse covariance of the prior in px and %: shifts of 14 px, zooms of about 4 %, aspects of 1 %."""


@dataclass(frozen=True, slots=True)
class TransformFit:
    """A refined candidate.

    Attributes:
        params: (down, right, tall, wide): the generated image's point ``a`` shows the photo's point
            ``(down, right) + (1 + (tall, wide)) a``, both from the center, with the photo placed by the resize mode.
        agreement: As in `distill.teachers.registration.estimate.MatchStats`.
        covariance: Of `params`.
    """

    params: Float[ndarray, " 4"]
    agreement: float
    covariance: Float[ndarray, "4 4"]


def refine_coarse(
    pair: RegistrationPair, points: EdgePoints, start: Float[ndarray, " 4"], letterbox: LetterboxEdges
) -> TransformFit:
    """From the search grid to within a few pixels."""
    level = 1 if max(pair.size_hw) > 600 else 0
    offsets_px = np.arange(-10, 11) * float(2**level) * 0.5
    fit = refine(pair, points, start, level, offsets_px, (5.0, 3.0), letterbox)
    return refine(pair, points, fit.params, level, offsets_px, (3.0, 2.0), letterbox)


def refine_fine(
    pair: RegistrationPair, points: EdgePoints, start: Float[ndarray, " 4"], letterbox: LetterboxEdges
) -> tuple[TransformFit, float]:
    """(fit from a few pixels to the end, agreement without a transform at the same reach).

    The reach shrinks only if that improves the agreement: borders with local offsets of a few pixels (soft normals,
    labels of another moment) agree less at a small reach, and the few that are on edges by chance would dominate.
    """
    level = 1 if max(pair.size_hw) > 600 else 0
    far_px = np.arange(-12, 13) * 0.5 * 2**level
    wide = refine(pair, points, start, level, far_px, (5.0, 4.0, 3.0), letterbox)
    close = refine(pair, points, wide.params, 0, _NEAR_PX, (2.5, 1.5), letterbox)
    close = refine_final(pair, points, close.params, letterbox)
    if close.agreement > wide.agreement:
        return close, agreement_at_identity(pair, points)
    return wide, _agreement_at_identity(pair, points, level, far_px, 3.0)


def refine_final(
    pair: RegistrationPair, points: EdgePoints, start: Float[ndarray, " 4"], letterbox: LetterboxEdges
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
    found = []
    for axis in (0, 1):
        for moved_low, moved_high in ((1, 0), (0, 1), (1, -1), (1, 1)):
            for step_px in (-_SIDESTEP * max(pair.size_hw), _SIDESTEP * max(pair.size_hw)):
                start = fit.params.copy()
                stretch = step_px * (moved_high - moved_low) / max(high[axis] - low[axis], 1.0)
                start[axis] += step_px * moved_low - stretch * low[axis]
                start[2 + axis] += stretch
                near = refine(pair, points, start, 0, _NEAR_PX, (1.5,), letterbox)
                found.append(refine(pair, points, near.params, 0, _NEAR_PX, (1.0,), letterbox))
    return found


def neg_log_prior(params: Float[ndarray, " 4"]) -> float:
    """Negative log prior of a transform, relative to the identity, in nats."""
    numbers = params * (1, 1, 100, 100)
    return float(numbers @ _KNOWN @ numbers) / 2


def refine(
    pair: RegistrationPair,
    points: EdgePoints,
    start: Float[ndarray, " 4"],
    level: int,
    offsets_px: Float[ndarray, " m"],
    sigmas_px: tuple[float, ...],
    letterbox: LetterboxEdges,
) -> TransformFit:
    """Expectation maximization from ``start`` while the reach of each point shrinks."""
    contrast = edge_contrast(pair, points, start, level, offsets_px)
    offsets = offsets_px.astype(np.float32)
    across = np.concatenate([points.normal, points.normal * points.position / 100], axis=1)
    move = np.zeros(4)
    sigma_px = 1.0
    for sigma_px in sigmas_px:
        for _ in range(8):
            there, confidence, _ = e_step(contrast, offsets, across @ move, sigma_px)
            before, move = move, _solve(across, points.weight * confidence / sigma_px**2, there, start, letterbox)
            if np.abs(move - before).max() < 0.01:
                break
    there, confidence, ratio = e_step(contrast, offsets, across @ move, sigma_px)
    params = start + move * (1, 1, 0.01, 0.01)
    weight = points.weight * confidence
    return TransformFit(
        params, mean_agreement(points, ratio), _covariance(pair, points, across, weight, there - across @ move)
    )


def edge_contrast(
    pair: RegistrationPair,
    points: EdgePoints,
    params: Float[ndarray, " 4"],
    level: int,
    offsets_px: Float[ndarray, " m"],
) -> Float[ndarray, "n m"]:
    """Photo edge strength relative to its mean within reach of a point: 1 is chance."""
    profile = pair.edge_profiles(points, params, level, offsets_px)
    contrast: ndarray = profile / (profile.mean(axis=1, keepdims=True) + np.float32(_EVERYWHERE))
    return contrast


def agreement_at_identity(pair: RegistrationPair, points: EdgePoints) -> float:
    """Agreement without a transform, at fine scale."""
    return _agreement_at_identity(pair, points, 0, _NEAR_PX, 1.0)


def _agreement_at_identity(
    pair: RegistrationPair, points: EdgePoints, level: int, offsets_px: Float[ndarray, " m"], sigma_px: float
) -> float:
    contrast = edge_contrast(pair, points, np.zeros(4), level, offsets_px)
    return mean_agreement(points, e_step(contrast, offsets_px.astype(np.float32), np.zeros(len(points)), sigma_px)[2])


def mean_agreement(points: EdgePoints, ratio: Float[ndarray, " n"]) -> float:
    """Agreement from the edge contrast at each edge point."""
    return float(np.average(np.log(0.3 + 0.7 * ratio), weights=points.weight))


def e_step(
    contrast: Float[ndarray, "n m"], offsets_px: Float[ndarray, " m"], at_px: Float[ndarray, " n"], sigma_px: float
) -> tuple[Float[ndarray, " n"], Float[ndarray, " n"], Float[ndarray, " n"]]:
    """(offset of each point's edge, its confidence, its contrast), weighted around ``at_px``."""
    middle = np.clip(at_px, offsets_px[0], offsets_px[-1]).astype(np.float32)
    near = np.exp(-0.5 * ((offsets_px - middle[:, None]) / np.float32(sigma_px)) ** 2)
    seen = contrast * near
    total = seen.sum(axis=1)
    ratio = total / (near.sum(axis=1) + np.float32(1e-9))
    return seen @ offsets_px / (total + np.float32(1e-9)), ratio / (ratio + 1), ratio


def _solve(
    across: Float[ndarray, "n 4"],
    weight: Float[ndarray, " n"],
    there_px: Float[ndarray, " n"],
    start: Float[ndarray, " 4"],
    letterbox: LetterboxEdges,
) -> Float[ndarray, " 4"]:
    """Weighted least squares with the prior.

    The start of a bar is the end of the photo, which is more precise than any border.
    """
    prior = _PRIOR * _KNOWN
    already = start * (1, 1, 100, 100)
    weighted = across * weight[:, None]
    matrix, target = weighted.T @ across + prior, weighted.T @ there_px - prior @ already
    for axis, begins, ends in letterbox:
        row = np.zeros(4)
        row[axis], row[2 + axis] = 1, begins / 100
        matrix += np.outer(row, row) * (20 + weight.sum())
        target += row * (ends - begins - row @ already) * (20 + weight.sum())
    return np.linalg.solve(matrix, target)


def _covariance(
    pair: RegistrationPair,
    points: EdgePoints,
    across: Float[ndarray, "n 4"],
    weight: Float[ndarray, " n"],
    left_px: Float[ndarray, " n"],
) -> Float[ndarray, "4 4"]:
    """Covariance of the parameters, from the disagreement of 6 x 6 parts of the image (clustered sandwich estimate)."""
    cells = np.clip(((points.position / np.array(pair.size_hw) + 0.5) * 6).astype(int), 0, 5)
    part = cells[:, 0] * 6 + cells[:, 1]
    pulls = np.stack([np.bincount(part, across[:, i] * weight * left_px, minlength=36) for i in range(4)], axis=1)
    curvature = (across * weight[:, None]).T @ across + 1e-3 * np.eye(4)
    inverse = np.linalg.inv(curvature)
    # Half a pixel, common to a whole part: the scatter misses it if few parts contain borders.
    common = 0.25 * float(np.bincount(part, weight, minlength=36).max())
    covariance = inverse @ (pulls.T @ pulls + common * curvature) @ inverse
    unit = np.diag([1.0, 1.0, 0.01, 0.01])
    projected: ndarray = unit @ covariance @ unit
    return projected


def fit_letterbox(letterbox: LetterboxEdges) -> Float[ndarray, " 4"]:
    """Parameters from the bars alone."""
    return _solve(np.zeros((0, 4)), np.zeros(0), np.zeros(0), np.zeros(4), letterbox) * (1, 1, 0.01, 0.01)
