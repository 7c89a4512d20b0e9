"""Shape of a map against the shape of its photo."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from distill.errors import DistillError
from distill.images import read_photo
from distill.teachers.adapters.photo_shape import check_shape, has_shape_of


@pytest.mark.parametrize(
    ("size_hw", "whole_hw", "fits"),
    [
        ((480, 640), (480, 640), True),
        ((240, 320), (480, 640), True),
        ((37, 49), (518, 686), True),
        ((24, 32), (1000, 1300), True),
        ((370, 1226), (375, 1242), True),
        ((479, 640), (480, 640), True),
        ((960, 1280), (480, 640), True),
        ((640, 480), (480, 640), False),
        ((478, 640), (480, 640), False),
        ((640, 640), (480, 640), False),
        ((384, 480), (480, 640), False),
        ((427, 561), (480, 640), False),
    ],
)
def test_only_rounding_is_allowed(size_hw: tuple[int, int], whole_hw: tuple[int, int], fits: bool) -> None:
    assert has_shape_of(size_hw, whole_hw) is fits


@pytest.mark.parametrize(("orientation", "words"), [(6, "as stored, before its EXIF"), (1, "height and width swapped")])
def test_a_turned_map_is_named(orientation: int, words: str) -> None:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(np.zeros((12, 16, 3), np.uint8)).save(file, "JPEG", exif=exif)
    photo = read_photo(file.getvalue(), key="k", name="k.jpg")
    with pytest.raises(DistillError, match=words):
        check_shape(photo.size_hw[::-1], photo, "m.png")
