"""Distortions that shift, zoom and aspect cannot correct: rotation, shear, bending, another part of the scene."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from distill.teachers.registration.coarse_search import CoarseSearch, RegistrationPair
from distill.teachers.registration.edges import EdgePoints
from distill.teachers.registration.refine import TransformFit, e_step, edge_contrast, mean_agreement, refine_coarse

# tuned: benchmarks/registration.py; reasons: docs/registration.md
_SHEAR_GAIN = 0.03
_WAVES = 4
"""Largest number of half waves across the image; with more, any contour could be moved onto any edges."""
_BEND_PX = 12.0
"""Expected displacement of the longest waves; proportionally less for shorter ones."""
_BEND_PRIOR = 4.0
"""Weight of the prior, as for a transform."""
_BEND_STEPS = (
    (2, (8.0, 6.0)),
    (2, (6.0, 5.0)),
    (2, (5.0, 4.0)),
    (1, (5.0, 4.0, 3.0)),
    (1, (4.0, 3.0)),
    (1, (3.0, 3.0)),
)
"""(pyramid level of the photo's edges, reach of a point in px), coarse to fine, for an image of 600 to 1024 px."""

_TURNS_DEG = (3.5, 7.0, 10.5)
_SHEARS = (0.06, 0.12)
_ZOOMS = (0.7, 0.84, 1.18, 1.38, 1.62)
"""Steps that the blur of the coarse search (a pixel of 280) bridges; its zooms cover 8.5 % to either side."""
_CLOSER_LOOKS = 4
_LEAST_SEEN = 0.4
"""Fraction of the edge points that must be inside a shrunk image."""


@dataclass(frozen=True, slots=True)
class AffineDeviation:
    """Best rotation, shear or zoom outside the range of generator drift.

    Attributes:
        gain: Agreement above that of the estimated transform.
        zoomed: Whether it is a zoom; else a rotation or shear.
    """

    gain: float = 0.0
    zoomed: bool = False


@dataclass(frozen=True, slots=True)
class SmoothDeviation:
    """Smooth displacement of parts of an image.

    Attributes:
        moved_px: Root mean square over the borders, for a longer side of 1000 px, without shift, zoom and aspect.
        gain: Agreement won by undoing it.
    """

    moved_px: float = 0.0
    gain: float = 0.0


NO_SMOOTH_DEVIATION, NO_AFFINE_DEVIATION = SmoothDeviation(), AffineDeviation()


def measure_affine(
    pair: RegistrationPair, search: CoarseSearch, transform: TransformFit, count: int
) -> AffineDeviation:
    """Best agreement under a set of affine maps, relative to that of a transform, with ``count`` edge points."""
    whole, places = pair.edge_points, []
    for matrix, zoomed in _affine_maps():
        transformed = whole.transform(matrix)
        inside = (np.abs(transformed.position) < np.array(pair.size_hw) / 2).all(axis=1)
        seen = float(whole.weight[inside].sum() / whole.weight.sum())
        if seen > _LEAST_SEEN:
            transformed = transformed.select(inside)
            share, start = search.best_one(transformed)
            places.append((share * seen, zoomed, seen, inside, transformed, start))
    places.sort(key=lambda place: -place[0])
    found = []
    for _, zoomed, seen, inside, transformed, start in places[:_CLOSER_LOOKS]:
        agreement = refine_coarse(pair, transformed.subsample(count), start, []).agreement
        # Some part of any contour fits better than the whole: the comparison uses the same part.
        beaten = refine_coarse(pair, whole.select(inside).subsample(count), transform.params, []).agreement
        found.append(AffineDeviation(seen * (agreement - beaten), zoomed))
    return max(found, key=lambda one: one.gain, default=NO_AFFINE_DEVIATION)


def _affine_maps() -> list[tuple[Float[ndarray, "2 2"], bool]]:
    """(map from the image to the photo, whether it is a zoom)."""
    found = [(np.eye(2) / zoom, True) for zoom in _ZOOMS]
    for sign in (-1, 1):
        for shear in _SHEARS:
            found += [(np.array([[1, sign * shear], [0, 1]]), False), (np.array([[1, 0], [sign * shear, 1]]), False)]
        for turn_deg in _TURNS_DEG:
            sine, cosine = sign * np.sin(np.radians(turn_deg)), np.cos(np.radians(turn_deg))
            found.append((np.array([[cosine, sine], [-sine, cosine]]), False))
    return found


def measure_shear(pair: RegistrationPair, points: EdgePoints, params: Float[ndarray, " 4"]) -> float:
    """Additional shear or rotation: the larger off-diagonal element of the best linear map.

    0 if it does not improve the agreement.
    """
    level = 1 if max(pair.size_hw) > 600 else 0
    offsets_px = np.arange(-12, 13) * 0.5 * 2**level
    offsets = offsets_px.astype(np.float32)
    # Parameters: shift (2), scale (2), off-diagonal elements (2): down by right, right by down.
    across = np.concatenate(
        [points.normal, points.normal * points.position, points.normal * points.position[:, ::-1]], axis=1
    )
    across[:, 2:] /= 100
    prior = np.diag([0.08, 0.08, 0.5, 0.5, 1.2, 1.2])
    linear, agreements = np.concatenate([params * (1, 1, 100, 100), np.zeros(2)]), []
    for _ in range(4):
        shown = (
            points.position + linear[:2] + (linear[2:4] * points.position + linear[4:] * points.position[:, ::-1]) / 100
        )
        contrast = edge_contrast(pair, replace(points, position=shown), np.zeros(4), level, offsets_px)
        move = np.zeros(6)
        agreements.append(mean_agreement(points, e_step(contrast, offsets, np.zeros(len(points)), 3.0)[2]))
        for sigma_px in (5.0, 4.0, 3.0, 3.0):
            for _ in range(2):
                there, confidence, _ = e_step(contrast, offsets, across @ move, sigma_px)
                weighted = across * (points.weight * confidence)[:, None]
                move = np.linalg.solve(weighted.T @ across + prior, weighted.T @ there)
        linear += move
    return float(np.abs(linear[4:]).max() / 100) if agreements[-1] > agreements[0] + _SHEAR_GAIN else 0.0


def measure_smooth(pair: RegistrationPair, points: EdgePoints, params: Float[ndarray, " 4"]) -> SmoothDeviation:
    """Additional bending: smooth waves (cosines) in both directions that improve the agreement."""
    finest = 1 if max(pair.size_hw) > 600 else 0
    waves, order = _waves(points, pair.size_hw)
    across = np.concatenate([points.normal[:, :1] * waves, points.normal[:, 1:] * waves], axis=1)
    prior = np.diag(np.tile(_BEND_PRIOR * (np.maximum(order, 1) / _BEND_PX) ** 2, 2))
    start = params[:2] + (1 + params[2:]) * points.position
    bent = np.zeros(across.shape[1])

    def seen(level: int) -> tuple[Float[ndarray, "n m"], Float[ndarray, " m"]]:
        offsets_px = np.arange(-12, 13) * 0.5 * 2**level
        shown = start + _moved(waves, bent)
        contrast = edge_contrast(pair, replace(points, position=shown), np.zeros(4), level, offsets_px)
        return contrast, offsets_px.astype(np.float32)

    def agreement() -> float:
        contrast, offsets = seen(finest)
        return mean_agreement(points, e_step(contrast, offsets, np.zeros(len(points)), 3.0)[2])

    straight = agreement()
    for coarseness, sigmas_px in _BEND_STEPS:
        contrast, offsets = seen(coarseness - 1 + finest)
        move = np.zeros_like(bent)
        for sigma_px in np.repeat(sigmas_px, 2):
            there, confidence, _ = e_step(contrast, offsets, across @ move, float(sigma_px))
            weighted = across * (points.weight * confidence)[:, None]
            move = np.linalg.solve(weighted.T @ across + prior, weighted.T @ there - prior @ bent)
        bent = bent + move
    left = _residual(points, _moved(waves, bent))
    moved_px = float(np.sqrt((left**2).sum(axis=1).mean())) * 1000 / max(pair.size_hw)
    return SmoothDeviation(moved_px, agreement() - straight)


def _waves(points: EdgePoints, size_hw: tuple[int, int]) -> tuple[Float[ndarray, "n k"], Float[ndarray, " k"]]:
    """(products of vertical and horizontal cosines at each point, number of half waves of each)."""
    phase = np.pi * (points.position / np.array(size_hw) + 0.5)
    pairs = [(i, j) for i in range(_WAVES + 1) for j in range(_WAVES + 1) if i + j <= _WAVES + 1]
    waves = [np.cos(i * phase[:, 0]) * np.cos(j * phase[:, 1]) for i, j in pairs]
    return np.stack(waves, axis=1), np.array([i + j for i, j in pairs], float)


def _moved(waves: Float[ndarray, "n k"], bent: Float[ndarray, " k2"]) -> Float[ndarray, "n 2"]:
    """(down, right) displacement of each point."""
    displacement: ndarray = waves @ bent.reshape(2, -1).T
    return displacement


def _residual(points: EdgePoints, moved: Float[ndarray, "n 2"]) -> Float[ndarray, "n 2"]:
    """Displacement without the best shift and scale of each axis."""
    left = moved.copy()
    for axis in (0, 1):
        straight = np.stack([np.ones(len(points)), points.position[:, axis]], axis=1)
        left[:, axis] -= straight @ np.linalg.lstsq(straight, moved[:, axis], rcond=None)[0]
    return left
