"""How far a painted answer drifted from its photo: shift, zoom and aspect, found from what the two have in common.

One picture is a photo, the other a depth map, a normal map or flat colours: brightness and colour mean nothing across
the two, but borders of things lie in the same places and run the same way. So both are turned into fields of thin edges
that know their direction but not their sign, and the fields are correlated, coarse to fine:

    256 px   every zoom and aspect of a grid: one Fourier correlation over the whole picture each
    512 px   tiles, each with its own correlation surface; four numbers maximise the sum of all surfaces
    1024 px  the same again, twice, down to a tenth of a pixel

A tile that holds a single straight border cannot say where along the border it lies; summing surfaces instead of voting
with their peaks lets it say only what it knows.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import scipy.fft
import scipy.ndimage
import scipy.optimize
from jaxtyping import Complex, Float, UInt8
from numpy import ndarray

from distill.teachers.edges import Drift, Scene

MAX_SHIFT = 0.028
"""Largest shift that is looked for, as a share of the answer's longer side: 24 px of 1000, and some margin."""
ZOOMS = np.linspace(0.92, 1.08, 9)
ASPECTS = (0.98, 1.0, 1.02)
_COARSE_PX = 256
_STAGES = ((512, 64, 10, True), (1024, 128, 8, False), (1024, 128, 5, False))
"""Longer side, tile and reach in pixels, and whether all combinations are tried before the ascent."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """How well photo and answer agree, at the drift that was found.

    Attributes:
        drift: What was found.
        residual_px: Median over the picture's tiles of what is left, in pixels of the answer.
        contrast: Agreement in standard deviations above what wrong placements give.
        contrast_unmended: The same at no drift at all.
        gain: Correlation of the finest edges over what it is at no drift; 1 says that mending wins nothing.
        structure: Share of the answer's pixels that hold an edge; without any there is nothing to compare.
    """

    drift: Drift
    residual_px: float
    contrast: float
    contrast_unmended: float
    gain: float
    structure: float


def find_drift(
    photo: UInt8[ndarray, "h w 3"], answer: UInt8[ndarray, "h2 w2 3"], scale_hw: tuple[float, float]
) -> Evidence:
    """Where the answer was really painted.

    Args:
        photo: Any size.
        answer: Painted over the photo.
        scale_hw: Answer pixels per photo pixel by the canvas rule; both share their centres.
    """
    scene = Scene(photo, answer, scale_hw)
    drift = _search_whole(scene)
    residual_px = 0.0
    for longest_px, tile_px, reach_px, exhaustive in _STAGES:
        drift, residual_px = _search_tiles(scene, drift, longest_px, tile_px, reach_px, exhaustive)
    edges, finest = scene.answer_edges(512), scene.answer_edges(1024)
    mended, unmended = (np.vdot(scene.photo_edges(at, 1024), finest).real for at in (drift, Drift()))
    return Evidence(
        drift,
        residual_px,
        _contrast(scene.photo_edges(drift, 512), edges),
        _contrast(scene.photo_edges(Drift(), 512), edges),
        float(mended / max(unmended, 0.01 * mended, 1e-9)),
        float(np.mean(np.abs(edges) > 0.1)),
    )


def _search_whole(scene: Scene) -> Drift:
    """The best of a grid of zooms and aspects, each with its best shift."""
    answer, photo = scene.answer_edges(_COARSE_PX), scene.photo_edges(Drift(), _COARSE_PX)
    size_hw = answer.shape
    share = max(size_hw) / max(scene.size_hw)
    reach = int(np.ceil(MAX_SHIFT * max(size_hw))) + 1
    padded = [scipy.fft.next_fast_len(side + reach) for side in size_hw]
    spectrum = scipy.fft.fft2(answer, padded)
    parts = np.stack([photo.real, photo.imag], axis=-1)
    best, found = -np.inf, Drift()
    for zoom in ZOOMS:
        for aspect in ASPECTS:
            scale_hw = float(zoom / aspect**0.5), float(zoom * aspect**0.5)
            matrix = Drift(scale_hw=scale_hw).matrix(size_hw, size_hw, (1.0, 1.0))
            drawn = cv2.warpAffine(parts, matrix, size_hw[::-1], flags=cv2.INTER_LINEAR)
            field = drawn[..., 0] + 1j * drawn[..., 1]
            surface = scipy.fft.ifft2(spectrum * np.conj(scipy.fft.fft2(field, padded))).real
            near = np.roll(surface, (reach, reach), axis=(0, 1))[: 2 * reach + 1, : 2 * reach + 1]
            near = near / (np.linalg.norm(field) + 1e-9)
            down, right = np.unravel_index(int(near.argmax()), near.shape)
            if near[down, right] > best:
                best = float(near[down, right])
                found = Drift(((int(down) - reach) / share, (int(right) - reach) / share), scale_hw)
    return found


def _search_tiles(
    scene: Scene, drift: Drift, longest_px: int, tile_px: int, reach_px: int, exhaustive: bool
) -> tuple[Drift, float]:
    """(better drift, residual in pixels of the answer): two shifts and two stretches that suit all tiles best."""
    surfaces, centres = _tile_surfaces(
        scene.answer_edges(longest_px), scene.photo_edges(drift, longest_px), tile_px, reach_px
    )
    start = _try_all(surfaces, centres, reach_px) if exhaustive else np.zeros(4)
    # Four times finer, by cubic splines: straight lines between whole pixels would pull every answer to whole pixels.
    fine = (8 * reach_px + 1) / (2 * reach_px + 1)
    surfaces = scipy.ndimage.zoom(surfaces, (1, fine, fine), order=3)
    numbers = np.arange(len(surfaces))

    def places(move: ndarray) -> ndarray:
        return 4 * (reach_px + move[:2] + move[2:] * centres / 100)

    def loss(move: ndarray) -> float:
        rows, columns = places(move).T
        return -float(scipy.ndimage.map_coordinates(surfaces, [numbers, rows, columns], order=1, mode="nearest").sum())

    simplex = start + np.vstack([np.zeros(4), np.diag([1.5, 1.5, 1.0, 1.0])])
    options = {"initial_simplex": simplex, "xatol": 0.01, "fatol": 1e-6, "maxiter": 400}
    move = scipy.optimize.minimize(loss, start, method="Nelder-Mead", options=options).x
    share = [side / full for side, full in zip(scene.reduced_hw(longest_px), scene.size_hw, strict=True)]
    stretch = 1 + move[2] / 100, 1 + move[3] / 100
    better = drift.then((move[0] / share[0], move[1] / share[1]), stretch)
    return better, _left_over(surfaces, places(move)) / 4 / share[0]


def _tile_surfaces(
    answer: Complex[ndarray, "h w"], photo: Complex[ndarray, "h w"], tile_px: int, reach_px: int
) -> tuple[Float[ndarray, "n s s"], Float[ndarray, "n 2"]]:
    """(correlation of each tile over moves of up to ``reach_px``, tile centres from the picture's centre)."""
    edges = [np.linspace(0, side, max(2, round(side / tile_px)) + 1).astype(int) for side in answer.shape]
    padded = [scipy.fft.next_fast_len(int(np.diff(edge).max()) + 2 * reach_px) for edge in edges]
    wide = np.pad(answer, reach_px)
    tiles = [(top, bottom, left, right) for top, bottom in _spans(edges[0]) for left, right in _spans(edges[1])]
    searched = np.zeros((len(tiles), *padded), np.complex64)
    sought = np.zeros_like(searched)
    for number, (top, bottom, left, right) in enumerate(tiles):
        window = wide[top : bottom + 2 * reach_px, left : right + 2 * reach_px]
        searched[number, : window.shape[0], : window.shape[1]] = window
        sought[number, : bottom - top, : right - left] = photo[top:bottom, left:right]
    surfaces = scipy.fft.ifft2(scipy.fft.fft2(searched) * np.conj(scipy.fft.fft2(sought))).real
    surfaces = surfaces[:, : 2 * reach_px + 1, : 2 * reach_px + 1]
    norm = float(np.linalg.norm(answer) * np.linalg.norm(photo)) + 1e-9
    boxes = np.array(tiles, np.float64)
    centres = np.stack([boxes[:, :2].mean(axis=1), boxes[:, 2:].mean(axis=1)], axis=1) - np.array(answer.shape) / 2
    return surfaces / norm, centres


def _spans(edges: ndarray) -> list[tuple[int, int]]:
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def _try_all(surfaces: Float[ndarray, "n s s"], centres: Float[ndarray, "n 2"], reach_px: int) -> Float[ndarray, " 4"]:
    """The best of all whole-pixel shifts and of stretches of up to 2 %; 0.2 s are saved by rounding to whole pixels."""
    moves = np.arange(-reach_px + 2, reach_px - 1)
    numbers = np.arange(len(surfaces))[:, None, None]
    best, found = -np.inf, np.zeros(4)
    for tall in np.linspace(-2, 2, 9):
        rows = np.clip(reach_px + np.rint(tall * centres[:, :1] / 100).astype(int) + moves, 0, 2 * reach_px)
        for wide in np.linspace(-2, 2, 9):
            columns = np.clip(reach_px + np.rint(wide * centres[:, 1:] / 100).astype(int) + moves, 0, 2 * reach_px)
            total = surfaces[numbers, rows[:, :, None], columns[:, None, :]].sum(axis=0)
            down, right = np.unravel_index(int(total.argmax()), total.shape)
            if total[down, right] > best:
                best, found = float(total[down, right]), np.array([moves[down], moves[right], tall, wide], np.float64)
    return found


def _left_over(surfaces: Float[ndarray, "n s s"], places: Float[ndarray, "n 2"]) -> float:
    """Median over the tiles that hold something clear: how far the nearest place is that suits a tile as well as any.

    A straight border suits a whole line of places; the distance to the line is what counts.
    """
    peaks = surfaces.max(axis=(1, 2))
    distances = []
    for number in np.flatnonzero(peaks >= 0.3 * peaks.max()):
        as_good = np.argwhere(surfaces[number] >= 0.95 * peaks[number])
        distances.append(float(np.linalg.norm(as_good - places[number], axis=1).min()))
    return float(np.median(distances))


def _contrast(photo: Complex[ndarray, "h w"], answer: Complex[ndarray, "h w"]) -> float:
    """Correlation in place, in standard deviations above that of 24 wrong places 12 to 40 px off."""
    values = []
    for turn in range(24):
        angle, radius = 2 * np.pi * turn / 24, 12 + 14 * (turn % 3)
        moved = np.roll(photo, (round(radius * np.sin(angle)), round(radius * np.cos(angle))), axis=(0, 1))
        values.append(float(np.vdot(moved, answer).real))
    return float((np.vdot(photo, answer).real - np.mean(values)) / (np.std(values) + 1e-9))
