"""Refinement of candidate transforms: from the search grid to the end, uncertainty, offsets of parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from distill.teachers.registration.coarse_search import LetterboxEdges, RegistrationPair, shown_at
from distill.teachers.registration.edge_profiles import (
    STRAIGHT,
    UNIT,
    EdgeProfiles,
    TransformFit,
    e_step,
    mean_agreement,
    solve_with_prior,
)
from distill.teachers.registration.edges import EdgePoints

CHANCE = -1.0
"""Agreement of an image that is displaced by 10 px or more: displaced real pairs had -0.9 to -1.05."""
# tuned: benchmarks/registration.py; reasons: docs/registration.md
_HARDLY_PX = 3.0
_IDENTITY = np.zeros(8)
_WORSE = 0.01
NEAR_PX = np.arange(-12, 13) * 0.5
_SIDESTEP = 0.007
_PARTS, _LOCAL_PRIOR = 5, 2.0


def _coarse_level(pair: RegistrationPair) -> int:
    return 1 if max(pair.size_hw) > 600 else 0


def show(points: EdgePoints, params: Float[ndarray, " 8"]) -> Float[ndarray, "n 2"]:
    """Positions of the edge points in the photo."""
    return shown_at(points.position, params)


def refine_coarse(
    pair: RegistrationPair,
    points: EdgePoints,
    starts: Sequence[Float[ndarray, " 8"]],
    letterbox: LetterboxEdges,
    free: int = STRAIGHT,
    signs: Sequence[tuple[int, int]] = (),
    *,
    once: bool = False,
) -> list[TransformFit]:
    """From the search grid to within a few pixels, each start by itself.

    Args:
        pair: Photo and generated image.
        points: Edge points of the generated image.
        starts: Parameters of the transforms.
        letterbox: Bars.
        free: Number of free parameters.
        signs: Flip of the edge points for each start; by default none.
        once: Whether fits that moved far are not continued from there.
    """
    level = _coarse_level(pair)
    offsets_px = np.arange(-10, 11) * float(2**level) * 0.5
    profiles = EdgeProfiles(pair, points, starts, level, offsets_px, free, signs)
    fits = profiles.refine((5.0, 3.0, 2.0), letterbox)
    if once:
        return fits
    moves_px = np.abs(profiles.shown([fit.params for fit in fits]) - profiles.center).max((1, 2))
    far = [i for i, move_px in enumerate(moves_px) if move_px > _HARDLY_PX]
    if far:
        signs = [signs[i] for i in far] if signs else ()
        again = EdgeProfiles(pair, points, [fits[i].params for i in far], level, offsets_px, free, signs)
        for i, fit in zip(far, again.refine((3.0, 2.0), letterbox), strict=True):
            fits[i] = fit
    return fits


def refine_fine(
    pair: RegistrationPair, points: EdgePoints, start: Float[ndarray, " 8"], letterbox: LetterboxEdges
) -> tuple[TransformFit, float]:
    """(fit from a few pixels to the end, agreement without a transform at the same reach).

    The reach shrinks only if that improves the agreement: borders with local offsets of a few pixels (soft normals,
    labels of another moment) agree less at a small reach, and the few that are on edges by chance would dominate.
    """
    level = _coarse_level(pair)
    around = EdgeProfiles(pair, points, [start], level, np.arange(-12, 13) * 0.5 * 2**level)
    (wide,) = around.refine((4.0, 3.0), letterbox)
    near = EdgeProfiles(pair, points, [wide.params], 0, NEAR_PX)
    (close,) = near.refine((2.5, 1.5), letterbox)
    (close,) = near.around(close.params).refine((1.5, 1.0), letterbox, close.params)
    still = around.around(_IDENTITY).agreement(_IDENTITY, 3.0)
    # A better place is also better, or no worse, at the wider reach.
    if close.agreement > wide.agreement and around.around(close.params).agreement(close.params, 3.0) > still - _WORSE:
        return close, near.around(_IDENTITY).agreement(_IDENTITY, 1.0)
    return wide, still


def refine_final(
    pair: RegistrationPair, points: EdgePoints, start: Float[ndarray, " 8"], letterbox: LetterboxEdges
) -> TransformFit:
    """Last step: within two pixels."""
    return EdgeProfiles(pair, points, [start], 0, NEAR_PX).refine((1.5, 1.0), letterbox)[0]


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
    nearer = EdgeProfiles(pair, points, starts, 0, NEAR_PX).refine((1.5,), letterbox)
    return EdgeProfiles(pair, points, [fit.params for fit in nearer], 0, NEAR_PX).refine((1.0,), letterbox)


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
    # Half a pixel of full size, common to a whole part: the scatter misses it if few parts contain borders.
    common = (0.5 / pair.finer) ** 2 * float(np.bincount(part, weight, minlength=36).max())
    spread = inverse @ (pulls.T @ pulls + common * curvature) @ inverse
    unit = np.diag(UNIT[:4])
    projected: ndarray = unit @ spread @ unit
    return projected


def fit_letterbox(letterbox: LetterboxEdges) -> Float[ndarray, " 8"]:
    """Parameters from the bars alone."""
    nothing = np.zeros((1, 8, 8)), np.zeros((1, 8)), np.zeros((1, 8))
    params: Float[ndarray, " 8"] = solve_with_prior(*nothing, letterbox, np.zeros(1))[0] * UNIT
    return params


def local_offsets(pair: RegistrationPair, points: EdgePoints, params: Float[ndarray, " 8"]) -> tuple[float, float]:
    """(root mean square offset of 5 x 5 parts of the image, in px; agreement that it wins).

    A large one is a distortion that the transform does not express: perspective, bending, a rotation.
    """
    level = _coarse_level(pair)
    offsets_px = np.arange(-12, 13) * 1.0 * 2**level
    contrast = EdgeProfiles(pair, points, [params], level, offsets_px).contrast
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
