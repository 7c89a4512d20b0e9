"""Photo and generated image on one grid, and the exhaustive search over transforms at a coarse size."""

from __future__ import annotations

import cv2
import numpy as np
import scipy.fft
from jaxtyping import Complex, Float, UInt8
from numpy import ndarray
from scipy.ndimage import maximum_filter

from distill.teachers.registration.edges import EdgePoints, edge_field, edge_points
from distill.teachers.registration.letterbox import letterbox_edges

# tuned: benchmarks/registration.py; reasons: docs/registration.md
MAX_SHIFT = 0.032
"""Largest shift of the search, as a fraction of the image's longer side: 24 px of 1000, and some margin."""
MAX_ZOOM = 0.085
MAX_ASPECT = 0.03
LONGEST_PX = 1024
_MARGIN = 0.09
"""Photo around the canvas, as a fraction of the longer side; drifted images show it."""
_COARSE_PX = 280
_TILE_PX = 32
_PEAKS = 500
"""Number of peaks over all zooms that become candidates: each position of a contour is a peak at many zooms."""
_APART = 0.012
"""Candidates that move the edge points by less than this fraction of the longer side are merged."""

LetterboxEdges = list[tuple[int, float, float]]
"""(axis, start of a bar in the image, end of the photo on the canvas), from the center, in pixels."""


