"""JPEG noise is measured, and small instances survive it."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from distill.teachers.base import RGB
from distill.teachers.codecs.compression import NOISY, color_noise, restore_flat_colors
from distill.teachers.codecs.instance import MIN_LOST_FRACTION, decode_instances_rgb, lost_instances, lost_regions
from distill.teachers.prompts.colors import palette

SIZE_HW = (420, 580)


def price_tags(background: RGB, seed: int, count: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Small rotated rectangles, one in each cell of a grid: image and ids. The smallest is just large enough."""
    dice = np.random.default_rng(seed)
    rgb, ids = np.empty((*SIZE_HW, 3), np.uint8), np.zeros(SIZE_HW, np.uint8)
    rgb[:] = background
    for number, color in enumerate(palette(count, background=background, seed=seed), start=1):
        row, column = divmod(number - 1, 5)
        center = (column * 110 + 60 + int(dice.integers(-20, 20)), row * 200 + 100 + int(dice.integers(-30, 30)))
        size = (float(dice.uniform(13, 22)), float(dice.uniform(9, 14)))
        corners = cv2.boxPoints((center, size, float(dice.uniform(-25, 25)))).astype(np.int32)
        cv2.fillPoly(ids, [corners], number)
        rgb[ids == number] = color
    return rgb, ids


def as_jpeg(rgb: np.ndarray, quality: int) -> np.ndarray:
    """The image after JPEG with color at half resolution (4:2:0)."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=quality, subsampling=2)
    return np.asarray(Image.open(buffer).convert("RGB"))


@pytest.mark.parametrize("background", [(0, 0, 0), (255, 255, 255), (88, 50, 82), (16, 170, 5)])
@pytest.mark.parametrize("quality", [95, 75, 60])
def test_ten_small_instances_survive_jpeg(background: RGB, quality: int) -> None:
    rgb, ids = price_tags(background, seed=quality)
    label = decode_instances_rgb(as_jpeg(rgb, quality), "price tag", background=background)
    assert len(label.instance_classes) == 10
    found = [np.bincount(label.value[ids == number]).argmax() for number in range(1, 11)]
    assert sorted(found) == list(range(1, 11))
    assert lost_regions(label.value)[1] < MIN_LOST_FRACTION
    assert np.mean([((label.value == own) & (ids == number)).sum() for number, own in enumerate(found, 1)]) > 100


def test_noise_is_that_of_the_compression() -> None:
    rgb, _ = price_tags((0, 0, 0), seed=1)
    assert color_noise(rgb) == 0
    levels = [color_noise(as_jpeg(rgb, quality)) for quality in (95, 75, 50)]
    assert NOISY <= levels[0] < levels[1] <= levels[2]


def test_half_of_a_large_image_says_as_much_as_the_whole() -> None:
    rgb, _ = price_tags((0, 0, 0), seed=1)
    large = np.tile(rgb, (6, 1, 1))
    assert color_noise(large) == 0
    for quality in (95, 75):
        assert color_noise(as_jpeg(large, quality)) == pytest.approx(color_noise(as_jpeg(rgb, quality)), abs=1)
    one = np.zeros((1200, 580, 3), np.uint8)
    one[500:520, 200:240] = (200, 90, 40)  # within a band that is not measured at first
    assert color_noise(as_jpeg(one, 75)) >= NOISY


def test_photos_and_flat_images_have_no_compression_noise() -> None:
    texture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    photo = cv2.resize(texture, (320, 240), interpolation=cv2.INTER_CUBIC)
    assert color_noise(as_jpeg(photo, 75)) == 0
    assert color_noise(np.full((64, 64, 3), 90, np.uint8)) == 0


def test_restoring_keeps_sharp_images_and_sharpens_blurred_ones() -> None:
    rgb = np.zeros((60, 60, 3), np.uint8)
    rgb[20:40, 20:40] = (200, 30, 90)
    np.testing.assert_array_equal(restore_flat_colors(rgb), rgb)
    restored = restore_flat_colors(cv2.GaussianBlur(rgb, (0, 0), 1.0))
    near_either = np.minimum(np.abs(restored.astype(int)).max(-1), np.abs(restored - np.array((200, 30, 90))).max(-1))
    assert (near_either > 25).mean() < 0.02


def test_a_region_without_a_clear_color_is_counted_and_lowers_the_confidence() -> None:
    rgb, _ = price_tags((0, 0, 0), seed=3)
    whole = decode_instances_rgb(rgb, "price tag")
    dice = np.random.default_rng(0)
    rgb[300:340, 20:60] = dice.integers(60, 255, (40, 40, 3))
    label = decode_instances_rgb(rgb, "price tag")
    count, fraction = lost_regions(label.value)
    assert count == 1 and 0.2 < fraction < 0.7
    assert label.confidence[label.value == 1].mean() < 0.85 * whole.confidence[whole.value == 1].mean()


def test_small_instances_that_are_lost_count_as_instances_not_as_pixels() -> None:
    rgb = np.full((*SIZE_HW, 3), 255, np.uint8)
    rgb[100:300, 50:250], rgb[100:300, 300:500] = (230, 25, 75), (0, 130, 200)
    for column in (50, 150, 250):
        rgb[20:28, column : column + 12] = (60, 180, column)
    whole = decode_instances_rgb(rgb, "tag", background=(255, 255, 255))
    rgb[20:28, 400:412] = np.random.default_rng(0).integers(0, 200, (8, 12, 3))
    label = decode_instances_rgb(rgb, "tag", background=(255, 255, 255))
    assert lost_instances(whole.value) == (0, 0.0) and lost_regions(label.value)[1] < MIN_LOST_FRACTION
    count, fraction = lost_instances(label.value)
    assert count == 1 and fraction == pytest.approx(1 / (1 + len(label.instance_classes)))
    assert label.confidence.max() == pytest.approx(whole.confidence.max() * (1 - fraction), abs=1e-3)


def test_specks_are_no_lost_instances() -> None:
    rgb, _ = price_tags((0, 0, 0), seed=3)
    rgb[300:305, 20:25] = np.random.default_rng(0).integers(60, 255, (5, 5, 3))
    rgb[100:300, 50:250] = (230, 25, 75)
    value = decode_instances_rgb(rgb, "price tag").value
    assert lost_instances(np.where(value == 65535, 0, value)) == (0, 0.0)
