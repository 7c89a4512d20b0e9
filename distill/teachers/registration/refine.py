"""One place of an answer over its photo, refined until its borders lie on the photo's edges as well as they can."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from distill.teachers.registration.coarse_search import LetterboxEdges, RegistrationPair
from distill.teachers.registration.edges import EdgePoints

CHANCE = -1.0
"""Agreement of an answer that lies 10 px or more off: real pairs drawn off on purpose had -0.9 to -1.05."""
_EVERYWHERE = 0.15
"""Edge strength that is everywhere; weaker edges than this are noise, or haze at a horizon."""
_PRIOR = 4.0
"""Weight of what is known beforehand: points are worth this many times less than their number and their reach say,
because those that share a border err together. With 60, zooms of small outlines were drawn to 1; with 1, they ran away.
"""
_NEAR_PX = np.arange(-12, 13) * 0.5
"""How far a close look reaches."""
_SIDESTEP = 0.007
"""Of the longer side."""
_KNOWN = np.diag([1 / 14**2, 1 / 14**2, 1 / 5.6**2, 1 / 5.6**2])
_KNOWN[2:, 2:] += np.array([[1, -1], [-1, 1]]) / 1.3**2
"""Shifts are of 14 px, zooms of 4 % or so, aspects of 1 %: the inverse of their covariance, in px and %."""


@dataclass(frozen=True, slots=True)
class TransformFit:
    """A place of the answer over the photo.

    Attributes:
        pull: (down, right, tall, wide): the answer's point ``a`` shows the photo's point
            ``(down, right) + (1 + (tall, wide)) a``, both from the center, where the resize mode puts the photo.
        agreement: As in `distill.teachers.registration.estimate.MatchStats`.
        covariance: Of `params`.
    """

    params: Float[ndarray, " 4"]
    agreement: float
    covariance: Float[ndarray, "4 4"]


def refine_coarse(
    pair: RegistrationPair, points: EdgePoints, start: Float[ndarray, " 4"], letterbox: LetterboxEdges
) -> TransformFit:
    """From the grid of the search to within a few pixels."""
    level = 1 if max(pair.size_hw) > 600 else 0
    offsets_px = np.arange(-10, 11) * float(2**level) * 0.5
    fit = refine(pair, points, start, level, offsets_px, (5.0, 3.0), letterbox)
    return refine(pair, points, fit.params, level, offsets_px, (3.0, 2.0), letterbox)


def refine_fine(
    pair: RegistrationPair, points: EdgePoints, start: Float[ndarray, " 4"], letterbox: LetterboxEdges
) -> tuple[TransformFit, float]:
    """(from a few pixels to the end, the agreement at no drift at all as closely looked at).

    Reach shrinks only where that makes things clearer. Borders that lie a few pixels off here and there (soft normals,
    labels of another moment) lose by a close look, and would draw the answer to those few that happen to lie on edges.
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
    """The last step: within two pixels."""
    return refine(pair, points, start, 0, _NEAR_PX, (1.5, 1.0), letterbox)


def side_alternatives(
    pair: RegistrationPair, points: EdgePoints, fit: TransformFit, letterbox: LetterboxEdges
) -> list[TransformFit]:
    """Where the outline lies if one or both of two opposite sides lie on an edge beside the one that was found.

    A box has edges inside that run along its outline, 5 to 10 px from it. From afar they are one with it, and close by
    each holds what lies on it.
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
    """How much rarer than none at all a drift of this size is, in nats."""
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
    """A better place, near the first one: expectation maximization while the reach of each point shrinks."""
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
    """How much clearer the photo's edges are than all that lies within reach of a point: 1 is chance."""
    profile = pair.edge_profiles(points, params, level, offsets_px)
    return profile / (profile.mean(axis=1, keepdims=True) + np.float32(_EVERYWHERE))


def agreement_at_identity(pair: RegistrationPair, points: EdgePoints) -> float:
    """The agreement at no drift at all, closely looked at."""
    return _agreement_at_identity(pair, points, 0, _NEAR_PX, 1.0)


def _agreement_at_identity(
    pair: RegistrationPair, points: EdgePoints, level: int, offsets_px: Float[ndarray, " m"], sigma_px: float
) -> float:
    contrast = edge_contrast(pair, points, np.zeros(4), level, offsets_px)
    return mean_agreement(points, e_step(contrast, offsets_px.astype(np.float32), np.zeros(len(points)), sigma_px)[2])


def mean_agreement(points: EdgePoints, ratio: Float[ndarray, " n"]) -> float:
    """Of an outline, from how much clearer than chance the photo's edges are at each of its points."""
    return float(np.average(np.log(0.3 + 0.7 * ratio), weights=points.weight))


def e_step(
    contrast: Float[ndarray, "n m"], offsets_px: Float[ndarray, " m"], at_px: Float[ndarray, " n"], sigma_px: float
) -> tuple[Float[ndarray, " n"], Float[ndarray, " n"], Float[ndarray, " n"]]:
    """(where each point's edge lies, how sure that is, how much clearer than chance), looking near ``at_px``."""
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
    """Weighted least squares, with what is known beforehand.

    Where a bar begins, the photo ends: that is sharper than any border, so long as it is not far from what borders say.
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
    """Of the four numbers, from how much 6 x 6 parts of the picture disagree (a sandwich estimate by clusters)."""
    cells = np.clip(((points.position / np.array(pair.size_hw) + 0.5) * 6).astype(int), 0, 5)
    part = cells[:, 0] * 6 + cells[:, 1]
    pulls = np.stack([np.bincount(part, across[:, i] * weight * left_px, minlength=36) for i in range(4)], axis=1)
    curvature = (across * weight[:, None]).T @ across + 1e-3 * np.eye(4)
    inverse = np.linalg.inv(curvature)
    # Half a pixel, common to a whole part, is what the scatter may miss where few parts hold anything.
    common = 0.25 * float(np.bincount(part, weight, minlength=36).max())
    covariance = inverse @ (pulls.T @ pulls + common * curvature) @ inverse
    unit = np.diag([1.0, 1.0, 0.01, 0.01])
    return unit @ covariance @ unit


def fit_letterbox(letterbox: LetterboxEdges) -> Float[ndarray, " 4"]:
    """The place that the bars alone ask for."""
    return _solve(np.zeros((0, 4)), np.zeros(0), np.zeros(0), np.zeros(4), letterbox) * (1, 1, 0.01, 0.01)
