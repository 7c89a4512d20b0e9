"""Areas whose colors have no meaning count; seams, sky and small errors do not."""

from __future__ import annotations

import numpy as np
import pytest

from distill.tasks import Task
from distill.teachers.base import PromptSpec
from distill.teachers.codecs.depth import decode_depth_rgb, encode_depth_rgb
from distill.teachers.codecs.normals import decode_normals_rgb, encode_normals_rgb
from distill.teachers.codecs.palette import decode_palette_rgb
from distill.teachers.quality.off_code import NO_FLAWS, TOLERATED, TOLERATED_LINE, Flaws, off_code_fraction
from distill.teachers.tasks import decode_answer

LEGEND = {"one": (255, 0, 0), "other": (0, 0, 255)}


def depth_image() -> np.ndarray:
    return encode_depth_rgb(np.geomspace(0.2, 5, 240 * 320).reshape(240, 320))


def normals_image() -> np.ndarray:
    vector = np.full((240, 320, 3), (0, 0.6, 0.8), np.float32)
    return encode_normals_rgb(vector)


def test_swapped_channels_of_depth_have_no_meaning() -> None:
    image = depth_image()
    assert off_code_fraction(decode_depth_rgb(image), image) == 0
    swapped = np.ascontiguousarray(image[..., ::-1])
    assert off_code_fraction(decode_depth_rgb(swapped), swapped) > 0.2


def test_seams_do_not_count_and_areas_of_many_colors_do() -> None:
    image = depth_image()
    image[:, 100:102] = 128
    assert off_code_fraction(decode_depth_rgb(image), image) == 0
    ramp = np.linspace(80, 170, 80).astype(np.uint8)
    image[:, 100:180] = ramp[:, None]
    assert off_code_fraction(decode_depth_rgb(image), image) == pytest.approx(0.25, abs=0.02)


def test_sky_and_one_color_show_no_value() -> None:
    for color in ((255, 0, 255), (0, 0, 0)):
        image = normals_image()
        image[:80] = color
        assert off_code_fraction(decode_normals_rgb(image), image) == 0
    image[120:200] = np.linspace(0, 90, 320).astype(np.uint8)[:, None]
    assert off_code_fraction(decode_normals_rgb(image), image) > 0.2


def test_unnamed_classes_count_by_what_is_shown() -> None:
    """Two objects on a large background, one of them in a color without a name: half."""
    image = np.zeros((240, 320, 3), np.uint8)
    image[..., 2] = 255
    image[20:60, 20:60], image[20:60, 100:140] = (255, 0, 0), (0, 200, 0)
    label = decode_palette_rgb(image, LEGEND)
    assert off_code_fraction(label, image) == pytest.approx(0.5, abs=0.05)
    image[20:60, 100:140] = (255, 0, 0)
    assert off_code_fraction(decode_palette_rgb(image, LEGEND), image) == 0


def test_instances_may_have_any_color() -> None:
    image = np.zeros((240, 320, 3), np.uint8)
    image[20:60, 20:60] = np.random.default_rng(0).integers(60, 255, (40, 40, 3))
    spec = PromptSpec(Task.INSTANCE, class_name="cup", background=(0, 0, 0))
    assert off_code_fraction(decode_answer(image, spec), image) == 0


def test_validity_falls_with_flaws() -> None:
    assert NO_FLAWS.validity_factor == Flaws(TOLERATED, TOLERATED_LINE).validity_factor == 1
    assert Flaws(TOLERATED, TOLERATED_LINE).to_record() == {}
    for flaws, name in ((Flaws(off_code=0.13), "off_code"), (Flaws(straight_line=0.17), "straight_line")):
        assert 0.6 < flaws.validity_factor < 0.8 and list(flaws.to_record()) == [name]
    assert Flaws(1, 0).validity_factor < 0.01