class RegistrationPair:
    """Photo and generated image on the image's grid with a margin, no finer than either of them."""

    def __init__(
        self, photo: UInt8[ndarray, "h w 3"], answer: UInt8[ndarray, "h2 w2 3"], scale_hw: tuple[float, float]
    ) -> None:
        full_hw = answer.shape[:2]
        # Above 1.5 times the photo's resolution there is no more detail.
        share = min(1.0, LONGEST_PX / max(full_hw), 1.5 / max(scale_hw))
        self.size_hw = max(8, round(full_hw[0] * share)), max(8, round(full_hw[1] * share))
        self.share = self.size_hw[0] / full_hw[0], self.size_hw[1] / full_hw[1]
        self.answer = cv2.resize(answer, self.size_hw[::-1], interpolation=cv2.INTER_AREA)
        self.margin = int(np.ceil(_MARGIN * max(self.size_hw)))
        self.edge_points = edge_points(self.answer)
        scale_hw = scale_hw[0] * self.share[0], scale_hw[1] * self.share[1]
        small_hw = [max(8, round(photo.shape[i] * min(1.0, scale_hw[i]))) for i in (0, 1)]
        small = cv2.resize(photo, small_hw[::-1], interpolation=cv2.INTER_AREA)
        scale_hw = scale_hw[0] * photo.shape[0] / small_hw[0], scale_hw[1] * photo.shape[1] / small_hw[1]
        photo_ends = [scale_hw[axis] * small_hw[axis] / 2 for axis in (0, 1)]
        self._levels = [self._drawn_edges(small, scale_hw, photo_ends)]
        self.letterbox: LetterboxEdges = [
            (axis, place * self.share[axis], float(photo_ends[axis] * np.sign(place)))
            for axis, place in letterbox_edges(answer, small)
        ]

    def _drawn_edges(
        self, photo: UInt8[ndarray, "h w 3"], scale_hw: tuple[float, float], ends: list[float]
    ) -> Float[ndarray, "h2 w2 2"]:
        """The photo's edges on the grid; 0 beyond its ends, which are ``ends`` from the center."""
        canvas_hw = [side + 2 * self.margin for side in self.size_hw]
        matrix = np.zeros((2, 3))
        for axis in (0, 1):
            matrix[1 - axis, 1 - axis] = scale_hw[axis]
            # OpenCV counts from the center of the first pixel, this module from its edge.
            matrix[1 - axis, 2] = canvas_hw[axis] / 2 - ends[axis] + 0.5 * scale_hw[axis] - 0.5
        drawn = cv2.warpAffine(photo, matrix, canvas_hw[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        field = edge_field(drawn)
        for turned, side, end in zip((field, field.T), canvas_hw, ends, strict=True):
            turned[: max(0, round(side / 2 - end + 2))] = 0
            turned[max(0, round(side / 2 + end - 2)) :] = 0
        return field.view(np.float32).reshape(*field.shape, 2)

    def edges(self, level: int) -> Float[ndarray, "h w 2"]:
        """The photo's edges at a pyramid level; each level halves the size."""
        while len(self._levels) <= level:
            smooth = cv2.GaussianBlur(self._levels[-1], (0, 0), 1.0)
            half_hw = [(side + 1) // 2 for side in smooth.shape[:2]]
            self._levels.append(cv2.resize(smooth, half_hw[::-1], interpolation=cv2.INTER_AREA))
        return self._levels[level]

    def edge_profiles(
        self, points: EdgePoints, params: Float[ndarray, " 4"], level: int, offsets_px: Float[ndarray, " m"]
    ) -> Float[ndarray, "n m"]:
        """Strength of photo edges of the same direction along the normal of each edge point."""
        shown = params[:2] + (1 + params[2:]) * points.position
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
        profiles: ndarray = np.maximum(
            found[..., 0] * direction.real[:, None] + found[..., 1] * direction.imag[:, None], np.float32(0)
        )
        return profiles


class CoarseSearch:
    """Exhaustive search over shift, zoom and aspect at a coarse size."""

    def __init__(self, pair: RegistrationPair) -> None:
        self._pair = pair
        self._level = max(0, int(np.ceil(np.log2(max(pair.size_hw) / _COARSE_PX))))
        self._step = 2**self._level
        self._size_hw = [-(-side // self._step) for side in pair.size_hw]
        longest = max(pair.size_hw) / self._step
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
        self._centers = [(cut[:-1] + cut[1:]) / 2 - side / 2 for cut, side in zip(cuts, self._size_hw, strict=True)]
        self._spectrum = self._photo_spectrum()

    def _photo_spectrum(self) -> Complex[ndarray, "n h w"]:
        """Spectrum of the part of the photo within reach of each tile."""
        edges = self._pair.edges(self._level)
        margin, reach = round(self._pair.margin / self._step), self._reach_px
        wide = np.pad(edges, ((reach, reach), (reach, reach), (0, 0)))
        windows = np.zeros((len(self._tiles), *self._padded), np.complex64)
        for number, (top, bottom, left, right) in enumerate(self._tiles):
            window = wide[margin + top : margin + bottom + 2 * reach, margin + left : margin + right + 2 * reach]
            windows[number, : window.shape[0], : window.shape[1]] = window[..., 0] + 1j * window[..., 1]
        spectrum: ndarray = scipy.fft.fft2(windows)
        return spectrum

    def best(self, points: EdgePoints, count: int) -> list[Float[ndarray, " 4"]]:
        """Best candidates (`distill.teachers.registration.refine.TransformFit.params`), best first.

        Candidates that move the edge points to nearly the same positions are merged: for a small object, zoom and shift
        are ambiguous.
        """
        found, scales = self._totals(points)
        shifts = np.arange(-self._shifts_px, self._shifts_px + 1)
        # A small object has the same few positions at every zoom: all peaks, not only the highest of each zoom.
        peaks = np.nonzero(found == maximum_filter(found, size=(1, 3, 3)))
        first = np.argsort(-found[peaks], kind="stable")[:_PEAKS]
        zoom, down, right = (numbers[first] for numbers in peaks)
        places = np.column_stack([shifts[down] * self._step, shifts[right] * self._step, scales[zoom]])
        places = places.astype(np.float64)
        low, high = np.quantile(points.position, (0.02, 0.98), axis=0)
        apart_px, kept = _APART * max(self._pair.size_hw), list[ndarray]()
        for place in places:
            less = [place - other for other in kept]
            if all(max(np.abs(d[:2] + d[2:] * corner).max() for corner in (low, high)) > apart_px for d in less):
                kept.append(place)
            if len(kept) == count:
                break
        return kept

    def best_one(self, points: EdgePoints) -> tuple[float, Float[ndarray, " 4"]]:
        """(fraction of the edge points on photo edges, best candidate)."""
        found, scales = self._totals(points)
        zoom, down, right = np.unravel_index(int(found.argmax()), found.shape)
        shift = [(int(i) - self._shifts_px) * self._step for i in (down, right)]
        drawn = float(np.abs(self._drawn(points)).sum())
        return float(found.max()) / max(1.0, drawn), np.array([*shift, *scales[zoom]])

    def _totals(self, points: EdgePoints) -> tuple[Float[ndarray, "n s s"], Float[ndarray, "n 2"]]:
        """(score at every zoom and shift; the zooms, vertical and horizontal)."""
        reach, shifts = self._reach_px, np.arange(-self._shifts_px, self._shifts_px + 1)
        surfaces = self._surfaces(points).reshape(*self._grid_hw, 2 * reach + 1, 2 * reach + 1)
        totals, scales = [], []
        stretches = np.linspace(-MAX_ZOOM, MAX_ZOOM, 15)
        down_first, right_first = (np.arange(count)[:, None] for count in self._grid_hw)
        for tall in stretches:
            rows = np.clip(reach + np.rint(tall * self._centers[0]).astype(int)[:, None] + shifts, 0, 2 * reach)
            bands = surfaces.swapaxes(1, 2)[down_first, rows].sum(axis=0)  # shifts, tiles across, shifts right
            for wide in stretches[np.abs(stretches - tall) <= MAX_ASPECT + 0.005]:
                columns = np.clip(reach + np.rint(wide * self._centers[1]).astype(int)[:, None] + shifts, 0, 2 * reach)
                totals.append(bands[:, right_first, columns].sum(axis=1))
                scales.append((tall, wide))
        return np.stack(totals), np.array(scales)

    def _surfaces(self, points: EdgePoints) -> Float[ndarray, "n s s"]:
        """Correlation of each tile of edge points with the photo, over all shifts within reach."""
        drawn = self._drawn(points)
        sought = np.zeros((len(self._tiles), *self._padded), np.complex64)
        for number, (top, bottom, left, right) in enumerate(self._tiles):
            sought[number, : bottom - top, : right - left] = drawn[top:bottom, left:right]
        surfaces = scipy.fft.ifft2(self._spectrum * np.conj(scipy.fft.fft2(sought))).real
        return np.ascontiguousarray(surfaces[:, : 2 * self._reach_px + 1, : 2 * self._reach_px + 1])

    def _drawn(self, points: EdgePoints) -> Complex[ndarray, "h w"]:
        """Edge points as an image of the search size."""
        cells = np.floor((points.position + np.array(self._pair.size_hw) / 2) / self._step).astype(int)
        rows, columns = (np.clip(cells[:, i], 0, self._size_hw[i] - 1) for i in (0, 1))
        drawn = np.zeros(self._size_hw, np.complex64)
        np.add.at(drawn, (rows, columns), (points.weight * points.direction).astype(np.complex64))
        # Saturates: a pixel of this size contains one border, however many points are in it.
        return drawn / (np.abs(drawn) + np.float32(0.25 * self._step))
