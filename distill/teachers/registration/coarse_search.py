"""Photo and generated image on one grid, and the exhaustive search over transforms at a coarse size."""

from __future__ import annotations

import cv2
import numpy as np
import scipy.fft
from jaxtyping import Complex, Float, Int, UInt8
from numpy import ndarray
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import maximum_filter

from distill.teachers.registration.edges import EdgePoints, edge_field, edge_points
from distill.teachers.registration.letterbox import letterbox_edges, letterbox_lines

# tuned: benchmarks/registration.py; reasons: docs/registration.md
MAX_SHIFT = 0.06
"""Largest shift of the search, as a fraction of the image's longer side."""
MAX_ZOOM = 0.12
MAX_ASPECT = 0.03
LONGEST_PX = 1024
_COUNTED_MOST = 3000
"""Pixels of borders, at full size, that count at most: textures have many, with correlated errors."""
_COARSE_PX = 160
_TILE_PX = 20
_WIDEST = 0.2
"""Largest deviation of the scale that is searched up to the image's border."""
_PEAKS = 200
"""Number of peaks over all transforms that become candidates: a contour fits the same place at many zooms."""
_SMOOTH = np.array([0.125, 0.75, 0.125], np.float32)
"""Blur of a pyramid level: with the mean of four pixels, a Gaussian of about one pixel of the finer level."""
_LEVELS_SIDE = 4
"""Sides divide by this, so that the pyramid's levels have exactly half the size of the level before."""
_APART = 0.015
"""Candidates that move the edge points by less than this fraction of the longer side are merged."""

LetterboxEdges = list[tuple[int, float, float]]
"""(axis, start of a bar in the image, end of the photo on the canvas), from the center, in pixels."""


