"""Depth colors decode exactly; colors off the path are invalid."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import hilbertmap
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from distill.errors import DistillError, UsageError
from distill.labels import is_beyond_range
from distill.tasks import DepthKind, Task, warp_depth
from distill.teachers.base import PromptSpec
from distill.teachers.codecs.colormaps import COLORMAPS, CUBE_CORNERS, project, walk
from distill.teachers.codecs.depth import MAX_DEPTH_M, TAU, decode_depth_rgb, encode_depth_rgb
from distill.teachers.tasks import decode_answer

GOLDEN = Path(__file__).parents[2] / "golden"

# How coarse 8-bit color is along each path, as a share of its length: half a step plus rounding in all three channels.
LEVEL = {"cube": 1 / 1785, "gray": 1 / 255, "turbo": 1 / 255, "jet": 4 / 255}
OTHER_LEVEL = 3 / 255


def smooth(farness: np.ndarray) -> np.ndarray:
    """A picture whose neighbors are equal, so that no pixel lies beside a depth step."""
    return np.repeat(np.repeat(farness.reshape(1, -1), 3, axis=0), 3, axis=1)


def test_golden_table() -> None:
    rows = np.loadtxt(GOLDEN / "cube_depth.txt")
    np.testing.assert_allclose(warp_depth(rows[:-1, 0]), rows[:-1, 1], atol=5e-7)
    np.testing.assert_array_equal(encode_depth_rgb(rows[None, :, 0])[0], rows[:, 2:])


def test_golden_corners_decode_to_their_depths() -> None:
    rows = np.loadtxt(GOLDEN / "cube_corners.txt")
    for depth_m, *color in rows:
        flat = np.tile(np.array(color, np.uint8), (4, 4, 1))
        np.testing.assert_allclose(decode_depth_rgb(flat).value, depth_m, rtol=1e-6)


def test_the_independent_package_decodes_the_same_depth() -> None:
    colors = np.random.default_rng(0).random((100_000, 3))
    position, _ = project(colors, one=1.0)
    np.testing.assert_allclose(position, hilbertmap.project(colors), atol=1e-6)
    places = np.linspace(0, 1, 10_000)
    np.testing.assert_allclose(walk(places) / 255, hilbertmap.walk(places), atol=1e-6)


def test_table_agrees_with_the_projection_on_random_colors() -> None:
    colors = np.random.default_rng(1).integers(0, 256, (100, 300, 3), dtype=np.uint8)
    position, distance = project(colors.reshape(-1, 3))
    farness = np.asarray(warp_depth(decode_depth_rgb(colors, tau=1000.0).value.astype(float))).reshape(-1)
    near = position <= 0.99
    np.testing.assert_allclose(farness[near], position[near], atol=2e-6)
    alone = [decode_depth_rgb(np.tile(color, (3, 3, 1))).valid[1, 1] for color in colors[0]]
    assert alone == (distance[:300] <= TAU).tolist()


@pytest.mark.parametrize("colormap", COLORMAPS)
@pytest.mark.parametrize("near_is_low", [True, False])
@settings(max_examples=10, deadline=None)
@given(position=arrays(np.float64, 8, elements=st.floats(0, 0.98)))
def test_metric_round_trip_within_one_level(colormap: str, near_is_low: bool, position: np.ndarray) -> None:
    depth_m = smooth(10 * ((1 - position) ** -0.5 - 1))
    label = decode_depth_rgb(encode_depth_rgb(depth_m, colormap, near_is_low), colormap, near_is_low)
    inner = np.s_[1, 1::3]
    kept = label.value[inner] < MAX_DEPTH_M
    error = np.abs(np.asarray(warp_depth(label.value[inner].astype(float))) - position)
    level = LEVEL.get(colormap, OTHER_LEVEL)
    assert np.all(error[kept] <= level)
    assert np.all(position[~kept] > 0.98 - level)


@pytest.mark.parametrize("colormap", COLORMAPS)
def test_relative_round_trip_within_one_level(colormap: str) -> None:
    values = smooth(np.linspace(0, 1, 500))
    for depth_kind in (depth_kind for depth_kind in DepthKind if depth_kind is not DepthKind.METRIC):
        for near_is_low in (True, False):
            rgb = encode_depth_rgb(values, colormap, near_is_low, depth_kind)
            label = decode_depth_rgb(rgb, colormap, near_is_low, depth_kind)
            assert label.depth_kind is depth_kind
            assert np.abs(label.value - values).max() <= LEVEL.get(colormap, OTHER_LEVEL)


@settings(max_examples=50, deadline=None)
@given(lam=st.floats(-8, -1.5), c=st.floats(0.5, 50), position=st.floats(0, 0.98))
def test_round_trip_at_other_constants(lam: float, c: float, position: float) -> None:
    depth_m = lam * c * (1 - (1 - position) ** (1 / (lam + 1)))
    label = decode_depth_rgb(encode_depth_rgb(np.full((3, 3), depth_m), lam=lam, c=c), lam=lam, c=c)
    assert abs(warp_depth(float(label.value[1, 1]), lam, c) - position) <= 1 / 1785


def test_near_end_follows_the_direction() -> None:
    black = np.zeros((3, 3, 3), np.uint8)
    assert decode_depth_rgb(black, "gray", near_is_low=True).value[0, 0] == 0
    assert is_beyond_range(decode_depth_rgb(black, "gray", near_is_low=False)).all()
    disparity = decode_depth_rgb(black, "gray", near_is_low=False, depth_kind=DepthKind.AFFINE_INVARIANT_DISPARITY)
    assert disparity.value[0, 0] == 0  # painted dark: far, and so no disparity


def test_sky_is_valid_and_far() -> None:
    label = decode_depth_rgb(np.full((4, 4, 3), 254, np.uint8))
    assert label.valid.all()
    assert is_beyond_range(label).all()
    assert np.isfinite(label.value).all()


def test_colors_off_the_path_are_invalid() -> None:
    gray = np.full((5, 5, 3), 128, np.uint8)
    label = decode_depth_rgb(gray)
    assert not label.valid.any()
    assert not label.confidence.any()


@pytest.mark.parametrize(("near_m", "far_m"), [(0.05, 3.2), (0.05, 8.7), (0.8, 16.5), (1.83, np.inf), (5.3, np.inf)])
def test_blends_at_occlusions_are_not_a_third_depth(near_m: float, far_m: float) -> None:
    near, far = encode_depth_rgb(np.array([[near_m, far_m]]))[0].astype(float)
    for share in np.linspace(0.05, 0.95, 19):
        picture = np.repeat(np.rint([[near] * 4 + [near * (1 - share) + far * share] + [far] * 4]), 9, axis=0)
        label = decode_depth_rgb(picture.astype(np.uint8))
        depth_m = label.value[4, 4]
        third = abs(depth_m - near_m) > 0.1 * near_m + 0.1 and (far_m == np.inf or abs(depth_m - far_m) > 0.1 * far_m)
        if third and depth_m < MAX_DEPTH_M:
            assert not label.valid[4, 4], (share, depth_m)


def test_no_other_edge_is_close_within_tau() -> None:
    steps = np.arange(0, 256, 5)
    colors = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    distance = []
    for start, end in zip(CUBE_CORNERS[:-1] * 255, CUBE_CORNERS[1:] * 255, strict=True):
        along = np.clip((colors - start) @ (end - start) / 255**2, 0, 1)
        distance.append(np.linalg.norm(colors - start - along[:, None] * (end - start), axis=1))
    ordered = np.stack(distance)
    nearest = ordered.argmin(axis=0)
    apart = np.abs(np.arange(7)[:, None] - nearest[None]) > 1
    gap = np.where(apart, ordered, np.inf).min(axis=0) - ordered.min(axis=0)
    assert gap[ordered.min(axis=0) <= TAU].min() >= 190


def test_confidence_falls_with_the_distance_to_the_path() -> None:
    trust = [
        decode_depth_rgb(np.full((3, 3, 3), (255, 55, off), np.uint8)).confidence[1, 1] for off in (0, 4, 8, 16, 40)
    ]
    assert trust[0] > 0.97
    assert all(a > b for a, b in pairwise(trust))
    assert trust[-1] == 0.0


def test_confidence_falls_with_the_depth_range_of_a_level() -> None:
    depths = np.array([0.05, 2.0, 5.0, 30.0, 80.0, np.inf])
    trust = decode_depth_rgb(np.repeat(np.repeat(encode_depth_rgb(depths[None]), 3, 0), 3, 1)).confidence[1, 1::3]
    single = [decode_depth_rgb(encode_depth_rgb(np.full((3, 3), d))).confidence[1, 1] for d in depths]
    assert single[0] < 0.5 < 0.95 < single[1]
    assert single[2] > single[3] > single[4] < 0.6
    assert single[5] == pytest.approx(1.0)
    assert np.all(trust <= np.array(single) + 1e-6)  # beside a step never more than on a flat


@pytest.mark.parametrize("bad", [-1.0, np.nan])
def test_invalid_depths_are_refused(bad: float) -> None:
    with pytest.raises(DistillError, match="has values outside 0 to inf"):
        encode_depth_rgb(np.array([[1.0, bad]]))


def test_an_unknown_colormap_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown colormap 'jett'; did you mean 'jet'"):
        decode_answer(np.zeros((8, 8, 3), np.uint8), PromptSpec(Task.DEPTH, colormap="jett"))


@settings(max_examples=50, deadline=None)
@given(
    arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20), st.just(3))),
    st.sampled_from(["cube", "gray", "turbo"]),
)
def test_any_image_gives_a_consistent_label(generated: np.ndarray, colormap: str) -> None:
    label = decode_answer(generated, PromptSpec(Task.DEPTH, colormap=colormap))
    assert label.size_hw == generated.shape[:2]
    assert label.value.dtype == label.confidence.dtype == np.float32
    assert np.isfinite(label.value).all()
    assert np.all((label.confidence >= 0) & (label.confidence <= 1))
    assert not label.confidence[~label.valid].any()
