"""How far a painted answer drifted from its photo: shift, zoom and aspect, found from what the two have in common.

One picture is a photo, the other a depth map, a normal map or flat colours: brightness and colour mean nothing across
the two, but borders of things lie in the same places and run the same way. So the answer becomes an outline (points
with normals), the photo a field of thin edges that know their direction but not their sign, and they meet twice:

    256 px     every zoom and aspect of a grid, every shift; correlation surfaces of small tiles, summed
    full size  the best of these, refined: along its normal, each point of the outline looks for edges of the photo

A point says nothing about the direction along its border, and a point in texture, where the photo has edges everywhere,
says nothing at all: what counts is how much clearer an edge is than all that lies within reach of the point. Weighted
least squares over all points, repeated while the reach shrinks (expectation maximisation), give four numbers, and the
scatter between parts of the picture says how far they can be trusted.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import scipy.fft
from jaxtyping import Complex, Float, UInt8
from numpy import ndarray

from distill.teachers.edges import Outline, bar_ends, edge_field, outline

MAX_SHIFT = 0.032
"""Largest shift that is looked for, as a share of the answer's longer side: 24 px of 1000, and some margin."""
MAX_ZOOM = 0.085
MAX_ASPECT = 0.03
_BELIEVABLE = 0.1, 0.05
"""Zoom and aspect that may be found: real labels that lie a little off their photos pull the numbers out of range."""
LONGEST_PX = 1024
_MARGIN = 0.09
"""Of the longer side: how much photo is kept around the canvas, where drifted answers show it."""
_COARSE_PX = 280
_TILE_PX = 32
_CANDIDATES = 5
_MANY, _FEW = 3000, 1200
_BARS_PREFERRED = 0.25
"""So much less agreement than at the best place is accepted where bars say that the photo ends: labels may lie off."""
_CHANCE = 0.15
"""Edge strength that is everywhere; weaker edges than this are noise."""
_CORRELATED = 4.0
"""Points that share a border err together: about 15 of them, with errors of 2 px, weigh as one of 1 px."""


Bars = list[tuple[int, float, float]]
"""(axis, where a bar begins in the answer, where the photo ends on the canvas), from the centre, in pixels."""


@dataclass(frozen=True, slots=True)
class Drift:
    """An axis-aligned map from where the canvas rule puts a point (from the answer's centre) to where it was painted.

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
        agreement: At the drift, looked at coarsely.
        agreement_mirrored: The same for the answer turned over, at its own best place: what chance and straight walls
            give.
        agreement_fine: At the drift, looked at closely.
        agreement_unmended: The same at no drift at all.
        border_px: Length of the answer's borders; clear ones count fully, at most 3000 px of them.
        barred: Whether bars in the answer said where the photo ends.
    """

    drift: Drift
    uncertainty_px: float
    agreement: float
    agreement_mirrored: float
    agreement_fine: float
    agreement_unmended: float
    border_px: float
    barred: bool


