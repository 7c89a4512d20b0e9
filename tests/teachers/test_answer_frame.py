"""Frames become pixels without a value; content that ends at a background does not."""

from __future__ import annotations

import numpy as np

from distill.teachers.answer_frame import without_frame
from distill.teachers.codecs.answer_image import AnswerImage
from distill.teachers.codecs.depth import encode_depth_rgb

DEPTH = encode_depth_rgb(np.geomspace(0.3, 4, 200 * 300).reshape(200, 300))

PHOTO = np.random.default_rng(0).integers(100, 120, (200, 300, 3), dtype=np.uint8)


def image_of(rgb: np.ndarray, **values: np.ndarray) -> AnswerImage:
    return AnswerImage(rgb, values.get("opaque"), "png", (), values.get("gray16"))


def framed(color: int, width: int = 8) -> np.ndarray:
    rgb = np.full_like(DEPTH, color)
    rgb[width:-width, width:-width] = DEPTH[width:-width, width:-width]
    return rgb


def test_a_frame_has_no_values() -> None:
    found = without_frame(image_of(framed(255)), PHOTO)
    assert found is not None and found.opaque is not None
    inside = np.s_[12:-12, 12:-12]
    assert found.opaque[inside].all() and not found.opaque[:8].any() and not found.opaque[:, -8:].any()
    assert np.array_equal(found.rgb[inside], DEPTH[inside])
    assert not (found.rgb == 255).all(axis=-1).any()
    assert "a frame" in found.notes[0]


def test_transparency_and_16_bits_stay() -> None:
    opaque = np.ones(DEPTH.shape[:2], bool)
    opaque[50:60, 50:60] = False
    gray16 = np.arange(200 * 300, dtype=np.uint16).reshape(200, 300)
    found = without_frame(image_of(framed(0), opaque=opaque, gray16=gray16), PHOTO)
    assert found is not None and found.opaque is not None and found.gray16 is not None
    assert not found.opaque[50:60, 50:60].any()
    assert np.array_equal(found.gray16[12:-12, 12:-12], gray16[12:-12, 12:-12])


def test_images_without_a_frame_stay() -> None:
    assert without_frame(image_of(DEPTH), PHOTO) is None
    objects = np.zeros_like(DEPTH)
    objects[60:120, 80:200] = (255, 0, 0)  # far from the border
    assert without_frame(image_of(objects), PHOTO) is None
    round_ones = np.zeros_like(DEPTH)
    y, x = np.mgrid[:200, :300]
    round_ones[((y - 100) / 90) ** 2 + ((x - 150) / 140) ** 2 < 1] = (0, 255, 0)
    assert without_frame(image_of(round_ones), PHOTO) is None
    bars = DEPTH.copy()
    bars[:20] = bars[-20:] = 0  # the photo, perhaps, between two bars
    assert without_frame(image_of(bars), PHOTO) is None


def test_a_border_that_the_photo_shows_is_no_frame() -> None:
    """A wall around a window."""
    photo = PHOTO.copy()
    photo[8:-8, 8:-8] += 90
    assert without_frame(image_of(framed(255)), photo) is None
