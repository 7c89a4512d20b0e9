"""Instances by hue from uneven images."""

from __future__ import annotations

import colorsys

import numpy as np

from distill.tasks import IGNORE_INSTANCE, Task
from distill.teachers.base import PromptSpec
from distill.teachers.codecs.instance_hue import find_hue_peaks
from distill.teachers.tasks import decode_answer


def shaded(hue: float, size_hw: tuple[int, int], dice: np.random.Generator) -> np.ndarray:
    """One hue at many brightnesses, as an untuned editor paints a mask."""
    value = dice.uniform(0.5, 1.0, size_hw)
    red, green, blue = (
        np.array(channel) for channel in zip(*[colorsys.hsv_to_rgb(hue, 0.9, v) for v in value.ravel()], strict=True)
    )
    return (np.stack([red, green, blue], axis=-1).reshape(*size_hw, 3) * 255).astype(np.uint8)


def test_shaded_masks_are_instances_by_hue() -> None:
    dice = np.random.default_rng(0)
    generated = np.zeros((120, 160, 3), np.uint8)
    generated[:] = (0, 255, 0)
    generated[10:60, 10:90] = shaded(0.0, (50, 80), dice)
    generated[70:110, 100:150] = shaded(0.6, (40, 50), dice)
    generated[80:100, 10:40] = (120, 118, 121)  # a shadow left from the photo
    prompt_spec = PromptSpec(Task.INSTANCE, class_name="cup", background=(0, 255, 0), reader="hues")
    label = decode_answer(generated, prompt_spec)
    assert label.instance_classes == {1: "cup", 2: "cup"}
    assert (label.value[12:58, 12:88] == 1).all() and (label.value[72:108, 102:148] == 2).all()
    assert (label.value[80:100, 10:40] == IGNORE_INSTANCE).all() and not label.valid[90, 20]
    assert (label.value[:8] == 0).all()
    # The paper's decoder, made for flat colors, falls to pieces on the same answer.
    flat = decode_answer(generated, PromptSpec(Task.INSTANCE, class_name="cup", background=(0, 255, 0)))
    assert (flat.value == 1).mean() < 0.5 * (label.value == 1).mean()


def test_peaks_stay_apart_and_the_circle_is_closed() -> None:
    histogram = np.zeros(180)
    histogram[[179, 0, 1]] = 100
    histogram[5] = 80
    histogram[90] = 30
    histogram[140] = 5
    assert find_hue_peaks(histogram) == [0, 90]
    assert find_hue_peaks(np.zeros(180)) == []


def test_background_alone_has_no_instances() -> None:
    generated = np.full((64, 64, 3), (0, 255, 0), np.uint8)
    label = decode_answer(generated, PromptSpec(Task.INSTANCE, class_name="x", background=(0, 255, 0), reader="hues"))
    assert not label.instance_classes and (label.value == 0).all()