class Scene:
    """Photo and answer on one grid: the answer's, with a margin, no finer than either of them is."""

    def __init__(
        self, photo: UInt8[ndarray, "h w 3"], answer: UInt8[ndarray, "h2 w2 3"], scale_hw: tuple[float, float]
    ) -> None:
        full_hw = answer.shape[:2]
        # Beyond 1.5 times the photo's own pixels there is nothing to see.
        share = min(1.0, LONGEST_PX / max(full_hw), 1.5 / max(scale_hw))
        self.size_hw = max(8, round(full_hw[0] * share)), max(8, round(full_hw[1] * share))
        self.share = self.size_hw[0] / full_hw[0], self.size_hw[1] / full_hw[1]
        self.answer = cv2.resize(answer, self.size_hw[::-1], interpolation=cv2.INTER_AREA)
        self.margin = int(np.ceil(_MARGIN * max(self.size_hw)))
        self.outline = outline(self.answer)
        scale_hw = scale_hw[0] * self.share[0], scale_hw[1] * self.share[1]
        small_hw = [max(8, round(photo.shape[i] * min(1.0, scale_hw[i]))) for i in (0, 1)]
        small = cv2.resize(photo, small_hw[::-1], interpolation=cv2.INTER_AREA)
        scale_hw = scale_hw[0] * photo.shape[0] / small_hw[0], scale_hw[1] * photo.shape[1] / small_hw[1]
        photo_ends = [scale_hw[axis] * small_hw[axis] / 2 for axis in (0, 1)]
        self._levels = [self._drawn_edges(small, scale_hw, photo_ends)]
        bars = [
            (axis, place * self.share[axis], float(photo_ends[axis] * np.sign(place)))
            for axis, place in bar_ends(answer, small)
        ]
        self.bars: Bars = bars if bars and _believable(bars, max(self.size_hw)) else []

    def _drawn_edges(
        self, photo: UInt8[ndarray, "h w 3"], scale_hw: tuple[float, float], ends: list[float]
    ) -> Float[ndarray, "h2 w2 2"]:
        """The photo's edges on the grid; none where it ends, ``ends`` from the centre."""
        canvas_hw = [side + 2 * self.margin for side in self.size_hw]
        matrix = np.zeros((2, 3))
        for axis in (0, 1):
            matrix[1 - axis, 1 - axis] = scale_hw[axis]
            # Half pixels: OpenCV counts from the middle of the first pixel, we count from its edge.
            matrix[1 - axis, 2] = canvas_hw[axis] / 2 - ends[axis] + 0.5 * scale_hw[axis] - 0.5
        drawn = cv2.warpAffine(photo, matrix, canvas_hw[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        field = edge_field(drawn)
        for turned, side, end in zip((field, field.T), canvas_hw, ends, strict=True):
            turned[: max(0, round(side / 2 - end + 2))] = 0
            turned[max(0, round(side / 2 + end - 2)) :] = 0
        return field.view(np.float32).reshape(*field.shape, 2)

    def edges(self, level: int) -> Float[ndarray, "h w 2"]:
        """The photo's edges, halved in size this many times."""
        while len(self._levels) <= level:
            smooth = cv2.GaussianBlur(self._levels[-1], (0, 0), 1.0)
            half_hw = [(side + 1) // 2 for side in smooth.shape[:2]]
            self._levels.append(cv2.resize(smooth, half_hw[::-1], interpolation=cv2.INTER_AREA))
        return self._levels[level]

    def profiles(
        self, points: Outline, pull: Float[ndarray, " 4"], level: int, offsets_px: Float[ndarray, " m"]
    ) -> Float[ndarray, "n m"]:
        """The photo's edges that run as the outline does, along the normal of each of its points."""
        shown = pull[:2] + (1 + pull[2:]) * points.place
        step = 2**level
        rows, columns = (
            (shown[:, axis, None] + offsets_px * points.normal[:, axis, None] + self.size_hw[axis] / 2 + self.margin)
            / step
            - 0.5
            for axis in (0, 1)
        )
        found = cv2.remap(
            self.edges(level), columns.astype(np.float32), rows.astype(np.float32), interpolation=cv2.INTER_LINEAR
        )
        direction = points.direction.astype(np.complex64)
        return np.maximum(
            found[..., 0] * direction.real[:, None] + found[..., 1] * direction.imag[:, None], np.float32(0)
        )


@dataclass(frozen=True, slots=True)
class _Fit:
    """A place of the answer over the photo.

    Attributes:
        pull: (down, right, tall, wide): the answer's point ``a`` shows the photo's point
            ``(down, right) + (1 + (tall, wide)) a``, both from the centre, where the canvas rule puts the photo.
        agreement: As in `Evidence`.
        covariance: Of `pull`.
    """

    pull: Float[ndarray, " 4"]
    agreement: float
    covariance: Float[ndarray, "4 4"]


def find_drift(
    photo: UInt8[ndarray, "h w 3"], answer: UInt8[ndarray, "h2 w2 3"], scale_hw: tuple[float, float]
) -> Evidence | None:
    """Where the answer was really painted; nothing where the answer has no borders to go by.

    Args:
        photo: Any size.
        answer: Painted over the photo.
        scale_hw: Answer pixels per photo pixel by the canvas rule; both share their centres.
    """
    scene = Scene(photo, answer, scale_hw)
    if len(scene.outline) < 24:
        return None
    few, many = scene.outline.thinned(_FEW), scene.outline.thinned(_MANY)
    search = _Search(scene)
    rough = _best(scene, few, [np.zeros(4), *search.best(scene.outline, _CANDIDATES)], [])
    bars = scene.bars
    if bars:
        barred = _approach(scene, few, _solve_bars(bars), bars)
        bars, rough = (bars, barred) if barred.agreement > rough.agreement - _BARS_PREFERRED else ([], rough)
    offsets_px = np.arange(-12, 13) * 0.5
    fit = _refine(scene, many, rough.pull, 0, offsets_px, (2.5, 1.5), bars)
    fit = _refine(scene, many, fit.pull, 0, offsets_px, (1.5, 1.0), bars)
    unmended = _refine(scene, many, np.zeros(4), 0, offsets_px, (), [])
    mirrored = max(
        _approach(scene, turned.thinned(_FEW), start, []).agreement
        for turned in (scene.outline.mirrored(sign) for sign in ((1, -1), (-1, 1), (-1, -1)))
        for start in search.best(turned, 1)
    )
    return Evidence(
        _drift(scene, fit.pull),
        _expected_error(scene, many, fit.covariance),
        rough.agreement,
        mirrored,
        fit.agreement,
        unmended.agreement,
        float(many.weight.sum()),
        bool(bars),
    )


class _Search:
    """Every place of an outline over a photo, at a size where there are few."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._level = max(0, int(np.ceil(np.log2(max(scene.size_hw) / _COARSE_PX))))
        self._step = 2**self._level
        self._size_hw = [-(-side // self._step) for side in scene.size_hw]
        longest = max(scene.size_hw) / self._step
        self._shifts_px = int(np.ceil(MAX_SHIFT * longest))
        self._reach_px = int(np.ceil(longest * (MAX_SHIFT + MAX_ZOOM / 2)))
        cuts = [np.linspace(0, side, max(2, round(side / _TILE_PX)) + 1).astype(int) for side in self._size_hw]
        self._tiles = [
            (top, bottom, left, right)
            for top, bottom in zip(cuts[0][:-1].tolist(), cuts[0][1:].tolist(), strict=True)
            for left, right in zip(cuts[1][:-1].tolist(), cuts[1][1:].tolist(), strict=True)
        ]
        self._padded = [scipy.fft.next_fast_len(int(np.diff(cut).max()) + 2 * self._reach_px) for cut in cuts]
        self._grid_hw = len(cuts[0]) - 1, len(cuts[1]) - 1
        self._centres = [(cut[:-1] + cut[1:]) / 2 - side / 2 for cut, side in zip(cuts, self._size_hw, strict=True)]
        self._spectrum = self._photo_spectrum()

    def _photo_spectrum(self) -> Complex[ndarray, "n h w"]:
        """Of the part of the photo within reach of each tile."""
        edges = self._scene.edges(self._level)
        margin, reach = round(self._scene.margin / self._step), self._reach_px
        wide = np.pad(edges, ((reach, reach), (reach, reach), (0, 0)))
        windows = np.zeros((len(self._tiles), *self._padded), np.complex64)
        for number, (top, bottom, left, right) in enumerate(self._tiles):
            window = wide[margin + top : margin + bottom + 2 * reach, margin + left : margin + right + 2 * reach]
            windows[number, : window.shape[0], : window.shape[1]] = window[..., 0] + 1j * window[..., 1]
        return scipy.fft.fft2(windows)

    def best(self, points: Outline, count: int) -> list[Float[ndarray, " 4"]]:
        """The best places (as `_Fit.pull`) that differ by more than 1.2 % of the picture, best first."""
        reach, shifts = self._reach_px, np.arange(-self._shifts_px, self._shifts_px + 1)
        surfaces = self._surfaces(points).reshape(*self._grid_hw, 2 * reach + 1, 2 * reach + 1)
        found: list[tuple[float, ndarray]] = []
        stretches = np.linspace(-MAX_ZOOM, MAX_ZOOM, 15)
        down_first, right_first = (np.arange(count)[:, None] for count in self._grid_hw)
        for tall in stretches:
            rows = np.clip(reach + np.rint(tall * self._centres[0]).astype(int)[:, None] + shifts, 0, 2 * reach)
            bands = surfaces.swapaxes(1, 2)[down_first, rows].sum(axis=0)  # shifts, tiles across, moves right
            for wide in stretches[np.abs(stretches - tall) <= MAX_ASPECT + 0.005]:
                columns = np.clip(reach + np.rint(wide * self._centres[1]).astype(int)[:, None] + shifts, 0, 2 * reach)
                total = bands[:, right_first, columns].sum(axis=1)
                down, right = np.unravel_index(int(total.argmax()), total.shape)
                place = np.array([shifts[down] * self._step, shifts[right] * self._step, tall, wide], np.float64)
                found.append((float(total[down, right]), place))
        found.sort(key=lambda one: -one[0])
        kept: list[ndarray] = []
        half, apart = np.array(self._scene.size_hw) / 2, 0.012 * max(self._scene.size_hw)
        for _, place in found:
            if all((np.abs(place - other)[:2] + np.abs(place - other)[2:] * half).max() > apart for other in kept):
                kept.append(place)
            if len(kept) == count:
                break
        return kept

    def _surfaces(self, points: Outline) -> Float[ndarray, "n s s"]:
        """The correlation of each tile of the outline with the photo, over all moves within reach."""
        cells = np.floor((points.place + np.array(self._scene.size_hw) / 2) / self._step).astype(int)
        rows, columns = (np.clip(cells[:, i], 0, self._size_hw[i] - 1) for i in (0, 1))
        drawn = np.zeros(self._size_hw, np.complex64)
        np.add.at(drawn, (rows, columns), (points.weight * points.direction).astype(np.complex64))
        # Saturates: a pixel of this size holds one border, however many points lie on it.
        drawn /= np.abs(drawn) + np.float32(0.25 * self._step)
        sought = np.zeros((len(self._tiles), *self._padded), np.complex64)
        for number, (top, bottom, left, right) in enumerate(self._tiles):
            sought[number, : bottom - top, : right - left] = drawn[top:bottom, left:right]
        surfaces = scipy.fft.ifft2(self._spectrum * np.conj(scipy.fft.fft2(sought))).real
        return np.ascontiguousarray(surfaces[:, : 2 * self._reach_px + 1, : 2 * self._reach_px + 1])


def _best(scene: Scene, points: Outline, starts: list[Float[ndarray, " 4"]], bars: Bars) -> _Fit:
    """The best of the places near these, but one that no drift leads to only if there is no other."""
    fits = [_approach(scene, points, start, bars) for start in starts]
    return max(fits, key=lambda fit: fit.agreement - (not _drift(scene, fit.pull).allowed))


def _solve_bars(bars: Bars) -> Float[ndarray, " 4"]:
    """The place that the bars alone ask for."""
    return _solve(np.zeros((0, 4)), np.zeros(0), np.zeros(0), np.zeros(4), bars) * (1, 1, 0.01, 0.01)


def _believable(bars: Bars, longest_px: float) -> bool:
    """Whether the picture between the bars could be the whole photo, in its own shape."""
    pull = _solve_bars(bars)
    left_px = [abs(pull[axis] + (1 + pull[2 + axis]) * begins - ends) for axis, begins, ends in bars]
    tall, wide = np.log1p(np.maximum(pull[2:], -0.9))
    return max(left_px) < 0.015 * longest_px and abs(tall - wide) < _BELIEVABLE[1] and -0.1 < tall < 0.7


def _approach(scene: Scene, points: Outline, start: Float[ndarray, " 4"], bars: Bars) -> _Fit:
    """From the grid of the search to within a few pixels."""
    level = 1 if max(scene.size_hw) > 600 else 0
    offsets_px = np.arange(-10, 11) * float(2**level) * 0.5
    fit = _refine(scene, points, start, level, offsets_px, (5.0, 3.0), bars)
    return _refine(scene, points, fit.pull, level, offsets_px, (3.0, 2.0), bars)


def _refine(
    scene: Scene,
    points: Outline,
    start: Float[ndarray, " 4"],
    level: int,
    offsets_px: Float[ndarray, " m"],
    sigmas_px: tuple[float, ...],
    bars: Bars,
) -> _Fit:
    """A better place, near the first one: expectation maximisation while the reach of each point shrinks."""
    profile = scene.profiles(points, start, level, offsets_px)
    # How much clearer than all that lies within reach: 1 is chance.
    clearer = profile / (profile.mean(axis=1, keepdims=True) + np.float32(_CHANCE))
    offsets = offsets_px.astype(np.float32)
    across = np.concatenate([points.normal, points.normal * points.place / 100], axis=1)
    move = np.zeros(4)
    sigma_px = 1.0
    for sigma_px in sigmas_px:
        for _ in range(8):
            there, confidence, _ = _expect(clearer, offsets, across @ move, sigma_px)
            before, move = move, _solve(across, points.weight * confidence, there, start, bars)
            if np.abs(move - before).max() < 0.01:
                break
    there, confidence, ratio = _expect(clearer, offsets, across @ move, sigma_px)
    agreement = np.average(np.log(0.3 + 0.7 * ratio), weights=points.weight)
    pull = start + move * (1, 1, 0.01, 0.01)
    weight = points.weight * confidence
    return _Fit(pull, float(agreement), _covariance(scene, points, across, weight, there - across @ move))


def _expect(
    clearer: Float[ndarray, "n m"], offsets_px: Float[ndarray, " m"], at_px: Float[ndarray, " n"], sigma_px: float
) -> tuple[Float[ndarray, " n"], Float[ndarray, " n"], Float[ndarray, " n"]]:
    """(where each point's edge lies, how sure that is, how much clearer than chance), looking near ``at_px``."""
    middle = np.clip(at_px, offsets_px[0], offsets_px[-1]).astype(np.float32)
    near = np.exp(-0.5 * ((offsets_px - middle[:, None]) / np.float32(sigma_px)) ** 2)
    seen = clearer * near
    total = seen.sum(axis=1)
    ratio = total / (near.sum(axis=1) + np.float32(1e-9))
    return seen @ offsets_px / (total + np.float32(1e-9)), ratio / (ratio + 1), ratio


def _solve(
    across: Float[ndarray, "n 4"],
    weight: Float[ndarray, " n"],
    there_px: Float[ndarray, " n"],
    start: Float[ndarray, " 4"],
    bars: Bars,
) -> Float[ndarray, " 4"]:
    """Weighted least squares, with what is known beforehand: zooms are of 4 % or so, aspects of 1 %, shifts of 14 px.

    Where a bar begins, the photo ends: that is sharper than any border, so long as it is not far from what borders say.
    """
    prior = np.diag([1 / 14**2, 1 / 14**2, 1 / 5.6**2, 1 / 5.6**2])
    prior[2:, 2:] += np.array([[1, -1], [-1, 1]]) / 1.3**2
    prior *= _CORRELATED
    already = start * (1, 1, 100, 100)
    weighted = across * weight[:, None]
    matrix, target = weighted.T @ across + prior, weighted.T @ there_px - prior @ already
    for axis, begins, ends in bars:
        row = np.zeros(4)
        row[axis], row[2 + axis] = 1, begins / 100
        matrix += np.outer(row, row) * (20 + weight.sum())
        target += row * (ends - begins - row @ already) * (20 + weight.sum())
    return np.linalg.solve(matrix, target)


def _covariance(
    scene: Scene,
    points: Outline,
    across: Float[ndarray, "n 4"],
    weight: Float[ndarray, " n"],
    left_px: Float[ndarray, " n"],
) -> Float[ndarray, "4 4"]:
    """Of the four numbers, from how much 6 x 6 parts of the picture disagree (a sandwich estimate by clusters)."""
    cells = np.clip(((points.place / np.array(scene.size_hw) + 0.5) * 6).astype(int), 0, 5)
    part = cells[:, 0] * 6 + cells[:, 1]
    pulls = np.stack([np.bincount(part, across[:, i] * weight * left_px, minlength=36) for i in range(4)], axis=1)
    curvature = (across * weight[:, None]).T @ across + 1e-3 * np.eye(4)
    inverse = np.linalg.inv(curvature)
    # Half a pixel, common to a whole part, is what the scatter may miss where few parts hold anything.
    common = 0.25 * float(np.bincount(part, weight, minlength=36).max())
    covariance = inverse @ (pulls.T @ pulls + common * curvature) @ inverse
    unit = np.diag([1.0, 1.0, 0.01, 0.01])
    return unit @ covariance @ unit


def _expected_error(scene: Scene, points: Outline, covariance: Float[ndarray, "4 4"]) -> float:
    """Root mean square over the answer's borders, in pixels of the answer."""
    variance = 0.0
    for axis in (0, 1):
        place = points.place[:, axis]
        shift, both, scale = (covariance[i, j] for i, j in ((axis, axis), (axis, 2 + axis), (2 + axis, 2 + axis)))
        variance += float(np.mean(shift + 2 * both * place + scale * place**2)) / scene.share[axis] ** 2
    return float(np.sqrt(max(variance, 0.0)))


def _drift(scene: Scene, pull: Float[ndarray, " 4"]) -> Drift:
    """The same seen from the other side, in pixels of the answer: where the photo's points were painted."""
    scale = 1 / (1 + pull[2:])
    shift = -pull[:2] * scale / np.array(scene.share)
    return Drift((float(shift[0]), float(shift[1])), (float(scale[0]), float(scale[1])))