class RegistrationPair:
    """Photo and generated image at the image's scale, no finer than either of them.

    Attributes:
        size_hw: Size at which they are compared.
        finer: Size of the comparison by `LONGEST_PX` over this one.
        edge_points: Of the generated image.
        border_px: Weighted length of its borders.
        share: Pixels of the comparison per pixel of the generated image, (vertical, horizontal).
        letterbox: Its bars.
    """

    def __init__(
        self,
        photo: UInt8[ndarray, "h w 3"],
        answer: UInt8[ndarray, "h2 w2 3"],
        scale_hw: tuple[float, float],
        longest_px: int = LONGEST_PX,
    ) -> None:
        full_hw = answer.shape[:2]
        # Above 1.5 times the photo's resolution there is no more detail.
        share = min(1.0, longest_px / max(full_hw), 1.5 / max(scale_hw))
        self.size_hw = max(8, round(full_hw[0] * share)), max(8, round(full_hw[1] * share))
        reduced, self.share = _reduced(answer, self.size_hw)
        lines = letterbox_lines(answer)
        points = edge_points(reduced, lines, max(self.share))
        # A row or column that does not fill a pixel of the reduced image moves its center.
        moved = np.array(self.size_hw) / 2 - np.array(full_hw) / 2 * self.share
        self.edge_points = EdgePoints(points.position + moved, points.normal, points.weight)
        # Independent of the size at which the image is compared.
        self.finer = min(1.0, LONGEST_PX / max(full_hw), 1.5 / max(scale_hw)) / share
        counted = min(_COUNTED_MOST, self.finer * len(points))
        self.border_px = float(points.weight.mean()) * counted if len(points) else 0.0
        wanted_hw = [scale_hw[i] * self.share[i] * photo.shape[i] for i in (0, 1)]
        small, shrunk_hw = _reduced(photo, (max(8, round(wanted_hw[0])), max(8, round(wanted_hw[1]))))
        self._center_hw = [photo.shape[i] / 2 * shrunk_hw[i] for i in (0, 1)]
        # Pixels of the small photo per pixel of the grid: 1, but for rounding.
        self._zoom_hw = np.array([shrunk_hw[i] / (scale_hw[i] * self.share[i]) for i in (0, 1)])
        self._levels = [_padded(edge_field(small))]
        self.letterbox: LetterboxEdges = [
            (axis, place * self.share[axis], float(wanted_hw[axis] / 2 * np.sign(place)))
            for axis, place in letterbox_edges(lines, full_hw, small)
        ]

    def _edges(self, level: int) -> Float[ndarray, "h w 2"]:
        """The photo's edges at a pyramid level; each level halves the size."""
        while len(self._levels) <= level:
            finer = self._levels[-1]
            half_hw = [(side + 1) // 2 for side in finer.shape[:2]]
            half = cv2.resize(finer, half_hw[::-1], interpolation=cv2.INTER_AREA)
            smooth: Float[ndarray, "h w 2"] = cv2.sepFilter2D(half, -1, _SMOOTH, _SMOOTH)
            self._levels.append(smooth)
        return self._levels[level]

    def coarse_edges(self, size_hw: tuple[int, int], margin_px: int) -> Float[ndarray, "h w 2"]:
        """The photo's edges around the image's canvas, with the canvas at this size and a margin around it."""
        level = max(0, int(np.log2(max(self.size_hw) / max(size_hw))))
        edges, sides = self._edges(level), np.array(size_hw) + 2 * margin_px
        step = np.array(self.size_hw) / size_hw * self._zoom_hw / 2**level
        edges = cv2.GaussianBlur(edges, (0, 0), 0.5 * float(step.max()))
        offset = np.array(self._center_hw) / 2**level - sides / 2 * step + step / 2 - 0.5
        matrix = np.array([[step[1], 0, offset[1]], [0, step[0], offset[0]]])
        found: ndarray = cv2.warpAffine(
            edges, matrix, (int(sides[1]), int(sides[0])), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        return found

    def edge_profiles(
        self,
        shown: Float[ndarray, "n 2"],
        normal: Float[ndarray, "n 2"],
        level: int,
        offsets_px: Float[ndarray, " m"],
    ) -> Float[ndarray, "n m"]:
        """Strength of photo edges of the same direction along the normals of edge points, around ``shown``."""
        step = 2**level
        center, steps = shown * (self._zoom_hw / step), (normal / step).astype(np.float32)
        center += np.array(self._center_hw) / step - 0.5
        center, offsets = center.astype(np.float32), offsets_px.astype(np.float32)
        rows, columns = (steps[:, axis, None] * offsets for axis in (0, 1))
        rows += center[:, :1]
        columns += center[:, 1:]
        found = cv2.remap(self._edges(level), columns, rows, interpolation=cv2.INTER_LINEAR)
        # Twice the angle, as in the field.
        down, right = normal.astype(np.float32).T
        profiles: ndarray = found[..., 0] * (right * right - down * down)[:, None]
        profiles += found[..., 1] * (2 * right * down)[:, None]
        np.maximum(profiles, 0, out=profiles)
        return profiles


def _padded(field: Complex[ndarray, "h w"]) -> Float[ndarray, "h2 w2 2"]:
    """The field as pairs of numbers, without edges at its frame, with zeros below and on the right."""
    field[:2], field[-2:], field[:, :2], field[:, -2:] = 0, 0, 0, 0
    down, right = (-side % _LEVELS_SIDE for side in field.shape)
    padded: ndarray = cv2.copyMakeBorder(
        field.view(np.float32).reshape(*field.shape, 2), 0, down, 0, right, cv2.BORDER_CONSTANT, value=0
    )
    return padded


def _reduced(
    rgb: UInt8[ndarray, "h w 3"], size_hw: tuple[int, int]
) -> tuple[UInt8[ndarray, "h2 w2 3"], tuple[float, float]]:
    """(image of this size, its pixels per given pixel): averages of whole pixels, then interpolation.

    Averages over parts of pixels would take several times longer.
    """
    factor = max(1, min(rgb.shape[i] // size_hw[i] for i in (0, 1)))
    cut_hw = rgb.shape[0] // factor * factor, rgb.shape[1] // factor * factor
    if factor > 1:
        whole = rgb[: cut_hw[0], : cut_hw[1]]
        rgb = cv2.resize(whole, (cut_hw[1] // factor, cut_hw[0] // factor), interpolation=cv2.INTER_AREA)
    small = cv2.resize(rgb, size_hw[::-1], interpolation=cv2.INTER_LINEAR)
    return small, (size_hw[0] / cut_hw[0], size_hw[1] / cut_hw[1])


def shown_at(position: Float[ndarray, "*t n 2"], params: Float[ndarray, "*t 8"]) -> Float[ndarray, "*t n 2"]:
    """Positions in the photo of points of the image; ``params`` as in `TransformFit` of `.refine`."""
    shift, scale, slant, perspective = (params[..., None, first : first + 2] for first in (0, 2, 4, 6))
    shown: ndarray = position * (1 + scale + (position * perspective).sum(axis=-1, keepdims=True))
    shown += shift
    shown += position[..., ::-1] * slant
    return shown


class CoarseSearch:
    """Exhaustive search over shift, zoom, aspect, rotation and shear at a coarse size.

    Small tiles of the image are correlated with the photo around them, once; each transform adds up the results of
    the tiles at the shifts that it gives them.
    """

    def __init__(self, pair: RegistrationPair) -> None:
        self._pair = pair
        self._step = max(1.0, max(pair.size_hw) / _COARSE_PX)
        self._size_hw = tuple(max(2, round(side / self._step)) for side in pair.size_hw)
        self._tile_hw = [-(-side // max(1, round(side / _TILE_PX))) for side in self._size_hw]
        self._grid_hw = [-(-side // tile) for side, tile in zip(self._size_hw, self._tile_hw, strict=True)]
        longest = max(self._size_hw)
        self._shift_px = int(np.ceil(MAX_SHIFT * longest))
        self._reach_px = self._shift_px + int(np.ceil(_WIDEST / 2 * longest))
        self._padded = [scipy.fft.next_fast_len(tile + 2 * self._reach_px) for tile in self._tile_hw]
        tops, lefts = (
            (np.arange(count) + 0.5) * tile for count, tile in zip(self._grid_hw, self._tile_hw, strict=True)
        )
        centers = np.stack(np.meshgrid(tops, lefts, indexing="ij"), axis=-1).reshape(-1, 2)
        self._centers = centers - np.array(self._size_hw) / 2
        margin_px = self._reach_px + max(self._tile_hw)
        edges = pair.coarse_edges(self._size_hw, margin_px).view(np.complex64)[..., 0]
        span = [tile + 2 * self._reach_px for tile in self._tile_hw]
        first = margin_px - self._reach_px
        windows = sliding_window_view(edges, span)[first :: self._tile_hw[0], first :: self._tile_hw[1]][
            : self._grid_hw[0], : self._grid_hw[1]
        ].reshape(-1, *span)
        self._spectrum = scipy.fft.fft2(windows, self._padded)

    def best(
        self, surfaces: Float[ndarray, "t s s"], points: EdgePoints, count: int, transforms: Float[ndarray, "n 8"]
    ) -> tuple[float, list[Float[ndarray, " 8"]]]:
        """(score, best candidates as `distill.teachers.registration.refine.TransformFit.params`, best first).

        Candidates that move the edge points to nearly the same positions are merged: for a small object, zoom and shift
        are ambiguous.
        """
        # The perspective of the given transforms is its change of scale over half of the longer side.
        transforms = transforms * ([1.0] * 6 + [2 / max(self._pair.size_hw)] * 2)
        totals = self._totals(surfaces, transforms)
        # A small object has the same few positions at every zoom: all peaks, not only the highest of each zoom.
        peaks = np.nonzero(totals == maximum_filter(totals, size=(1, 3, 3)))
        first = np.argsort(-totals[peaks], kind="stable")[:_PEAKS]
        which, down, right = (numbers[first] for numbers in peaks)
        shifts = (np.stack([down, right], axis=1) - self._shift_px) * self._step
        low, high = np.quantile(points.position, (0.02, 0.98), axis=0)
        corners = np.array([[i, j] for i in (low[0], high[0]) for j in (low[1], high[1])])
        shown = shifts[:, None] + shown_at(corners, transforms)[which]
        apart_px, kept = _APART * max(self._pair.size_hw), list[int]()
        for number in range(len(first)):
            if not kept or np.abs(shown[kept] - shown[number]).max(axis=(1, 2)).min() > apart_px:
                kept.append(number)
            if len(kept) == count:
                break
        return float(totals.max()), [np.concatenate([shifts[i], transforms[which[i]][2:]]) for i in kept]

    def _totals(self, surfaces: Float[ndarray, "t s s"], transforms: Float[ndarray, "n 8"]) -> Float[ndarray, "n s s"]:
        """Score of every transform at every shift."""
        surfaces = sliding_window_view(surfaces, (2 * self._shift_px + 1,) * 2, axis=(1, 2))
        most = self._reach_px - self._shift_px
        centers = self._centers * self._step
        moves = shown_at(centers, transforms) - centers
        places: Int[ndarray, "n t 2"] = np.clip(np.rint(moves / self._step).astype(int), -most, most) + most
        tiles = np.flatnonzero(surfaces[:, most, most].any(axis=(1, 2)))
        return np.stack([surfaces[tiles, at[tiles, 0], at[tiles, 1]].sum(axis=0) for at in places])

    def surfaces(self, points: EdgePoints) -> Float[ndarray, "n s s"]:
        """Correlation of each tile of edge points with the photo, over all shifts within reach."""
        rows, columns = self._grid_hw
        drawn = np.zeros((rows * self._tile_hw[0], columns * self._tile_hw[1]), np.complex64)
        cells = np.floor((points.position + np.array(self._pair.size_hw) / 2) / self._step).astype(np.int64)
        cells = np.clip(cells, 0, np.array(self._size_hw) - 1)
        flat, values = cells[:, 0] * drawn.shape[1] + cells[:, 1], points.weight * points.direction
        for part, numbers in ((drawn.real, values.real), (drawn.imag, values.imag)):
            part[:] = np.bincount(flat, numbers, drawn.size).reshape(drawn.shape)
        # Saturates: a pixel of this size contains one border, however many points are in it.
        drawn /= np.abs(drawn) + np.float32(0.25 * self._step)
        tiles = drawn.reshape(rows, self._tile_hw[0], columns, self._tile_hw[1]).swapaxes(1, 2)
        sought = scipy.fft.fft2(tiles.reshape(-1, *self._tile_hw), self._padded)
        surfaces = scipy.fft.ifft2(self._spectrum * np.conj(sought)).real
        side = 2 * self._reach_px + 1
        return np.ascontiguousarray(surfaces[:, :side, :side])


def _drifts() -> Float[ndarray, "n 8"]:
    """Transforms in the range of generator drift: zoom and aspect."""
    steps = np.linspace(-MAX_ZOOM, MAX_ZOOM, 17).tolist()
    return np.array(
        [_transform(tall, wide) for tall in steps for wide in steps if abs(tall - wide) <= MAX_ASPECT + 0.005]
    )


def _distortions() -> Float[ndarray, "n 8"]:
    """Transforms beyond that: rotations, shears, larger zooms, stretches, perspectives."""
    found = [_transform(zoom, zoom) for zoom in (-0.28, -0.24, -0.2, -0.16, 0.16, 0.2)]
    for sign in (-1, 1):
        for turn_deg in (1.5, 3.0, 4.5, 6.0, 8.0):
            turn = sign * float(np.radians(turn_deg))
            found += [_transform(zoom, zoom, turn, -turn) for zoom in (-0.07, 0.0)]
        for shear in (0.04, 0.08, 0.12):
            found += [_transform(slant=sign * shear), _transform(lean=sign * shear)]
        for stretch in (0.08, 0.12):
            found += [_transform(tall=sign * stretch), _transform(wide=sign * stretch)]
        for change in (0.03, 0.06):
            found += [_transform(back=sign * change), _transform(aside=sign * change)]
    return np.array(found)


def _transform(
    tall: float = 0.0, wide: float = 0.0, slant: float = 0.0, lean: float = 0.0, back: float = 0.0, aside: float = 0.0
) -> list[float]:
    return [0.0, 0.0, tall, wide, slant, lean, back, aside]


DRIFTS, DISTORTIONS = _drifts(), _distortions()
SMALL_DRIFTS = DRIFTS[np.abs(DRIFTS).max(axis=1) < 0.7 * MAX_ZOOM]
"""Drifts for flipped images: with more of them, anything fits."""
