"""Colormaps by name, reversed, in any case."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest

from distill.errors import UsageError
from distill.tasks import DepthKind
from distill.teachers.codecs.colormaps import COLORMAPS, path, runs_along_cube, split_reversed
from distill.teachers.codecs.depth import decode_depth_gray16, decode_depth_rgb, encode_depth_rgb

RELATIVE = DepthKind.AFFINE_INVARIANT_DISPARITY


@pytest.mark.parametrize("colormap", [name for name in COLORMAPS if name not in ("cube", "gray")])
def test_colormaps_equal_those_of_matplotlib(colormap: str) -> None:
    theirs = matplotlib.colormaps[colormap](np.arange(256), bytes=True)[:, :3]
    np.testing.assert_array_equal(path(colormap), theirs)


@pytest.mark.parametrize("colormap", ["Spectral", "jet", "gray"])
def test_a_reversed_map_runs_the_other_way(colormap: str) -> None:
    disparity = np.repeat(np.repeat(np.linspace(0, 1, 60)[None], 3, axis=0), 3, axis=1)
    # What Depth Anything and Marigold write: the map at the disparity, near at the high end.
    rgb = encode_depth_rgb(disparity, f"{colormap}_r", near_is_low=False, depth_kind=RELATIVE)
    np.testing.assert_array_equal(rgb, encode_depth_rgb(1 - disparity, colormap, False, RELATIVE))
    label = decode_depth_rgb(rgb, f"{colormap}_r".upper(), near_is_low=False, depth_kind=RELATIVE)
    assert np.abs(label.value - disparity)[label.valid].max() < 0.01 and label.valid.mean() > 0.9


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("spectral_r", ("Spectral", True)),
        ("Grey", ("gray", False)),
        ("JET", ("jet", False)),
        ("cube_r", ("cube", True)),
    ],
)
def test_names_are_known_in_any_case(name: str, expected: tuple[str, bool]) -> None:
    assert split_reversed(name) == expected


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="unknown colormap 'virdis_r'; did you mean 'viridis'") as error:
        split_reversed("virdis_r")
    assert "Spectral" in error.value.hint and "_r" in error.value.hint


def test_maps_on_the_cube_path_are_known() -> None:
    assert [name for name in COLORMAPS if runs_along_cube(name)] == ["cube", "jet", "hot"]
    assert runs_along_cube("hot_r")


def test_gray_of_16_bits_keeps_them() -> None:
    gray = np.linspace(0, 65535, 90_000).astype(np.uint16).reshape(300, 300)
    label = decode_depth_gray16(gray, "gray", near_is_low=False, depth_kind=RELATIVE)
    assert np.unique(label.value).size > 60_000
    np.testing.assert_allclose(label.value, gray / 65535, atol=1e-5)
    np.testing.assert_allclose(
        decode_depth_gray16(gray, "gray_r", near_is_low=False, depth_kind=RELATIVE).value, 1 - gray / 65535, atol=2e-5
    )
