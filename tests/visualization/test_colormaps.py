"""Pictures have fixed colors: two of them can be compared by eye."""

from __future__ import annotations

import numpy as np
import pytest

from distill.tasks import IGNORE_INSTANCE, DepthKind
from distill.visualization import (
    add_caption,
    add_class_legend,
    add_depth_bar,
    add_scale_bar,
    class_colors,
    contact_sheet,
    draw_confidence,
    draw_depth,
    draw_error,
    draw_instances,
    draw_normals,
    draw_semantic,
    overlay,
)
from distill.visualization.colormaps import INVALID_RGB, SKY_RGB

GRAY = np.array(INVALID_RGB)
SKY = np.array(SKY_RGB)


def test_a_distance_has_one_color_whatever_else_is_in_the_picture() -> None:
    near = draw_depth(np.array([[2.0, 3.0]], np.float32))
    far = draw_depth(np.array([[2.0, 80.0]], np.float32))
    np.testing.assert_array_equal(near[0, 0], far[0, 0])
    assert np.abs(near[0, 0].astype(int) - near[0, 1]).max() > 10


def test_nearer_is_brighter_up_to_the_sky() -> None:
    depth_m = np.array([[0.2, 0.5, 1, 2, 4, 8, 16, 32, 64]], np.float32)
    luminance = draw_depth(depth_m)[0] @ [0.299, 0.587, 0.114]
    assert (np.diff(luminance) < 0).all()


def test_sky_and_holes_have_colors_that_no_depth_has() -> None:
    depth_m = np.array([[np.nan, -1.0, 5.0, np.inf, 25_000.0, 5.0]], np.float32)
    picture = draw_depth(depth_m, np.array([[True, True, True, True, True, False]]))[0]
    for index in (0, 1, 5):
        np.testing.assert_array_equal(picture[index], GRAY)
    for index in (3, 4):
        np.testing.assert_array_equal(picture[index], SKY)
    finite = draw_depth(np.geomspace(1e-3, 89.0, 2000, dtype=np.float32)[None])[0].astype(int)
    assert np.abs(finite - GRAY).sum(1).min() > 10
    assert np.abs(finite - SKY).sum(1).min() > 10


def test_a_given_range_uses_all_colors() -> None:
    full = draw_depth(np.array([[1.0, 3.0]], np.float32), near_m=1.0, far_m=3.0)[0].astype(int)
    ends = draw_depth(np.array([[0.0, 1.0]], np.float32), depth_kind=DepthKind.SCALE_INVARIANT)[0].astype(int)
    np.testing.assert_allclose(full, ends, atol=4)


def test_relative_depth_kinds_are_bright_where_it_is_near() -> None:
    values = np.array([[0.1, 0.9]], np.float32)
    by_depth = draw_depth(values, depth_kind=DepthKind.AFFINE_INVARIANT_DEPTH)[0].sum(1, dtype=int)
    by_disparity = draw_depth(values, depth_kind=DepthKind.AFFINE_INVARIANT_DISPARITY)[0].sum(1, dtype=int)
    assert by_depth[0] > by_depth[1] and by_disparity[1] > by_disparity[0]


def test_strips_leave_no_seam() -> None:
    depth_m = np.full((150, 5), 3.0, np.float32)
    assert len(np.unique(draw_depth(depth_m).reshape(-1, 3), axis=0)) == 1


def test_normals_look_as_they_are_painted() -> None:
    normals = np.array([[[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0]]], np.float32)
    expected = [[0, 128, 128], [128, 255, 128], [128, 128, 255], [255, 128, 128]]
    np.testing.assert_allclose(draw_normals(normals)[0], expected, atol=1)
    holed = draw_normals(normals, np.array([[False, True, True, True]]))
    np.testing.assert_array_equal(holed[0, 0], GRAY)


def test_classes_keep_their_color_and_stay_apart() -> None:
    ids = np.arange(20, dtype=np.uint8)[None]
    np.testing.assert_array_equal(draw_semantic(ids, 20)[0], class_colors(20))
    np.testing.assert_array_equal(class_colors(255)[:20], class_colors(20))
    colors = class_colors(40).astype(int)
    gaps = np.abs(colors[:, None] - colors[None]).sum(-1) + 1000 * np.eye(40, dtype=int)
    assert gaps.min() > 30


def test_ignored_pixels_are_hatched() -> None:
    picture = draw_semantic(np.full((30, 30), 255, np.uint8), 3)
    shades = np.unique(picture.reshape(-1, 3), axis=0)
    assert len(shades) == 2 and shades.max() < 110


def test_instances_differ_and_are_outlined() -> None:
    ids = np.zeros((20, 30), np.uint16)
    ids[:, 10:20], ids[:, 20:], ids[0] = 1, 2, IGNORE_INSTANCE
    picture = draw_instances(ids)
    assert len({tuple(picture[10, column]) for column in (3, 15, 25)}) == 3
    assert picture[10, 19].min() > 200


def test_errors_saturate_and_nan_is_the_worst() -> None:
    error = np.array([[0.0, 0.5, 1.0, 7.0, np.nan, 0.2]], np.float32)
    picture = draw_error(error, np.array([[True] * 5 + [False]]), limit=1.0)[0]
    assert picture[0].max() < 10
    np.testing.assert_array_equal(picture[2], picture[3])
    np.testing.assert_array_equal(picture[2], picture[4])
    np.testing.assert_array_equal(picture[5], GRAY)


def test_confidence_runs_from_dark_to_bright() -> None:
    values = draw_confidence(np.array([[0.0, 0.5, 1.0, np.nan]], np.float32))[0].sum(1, dtype=int)
    assert values[0] < values[1] < values[2] and values[3] == values[0]


def test_overlay_is_a_weighted_mean() -> None:
    rgb, drawing = np.full((2, 2, 3), 100, np.uint8), np.full((2, 2, 3), 200, np.uint8)
    assert (overlay(rgb, drawing, 0.6) == 160).all()


@pytest.mark.parametrize("width", [8, 64, 321, 1920])
def test_bars_legends_and_captions_keep_the_width(width: int) -> None:
    picture = np.zeros((10, width, 3), np.uint8)
    decorated = (
        add_depth_bar(picture),
        add_depth_bar(picture, near_m=1.0, far_m=4.0),
        add_depth_bar(picture, depth_kind=DepthKind.AFFINE_INVARIANT_DISPARITY),
        add_scale_bar(picture, limit=45.0, unit="°"),
        add_class_legend(picture, ["road", "a rather long class name", "sky"]),
        add_caption(picture, "a caption"),
    )
    for found in decorated:
        assert found.shape[1] == width and found.shape[0] > 10


def test_a_sheet_holds_every_picture_in_its_place() -> None:
    pictures = [np.full((30, 40, 3), 10 * (index + 1), np.uint8) for index in range(5)]
    pictures[3] = np.full((90, 60, 3), 40, np.uint8)
    sheet = contact_sheet(pictures, columns=3)
    assert sheet.shape == (2 * 30 + 2, 3 * 40 + 2 * 2, 3)
    assert (sheet[15, 20] == 10).all() and (sheet[47, 20] == 40).all() and (sheet[47, 62] == 50).all()
    assert (sheet[47, 105] == sheet[60, 100]).all()
    assert contact_sheet(pictures, ["caption"] * 5, columns=3).shape[0] > sheet.shape[0]
