"""Synthetic scenes: ground truth is consistent, repeatable and varied."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from distill.config.synthetic import SyntheticConfig
from distill.images import decode_rgb
from distill.labels import is_beyond_range
from distill.tasks import FAR_DEPTH_M, Task
from distill.teachers.synthetic.camera import pixel_grid
from distill.teachers.synthetic.generator import (
    SYNTHETIC_CLASSES,
    SyntheticTruth,
    View,
    fly_through,
    render_view,
    scene_photo,
)
from distill.teachers.synthetic.rendering import scene
from distill.teachers.synthetic.scene import GROUND
from distill.teachers.synthetic.traced_scene import photo_view

CONFIG = SyntheticConfig(size_hw=(96, 128))


@pytest.fixture(scope="module")
def views() -> list[View]:
    return [render_view(index, CONFIG) for index in range(24)]


def normals_from_depth(view: View) -> np.ndarray:
    """Normals by central differences of the unprojected depth; camera frame x right, y up, z toward the camera."""
    height, width = view.depth_m.shape
    focal = height / 2 / np.tan(np.deg2rad(view.fov_deg) / 2)
    y, x = np.mgrid[:height, :width] + 0.5
    depth = view.depth_m.astype(np.float64)
    points = np.stack([(x - width / 2) * depth / focal, (height / 2 - y) * depth / focal, -depth], axis=-1)
    right = points[1:-1, 2:] - points[1:-1, :-2]
    up = points[:-2, 1:-1] - points[2:, 1:-1]
    normals = np.cross(right, up)
    return normals / np.linalg.norm(normals, axis=-1, keepdims=True)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_normals_match_the_depth_map(views: list[View]) -> None:
    for view in views:
        middle = view.normals[1:-1, 1:-1]
        # Inside of flat surfaces: the four neighbors have the same normal and the same instance or class.
        same = np.ones(middle.shape[:2], bool)
        for dy, dx in ((0, 1), (2, 1), (1, 0), (1, 2)):
            rows, columns = slice(dy, dy + middle.shape[0]), slice(dx, dx + middle.shape[1])
            same &= view.semantic[rows, columns] == view.semantic[1:-1, 1:-1]
            same &= view.instance[rows, columns] == view.instance[1:-1, 1:-1]
            same &= (view.normals[rows, columns] * middle).sum(-1) > np.cos(np.deg2rad(12))
        same &= np.isfinite(view.depth_m[1:-1, 1:-1]) & (view.depth_m[1:-1, 1:-1] < 60)
        cosine = (normals_from_depth(view) * middle).sum(-1)[same]
        error_deg = np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))
        assert np.mean(error_deg < 3) > 0.98
        assert np.median(error_deg) < 0.3


def test_normals_have_length_one_and_face_the_camera(views: list[View]) -> None:
    grid = pixel_grid(CONFIG.size_hw)
    for index, view in enumerate(views):
        solid = np.isfinite(view.depth_m)
        assert np.allclose(np.linalg.norm(view.normals[solid], axis=-1), 1, atol=1e-5)
        assert not view.normals[~solid].any()
        camera = scene(CONFIG.seed, index)[1]
        rays = camera.rotation.T @ camera.rays(grid, CONFIG.size_hw)
        facing = (rays.T.reshape(view.normals.shape) * view.normals).sum(-1)
        assert facing[solid].max() < 1e-3


def test_ground_depth_matches_the_camera_height(views: list[View]) -> None:
    rows, _ = np.mgrid[: CONFIG.size_hw[0], : CONFIG.size_hw[1]]
    for index, view in enumerate(views):
        camera = scene(CONFIG.seed, index)[1]
        focal = camera.focal_px(CONFIG.size_hw)
        floor = view.semantic == GROUND
        # How much a ray sinks for each meter of depth, from pitch and roll alone.
        x = (np.arange(CONFIG.size_hw[1]) + 0.5 - CONFIG.size_hw[1] / 2) / focal
        y = (CONFIG.size_hw[0] / 2 - rows - 0.5) / focal
        upright = np.cos(camera.roll_rad) * y + np.sin(camera.roll_rad) * x
        sink = np.sin(-camera.pitch_rad) - np.cos(camera.pitch_rad) * upright
        expected = camera.position_m[1] / sink[floor]
        near = expected < 50
        assert np.allclose(view.depth_m[floor][near], expected[near], rtol=1e-3)


def test_only_sky_has_infinite_depth(views: list[View]) -> None:
    for view in views:
        assert (np.isinf(view.depth_m) == (view.semantic == SYNTHETIC_CLASSES.index("sky"))).all()


def test_instances_have_one_class_and_objects_have_instances(views: list[View]) -> None:
    for view in views:
        visible = set(np.unique(view.instance).tolist()) - {0}
        assert visible == set(view.instance_classes)
        for number, name in view.instance_classes.items():
            assert set(view.semantic[view.instance == number]) == {SYNTHETIC_CLASSES.index(name)}
        stuff = {SYNTHETIC_CLASSES[class_id] for class_id in np.unique(view.semantic[view.instance == 0])}
        assert stuff <= {"sky", "ground", "wall", "ceiling"}


def test_every_class_is_frequent(views: list[View]) -> None:
    seen = np.array([[(view.semantic == class_id).any() for class_id in range(8)] for view in views]).mean(axis=0)
    assert (seen > 0.25).all(), dict(zip(SYNTHETIC_CLASSES, seen, strict=True))


def test_photos_are_well_exposed(views: list[View]) -> None:
    means = np.array([view.rgb.mean() for view in views])
    assert means.min() > 55 and means.max() < 215
    assert np.mean([np.mean(view.rgb == 255) for view in views]) < 0.02


def test_scene_depends_only_on_seed_and_index() -> None:
    before = render_view(3, CONFIG)
    render_view(4, CONFIG)
    scene.cache_clear()
    photo_view.cache_clear()
    config = SyntheticConfig(size_hw=(96, 128), scenes=5, first=2, faults="heavy", truth=True)
    after = render_view(3, config)
    assert (before.rgb == after.rgb).all() and (before.depth_m == after.depth_m).all()
    assert scene_photo(3, CONFIG).sha256 == scene_photo(3, config).sha256
    other = render_view(3, SyntheticConfig(size_hw=(96, 128), seed=1))
    assert (before.semantic != other.semantic).any()


def test_photo_has_its_bytes_and_origin() -> None:
    photo = scene_photo(7, CONFIG)
    assert photo.key == "scene-000007" and photo.suffix == "jpg"
    assert photo.origin == {"scene": 7, "seed": 0}
    assert (decode_rgb(photo.data, "x")[0] == photo.rgb).all()
    assert np.abs(photo.rgb.astype(int) - render_view(7, CONFIG).rgb).mean() < 3


def test_truth_as_labels() -> None:
    config = SyntheticConfig(size_hw=(96, 128), tasks=tuple(Task))
    for index in range(6):
        view, photo = render_view(index, config), scene_photo(index, config)
        labels = {label.task: label for label in SyntheticTruth(config).predict(photo)}
        assert set(labels) == set(Task)
        solid, near = np.isfinite(view.depth_m), view.depth_m < 2500
        assert (labels[Task.DEPTH].value[near] == view.depth_m[near]).all()
        assert (is_beyond_range(labels[Task.DEPTH]) == (view.depth_m > FAR_DEPTH_M)).all()
        assert np.isfinite(labels[Task.DEPTH].value).all() and labels[Task.DEPTH].valid.all()
        assert (labels[Task.NORMALS].valid == solid).all()
        assert (labels[Task.SEMANTIC].value == view.semantic).all()
        assert labels[Task.INSTANCE].instance_classes == view.instance_classes
        referring = labels[Task.REFERRING]
        assert referring.classes[-1] == "background"
        for position, phrase in enumerate(referring.classes[:-1]):
            kind = phrase.removeprefix("nearest ")
            pointed_at = referring.value == position
            of_its_kind = view.semantic == SYNTHETIC_CLASSES.index(kind)
            assert pointed_at.any() and of_its_kind[pointed_at].all()


def test_fly_through_is_smooth_in_one_scene() -> None:
    frames = list(fly_through(16, SyntheticConfig(size_hw=(72, 96)), fps=24.0))
    for before, after in pairwise(frames):
        assert np.abs(before.rgb.astype(int) - after.rgb).mean() < 14
        assert abs(np.median(before.depth_m) / np.median(after.depth_m) - 1) < 0.05
        assert np.mean(before.semantic != after.semantic) < 0.12
    assert min(frame.depth_m.min() for frame in frames) > 0.4  # the camera goes through nothing
    assert (frames[0].rgb != frames[-1].rgb).any()
    again = next(iter(fly_through(1, SyntheticConfig(size_hw=(72, 96)), fps=24.0)))
    assert (again.rgb == frames[0].rgb).all()


def test_large_image_can_be_rendered() -> None:
    # If this fails, a texture look-up is again one row of more points than OpenCV takes.
    assert render_view(3, SyntheticConfig(size_hw=(300, 400))).rgb.shape == (300, 400, 3)
