"""Photo edges along the normals of edge points, and the transforms that they suggest (expectation maximization)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from distill.teachers.registration.coarse_search import LetterboxEdges, RegistrationPair, shown_at
from distill.teachers.registration.edges import EdgePoints

# tuned: benchmarks/registration.py; reasons: docs/registration.md
_EVERYWHERE = 0.15
_PRIOR, _INDEPENDENT = 4.0, 4000
_STEPS = 8
_NEAR_SHARE = 4.0
"""Profiles are used for other transforms that move points by less than their reach over this number."""
UNIT = np.array([1, 1, 0.01, 0.01, 0.01, 0.01, 1e-4, 1e-4])
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


def neg_log_prior(params: Float[ndarray, " 8"]) -> float:
    """Negative log prior of a transform without rotation and shear, relative to the identity, in nats."""
    numbers = params[:STRAIGHT] / UNIT[:STRAIGHT]
    return float(numbers @ _KNOWN[:STRAIGHT, :STRAIGHT] @ numbers) / 2


class EdgeProfiles:
    """Photo edges along the normals of edge points, around their positions under one or several transforms.

    Attributes:
        center: (transforms, points, 2) positions in the photo.
    """

    def __init__(
        self,
        pair: RegistrationPair,
        points: EdgePoints,
        starts: Sequence[Float[ndarray, " 8"]],
        level: int,
        offsets_px: Float[ndarray, " m"],
        free: int = STRAIGHT,
        signs: Sequence[tuple[int, int]] = (),
    ) -> None:
        self._pair, self._points, self._level, self._offsets_px = pair, points, level, offsets_px
        self._starts, self._free = np.array(starts), free
        sign = np.array(signs or [(1, 1)])[:, None]
        self._position, normal = points.position * sign, points.normal * sign
        self.center = self.shown(self._starts)
        normals = np.broadcast_to(normal, self.center.shape)
        profile = pair.edge_profiles(self.center.reshape(-1, 2), normals.reshape(-1, 2), level, offsets_px)
        # Relative to the mean within reach of a point: 1 is chance.
        mean = profile @ np.full(len(offsets_px), 1 / len(offsets_px), np.float32)
        profile /= (mean + np.float32(_EVERYWHERE))[:, None]
        self.contrast: Float[ndarray, "n m"] = profile
        position = self._position / 100
        columns = [normal, normal * position]
        if free == PROJECTIVE:
            columns += [normal * position[..., ::-1], (normal * position).sum(axis=-1, keepdims=True) * position]
        # (transforms or 1, points, parameters)
        self._across = np.concatenate(columns, axis=-1).astype(np.float32)

    def shown(self, params: Sequence[Float[ndarray, " 8"]] | Float[ndarray, "k 8"]) -> Float[ndarray, "k n 2"]:
        """Positions of the edge points in the photo under transforms."""
        return shown_at(self._position, np.asarray(params))

    def around(self, params: Float[ndarray, " 8"]) -> EdgeProfiles:
        """Profiles around another transform; the same ones if it moves no point far."""
        if np.abs(self._at_px(params)).max() < self._offsets_px[-1] / _NEAR_SHARE:
            return self
        return EdgeProfiles(self._pair, self._points, [params], self._level, self._offsets_px, self._free)

    def agreement(self, params: Float[ndarray, " 8"], sigma_px: float) -> float:
        """Agreement of one transform without refinement."""
        ratio = e_step(self.contrast, self._offsets_px, self._at_px(params), sigma_px)[2]
        return float(mean_agreement(self._points, ratio))

    def _at_px(self, params: Float[ndarray, " 8"]) -> Float[ndarray, " n"]:
        move = ((params - self._starts[0]) / UNIT)[: self._free]
        displaced: ndarray = self._across[0] @ move.astype(np.float32)
        return displaced

    def refine(
        self, sigmas_px: tuple[float, ...], letterbox: LetterboxEdges, first: Float[ndarray, " 8"] | None = None
    ) -> list[TransformFit]:
        """Expectation maximization from the starts while the reach of each point shrinks.

        Args:
            sigmas_px: Reach of each point, one after another.
            letterbox: Bars.
            first: Parameters to begin with; by default the starts.
        """
        points, across, count = self._points, self._across, len(self._starts)
        move = np.zeros((count, self._free), np.float32)
        if first is not None:
            move += ((first - self._starts) / UNIT)[:, : self._free]
        # A sample stands for the other points, too.
        stands_for = min(len(self._pair.edge_points), _INDEPENDENT) / len(points)
        sigma_px = 1.0
        for sigma_px in sigmas_px:
            table = _moment_table(self.contrast, self._offsets_px, sigma_px)
            for _ in range(_STEPS):
                ratio, there = _moments_at(table, self._offsets_px, _displaced(across, move))
                weight = points.weight * (ratio / (ratio + 1) * (stands_for / sigma_px**2)).reshape(count, -1)
                before, move = move, self._solve(weight, there.reshape(count, -1), letterbox)
                if np.abs(move - before).max() < 0.02 * sigma_px:
                    break
        at_px = _displaced(across, move)
        there, confidence, ratio = (
            values.reshape(count, -1) for values in e_step(self.contrast, self._offsets_px, at_px.ravel(), sigma_px)
        )
        params = self._starts.copy()
        params[:, : self._free] += move * UNIT[: self._free]
        agreement, left = mean_agreement(points, ratio), there - at_px
        weight = points.weight * confidence
        return [
            TransformFit(params[i], float(agreement[i]), across[i % len(across)], weight[i], left[i])
            for i in range(count)
        ]

    def _solve(
        self, weight: Float[ndarray, "k n"], there_px: Float[ndarray, "k n"], letterbox: LetterboxEdges
    ) -> Float[ndarray, "k p"]:
        """Weighted least squares with the prior."""
        weighted = (self._across * weight[..., None].astype(np.float32)).swapaxes(1, 2)
        matrix, target = weighted @ self._across, (weighted @ there_px[..., None])[..., 0]
        return solve_with_prior(matrix, target, self._starts, letterbox, weight.sum(axis=1))


def _displaced(across: Float[ndarray, "k n p"], move: Float[ndarray, "k p"]) -> Float[ndarray, "k n"]:
    """Displacement of each point along its normal."""
    displaced: ndarray = (across @ move[..., None])[..., 0]
    return displaced


def _moment_table(
    contrast: Float[ndarray, "n m"], offsets_px: Float[ndarray, " m"], sigma_px: float
) -> Float[ndarray, "n 2m"]:
    """Contrast of each point, and its product with the offset, averaged around every offset."""
    near = np.exp(-0.5 * ((offsets_px[:, None] - offsets_px) / sigma_px) ** 2)
    near /= near.sum(axis=0)
    table: ndarray = contrast @ np.concatenate([near, near * offsets_px[:, None]], axis=1).astype(np.float32)
    return table


def _moments_at(
    table: Float[ndarray, "n 2m"], offsets_px: Float[ndarray, " m"], at_px: Float[ndarray, "k n"]
) -> tuple[Float[ndarray, " kn"], Float[ndarray, " kn"]]:
    """(contrast, offset of each point's edge) around ``at_px``, interpolated."""
    last = len(offsets_px) - 1
    place = (at_px.ravel() - np.float32(offsets_px[0])) * np.float32(1 / (offsets_px[1] - offsets_px[0]))
    np.clip(place, 0, last - 1e-3, out=place)
    whole = place.astype(np.int32)
    place -= whole
    whole += np.arange(len(place), dtype=np.int32) * np.int32(2 * len(offsets_px))
    flat = table.ravel()
    found = []
    for first in (0, last + 1):
        low = flat.take(whole + np.int32(first))
        high = flat.take(whole + np.int32(first + 1))
        high -= low
        high *= place
        low += high
        found.append(low)
    ratio, moment = found
    return ratio, moment / (ratio + np.float32(1e-9))


def mean_agreement(points: EdgePoints, ratio: Float[ndarray, "*k n"]) -> Float[ndarray, "*k"]:
    """Agreement from the edge contrast at each edge point."""
    agreement: ndarray = np.log(0.3 + 0.7 * ratio) @ points.weight / points.weight.sum()
    return agreement


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


def solve_with_prior(
    matrix: Float[ndarray, "k p p"],
    target: Float[ndarray, "k p"],
    starts: Float[ndarray, "k 8"],
    letterbox: LetterboxEdges,
    total_weight: Float[ndarray, " k"],
) -> Float[ndarray, "k p"]:
    """Least squares with the prior on the whole transform.

    The start of a bar is the end of the photo, which is more precise than any border.
    """
    free = matrix.shape[-1]
    prior, already = _PRIOR * _KNOWN[:free, :free], (starts / UNIT)[:, :free]
    matrix, target = matrix + prior, target - already @ prior
    for axis, begins, ends in letterbox:
        row = np.zeros(free)
        row[axis], row[2 + axis] = 1, begins / 100
        sure = (20 + total_weight)[:, None]
        matrix += np.outer(row, row) * sure[..., None]
        target += row * (ends - begins - already @ row)[:, None] * sure
    solved: ndarray = np.linalg.solve(matrix, target[..., None])[..., 0].astype(np.float32)
    return solved
