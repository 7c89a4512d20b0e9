"""Polygons: the pixels of pycocotools and of Ultralytics."""

from __future__ import annotations

import numpy as np
import pytest

from distill.datasets.formats.masks import bounding_box, fill, join_outlines, outline, polygon_mask

coco = pytest.importorskip("pycocotools.mask", reason="needs pycocotools")


def test_polygons_have_the_pixels_of_pycocotools() -> None:
    rng = np.random.default_rng(0)
    for trial in range(300):
        height, width = (int(side) for side in rng.integers(1, 40, 2))
        points = rng.uniform(-3, 43, (int(rng.integers(3, 9)), 2))
        if trial % 3 == 0:
            points = np.round(points)  # whole pixels, points that come twice
        expected = coco.decode(coco.frPyObjects([points.ravel().tolist()], height, width))[..., 0]
        assert np.array_equal(polygon_mask(points, (height, width)), expected), (height, width, points)


def test_outlines_filled_again_have_the_pixels_of_the_mask() -> None:
    rows, columns = np.mgrid[:30, :40]
    ring = (rows - 14) ** 2 + (columns - 12) ** 2 < 80
    one = np.zeros((30, 40), bool)
    one[5, 7] = True
    line = np.zeros((30, 40), bool)
    line[5, 7:20] = True
    for mask in (ring, one, line):
        (points,) = outline(mask)
        assert np.array_equal(fill(points, mask.shape), mask)


def test_parts_are_joined_by_lines_of_one_pixel() -> None:
    mask = np.zeros((30, 40), bool)
    mask[2:8, 2:8] = mask[20:25, 5:12] = mask[10:14, 30:36] = True
    filled = fill(join_outlines(outline(mask)), mask.shape)
    assert not (mask & ~filled).any() and 0 < np.count_nonzero(filled & ~mask) < 40
    assert bounding_box(mask) == [2, 2, 34, 23] and bounding_box(np.zeros((3, 3), bool)) == [0, 0, 0, 0]
