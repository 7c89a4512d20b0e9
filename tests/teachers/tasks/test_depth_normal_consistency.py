"""Axes in which normals fit the slopes of depth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from distill.labels import Label
from distill.tasks import DepthKind, Task
from distill.teachers.codecs.normals import FRAMES, frame_matrix, frame_name
from distill.teachers.quality.fusion import hflip_label
from distill.teachers.synthetic.traced_scene import photo_view
from distill.teachers.tasks import teacher_task

SCENES = (2, 5)


def truth(scene: int) -> dict[Task, Label]:
    view = photo_view(scene, 3, (96, 128))
    return {task: teacher_task(task).true_label(view) for task in (Task.NORMALS, Task.DEPTH)}


def reason(labels: dict[Task, Label], frame: str = "opengl") -> str:
    return teacher_task(Task.NORMALS).contradiction(labels[Task.NORMALS], labels, frame)


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("right", ["opencv", "directx", "+x+z-y", "-x+y+z"])
def test_the_right_frame_is_proposed(scene: int, right: str) -> None:
    """The files are in one frame, and the config states another."""
    labels = truth(scene)
    assert reason(labels) == ""
    stored = labels[Task.NORMALS].value @ frame_matrix(right).T
    for stated in ("opengl", "directx", "opencv"):
        labels[Task.NORMALS] = replace(labels[Task.NORMALS], value=stored @ frame_matrix(stated))
        expected = "dsine" if right == "-x+y+z" else right
        assert (f"frame: {expected} instead of {stated}" in reason(labels, stated)) is (stated != right)


@pytest.mark.parametrize("scene", SCENES)
def test_mirrored_maps_are_found(scene: int) -> None:
    labels = truth(scene)
    labels[Task.NORMALS] = hflip_label(labels[Task.NORMALS])
    assert "mirror: true" in reason(labels)


@pytest.mark.parametrize("scene", SCENES)
def test_noise_and_an_unknown_scale_are_no_contradiction(scene: int) -> None:
    labels, rng = truth(scene), np.random.default_rng(0)
    noisy = labels[Task.NORMALS].value + rng.normal(0, 0.4, labels[Task.NORMALS].value.shape)
    noisy = (noisy / np.linalg.norm(noisy, axis=-1, keepdims=True)).astype(np.float32)
    labels[Task.NORMALS] = replace(labels[Task.NORMALS], value=noisy)
    assert reason(labels) == ""
    near = np.minimum(labels[Task.DEPTH].value, 50) / 50
    labels[Task.DEPTH] = replace(labels[Task.DEPTH], value=near, depth_kind=DepthKind.SCALE_INVARIANT)
    assert reason(labels) == ""
    assert reason({Task.NORMALS: labels[Task.NORMALS]}) == ""


def test_a_flat_surface_fits_whatever_the_signs_of_its_slopes() -> None:
    labels = truth(0)
    flat = np.broadcast_to(np.float32([0, 0, 1]), (96, 128, 3))
    depth = np.full((96, 128), 2, np.float32)
    labels = {
        Task.NORMALS: replace(labels[Task.NORMALS], value=flat),
        Task.DEPTH: replace(labels[Task.DEPTH], value=depth),
    }
    assert reason(labels, "directx") == ""


@pytest.mark.parametrize("frame", [*FRAMES, "+z-x+y"])
def test_the_name_of_a_frame_has_its_matrix(frame: str) -> None:
    assert (frame_matrix(frame_name(frame_matrix(frame))) == frame_matrix(frame)).all()
