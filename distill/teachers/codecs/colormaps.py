"""Depth colormaps as paths through the RGB cube: the cube path of the paper, gray, and matplotlib maps.

A path is a polyline; a color decodes to the nearest point on it. Positions run from 0 (low end) to 1.
"""

from __future__ import annotations

import difflib
import functools
import itertools
from importlib import resources

import numpy as np
from jaxtyping import Float, Int, Shaped
from numpy import ndarray

from distill.errors import UsageError

COLORMAPS = (
    *("cube", "gray", "viridis", "plasma", "inferno", "magma", "cividis", "turbo", "jet", "rainbow", "Spectral"),
    *("RdYlBu", "coolwarm", "hot", "bone"),
)
"""Names; with ``_r`` at the end, a map runs from its high end to its low end."""

CUBE_CORNERS = np.array(
    # black, red, yellow, green, cyan, blue, magenta, white: near to far. The order is not in the paper's text; of the
    # six Hamiltonian edge paths it fits all seven real answers best (3.8 % of pixels off the path, runner-up 21 %).
    [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1], [1, 1, 1]],
    np.int64,
)
_NEAR_CUBE = 30.0
"""A color this close to the cube path (L2, of 255) decodes to a depth."""
CUBE_LEVELS = 7 * 255
"""Steps on the cube path: seven edges, each with 255 steps of 8-bit color."""


def split_reversed(colormap: str) -> tuple[str, bool]:
    """(name of `COLORMAPS`, whether it is reversed) of a name in any case, with or without ``_r``.

    Raises:
        UsageError: Unknown name.
    """
    name = colormap.strip().lower().replace("grey", "gray").replace("grayscale", "gray")
    base = name.removesuffix("_r")
    known = {each.lower(): each for each in COLORMAPS}
    if base not in known:
        near = difflib.get_close_matches(base, known, n=1)
        meant = f"; did you mean {known[near[0]]!r}?" if near else ""
        raise UsageError(
            f"unknown colormap {colormap!r}{meant}", hint=f"one of {', '.join(COLORMAPS)}, each also reversed (with _r)"
        )
    return known[base], base != name


@functools.cache
def path(colormap: str) -> Float[ndarray, "n 3"]:
    """Vertices of one of `COLORMAPS` in 8-bit units, low end first, equally spaced in position."""
    if colormap == "cube":
        return CUBE_CORNERS * 255.0
    if colormap == "gray":
        return np.array([[0.0, 0.0, 0.0], [255.0, 255.0, 255.0]])
    lines = resources.files("distill.teachers.codecs").joinpath("colormaps.txt").read_text().splitlines()
    digits = dict(line.split() for line in lines if not line.startswith("#"))[colormap]
    return np.frombuffer(bytes.fromhex(digits), np.uint8).reshape(256, 3).astype(np.float64)


@functools.cache
def runs_along_cube(colormap: str) -> bool:
    """Whether most colors of a map, in either direction, are on the cube path as well: hot and jet."""
    colors = np.rint(walk(np.linspace(0, 1, 256), split_reversed(colormap)[0])).astype(np.int64)
    return float((project(colors)[1] <= _NEAR_CUBE).mean()) > 0.5


def walk(position: Float[ndarray, "*n"], colormap: str = "cube") -> Float[ndarray, "*n 3"]:
    """Color at a position in [0, 1], in 8-bit units, not rounded."""
    vertices = path(colormap)
    # float64: one of 1785 levels is 5.6e-4, and a half must be rounded to the right side.
    scaled = np.clip(np.asarray(position, np.float64), 0.0, 1.0) * (len(vertices) - 1)
    edge = np.minimum(scaled.astype(np.int64), len(vertices) - 2)
    along = (scaled - edge)[..., None]
    color: ndarray = vertices[edge] * (1 - along) + vertices[edge + 1] * along
    return color


def project(
    colors: Shaped[ndarray, "n 3"], colormap: str = "cube", *, one: float = 255.0
) -> tuple[Float[ndarray, " n"], Float[ndarray, " n"]]:
    """(position in [0, 1], distance to the path) of the nearest point on the path; ties go to the low end.

    Args:
        colors: Integers or floats.
        colormap: One of `COLORMAPS`.
        one: Maximum color value: 255 or 1; also the unit of the distances.
    """
    if colormap == "cube":
        return _project_cube(colors, one)
    vertices = path(colormap) * (one / 255.0)
    points = np.asarray(colors, np.float64)
    edge = _nearest_edge(points, vertices)
    start, step = vertices[edge], (vertices[1:] - vertices[:-1])[edge]
    length_2 = np.maximum((step**2).sum(axis=1), 1e-12)
    along = np.clip(((points - start) * step).sum(axis=1) / length_2, 0.0, 1.0)
    distance = np.linalg.norm(points - start - along[:, None] * step, axis=1)
    return (edge + along) / (len(vertices) - 1), distance


def _project_cube(colors: Shaped[ndarray, "n 3"], one: float) -> tuple[Float[ndarray, " n"], Float[ndarray, " n"]]:
    """`project` for edges along the axes: a position on an edge is one channel; integers stay integers."""
    whole = np.issubdtype(colors.dtype, np.integer)
    points = colors.astype(np.int64 if whole else np.float64)
    full = int(one) if whole else one
    best_2 = best_position = None
    for number, (start, end) in enumerate(itertools.pairwise(CUBE_CORNERS)):
        axis = int(np.argmax(start != end))
        inside = np.clip(points[:, axis], 0, full)
        along = inside if end[axis] > start[axis] else full - inside
        aim = np.repeat((start * full)[None], len(points), axis=0).astype(points.dtype)
        aim[:, axis] = inside
        distance_2 = ((points - aim) ** 2).sum(axis=1)
        position = number * full + along
        if best_2 is None or best_position is None:
            best_2, best_position = distance_2, position
        else:
            nearer = distance_2 < best_2
            best_2 = np.where(nearer, distance_2, best_2)
            best_position = np.where(nearer, position, best_position)
    assert best_2 is not None and best_position is not None
    return best_position / (7.0 * full), np.sqrt(best_2.astype(np.float64))


def _nearest_edge(points: Float[ndarray, "n 3"], vertices: Float[ndarray, "m 3"]) -> Int[ndarray, " n"]:
    """Index of the nearest edge, by brute force: 255 edges x 65536 colors take 0.2 s, once per color."""
    start, step = vertices[:-1], vertices[1:] - vertices[:-1]
    length_2 = np.maximum((step**2).sum(axis=1), 1e-12)
    best = np.empty(len(points), np.int64)
    for first in range(0, len(points), 4096):
        part = points[first : first + 4096]
        offset = (part @ step.T) - (start * step).sum(axis=1)
        along = np.clip(offset / length_2, 0.0, 1.0)
        # |p - s - t e|^2 = |p - s|^2 - 2 t (p - s).e + t^2 |e|^2, without |p|^2, which is the same for all edges.
        distance_2 = (start**2).sum(axis=1) - 2 * part @ start.T - 2 * along * offset + along**2 * length_2
        best[first : first + 4096] = np.argmin(distance_2, axis=1)
    return best
