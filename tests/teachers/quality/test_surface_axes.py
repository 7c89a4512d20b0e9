"""Axes of normals from the normals alone."""

from __future__ import annotations

import numpy as np
import pytest
from jaxtyping import Bool, Float
from numpy import ndarray

from distill.config.synthetic import SyntheticConfig
from distill.tasks import Task
from distill.teachers.quality.surface_axes import explain_axes
from distill.teachers.synthetic.generator import SyntheticTruth
from distill.teachers.synthetic.rendering import scene_photo

CHANGES = {
    "x and y are swapped": [((1, 0, 2), (1, 1, 1)), ((1, 0, 2), (-1, -1, 1))],
    "x and y are swapped, and one is negated": [((1, 0, 2), (-1, 1, 1)), ((1, 0, 2), (1, -1, 1))],
    "x or y is negated": [((0, 1, 2), (-1, 1, 1)), ((0, 1, 2), (1, -1, 1))],
}


def waves(size_hw: tuple[int, int] = (240, 320)) -> tuple[Float[ndarray, "h w 3"], Bool[ndarray, "h w"]]:
    """Normals of a surface of slanted waves of several directions, far from the camera."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]].astype(float)
    right, up = np.zeros(size_hw), np.zeros(size_hw)
    for along, across, phase in ((0.11, 0.05, 0.0), (0.04, -0.13, 1.0), (-0.09, -0.08, 2.0)):
        wave = 0.3 * np.cos(along * x + across * y + phase)
        right -= wave * along / np.hypot(along, across)
        up += wave * across / np.hypot(along, across)
    normals = np.stack([right, up, np.ones(size_hw)], axis=-1)
    unit: ndarray = normals / np.linalg.norm(normals, axis=-1, keepdims=True)
    return unit.astype(np.float32), np.ones(size_hw, bool)


@pytest.mark.parametrize("reason", CHANGES)
def test_wrong_axes_are_named(reason: str) -> None:
    normals, valid = waves()
    assert explain_axes(normals, valid) == ""
    for order, signs in CHANGES[reason]:
        assert explain_axes(normals[..., order] * np.array(signs, np.float32), valid) == reason


def test_bulges_and_dents_are_both_surfaces() -> None:
    normals, valid = waves()
    assert explain_axes(normals * np.array([-1, -1, 1], np.float32), valid) == ""


def test_planes_noise_and_tiny_images_show_no_axes() -> None:
    rng = np.random.default_rng(0)
    plane = np.broadcast_to(np.array([0.6, 0.0, 0.8], np.float32), (200, 300, 3))
    noise = rng.normal((0, 0, 1), 0.3, (200, 300, 3))
    noise = (noise / np.linalg.norm(noise, axis=-1, keepdims=True)).astype(np.float32)
    for normals in (plane, noise, plane[:2, :2], plane[:0]):
        assert explain_axes(normals, np.ones(normals.shape[:2], bool)) == ""
    normals, valid = waves()
    assert explain_axes(normals[..., (1, 0, 2)], ~valid) == ""


def test_true_normals_of_scenes_have_the_right_axes() -> None:
    config = SyntheticConfig(tasks=(Task.NORMALS,))
    for index in range(12):
        (label,) = SyntheticTruth(config).predict(scene_photo(index, config))
        assert explain_axes(label.value, label.valid) == ""
