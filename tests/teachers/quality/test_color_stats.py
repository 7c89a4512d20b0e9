"""Images of a task are recognized by their colors, also where these are unusual."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np
import pytest

from distill.tasks import Task
from distill.teachers.base import PromptSpec
from distill.teachers.codecs.depth import encode_depth_rgb
from distill.teachers.quality.color_stats import measure_colors
from distill.teachers.tasks import teacher_task

SIZE_HW = (240, 320)


def rainbow_instances(noise: float) -> np.ndarray:
    """Twenty boxes in pure hues, all of which are on the depth path."""
    dice = np.random.default_rng(0)
    image = np.zeros((*SIZE_HW, 3), np.float32)
    for number in range(20):
        top, left = 12 + 56 * (number // 5), 10 + 60 * (number % 5)
        image[top : top + 36, left : left + 40] = 255 * np.array(colorsys.hsv_to_rgb(number / 20, 1, 1))
    return np.clip(image + dice.normal(0, noise, image.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("noise", [0.0, 3.0])
def test_pure_hues_of_instances_are_no_depth(noise: float) -> None:
    colors = measure_colors(rainbow_instances(noise))
    assert colors.depth > 0.75
    assert not colors.are_depth and not colors.are_edges


def hills() -> np.ndarray:
    """Hills from 60 m to 300 m before the sky."""
    rows = np.linspace(0, 1, SIZE_HW[0])[:, None] + 0.05 * np.sin(np.linspace(0, 9, SIZE_HW[1]))
    return np.where(rows < 0.6, np.inf, 60 + 600 * (1 - rows)).astype(np.float32)


def test_far_hills_and_sky_are_depth() -> None:
    image = encode_depth_rgb(hills())
    spec = PromptSpec(Task.DEPTH)
    task = teacher_task(Task.DEPTH)
    assert task.admits(measure_colors(image), task.decode(image, spec), spec)


def test_a_frame_is_no_edges_image() -> None:
    image = np.zeros((*SIZE_HW, 3), np.uint8)
    cv2.ellipse(image, (160, 120), (60, 40), 0, 0, 360, (0, 255, 0), -1)
    lines = image.copy()
    lines[:8] = lines[-8:] = 255
    lines[:, :8] = lines[:, -8:] = 255
    assert not measure_colors(image).are_edges
    assert not measure_colors(lines).are_edges


def test_lines_over_the_whole_image_are_edges() -> None:
    image = np.zeros((*SIZE_HW, 3), np.uint8)
    for across in range(30, 300, 60):
        cv2.polylines(image, [np.array([[across, 20], [across + 20, 120], [across, 220]])], False, (255, 255, 255), 2)
    assert measure_colors(image).are_edges
