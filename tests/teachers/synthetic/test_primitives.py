"""Ray intersection with the primitives, and the camera."""

from __future__ import annotations

import numpy as np
import pytest

from distill.teachers.synthetic.camera import Camera, fly_path, pixel_grid
from distill.teachers.synthetic.primitives import Box, Cylinder, Plane, Solid, Sphere

SOLIDS = (
    Sphere((0.3, 0.5, -4.0), 0.5),
    Cylinder((-0.4, 0.8, -3.0), 0.3, 0.8),
    Box((0.2, 0.4, -3.5), (0.6, 0.4, 0.3), 0.7),
    Box((0.0, 1.0, -6.0), (3.5, 1.0, 0.15), 0.4),  # long and thin: its bounding sphere reaches far in front of it
)


def rays(seed: int, count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    origin = rng.uniform((-4, 0, -8), (4, 3, 1), (count, 3)).T.astype(np.float32)
    return origin, rng.normal(0, 1, (3, count)).astype(np.float32)


def inside(solid: Solid, points: np.ndarray) -> np.ndarray:
    """An independent definition of what is inside, to hold the ray casting against."""
    x, y, z = points - np.array(solid.center_m)[:, None]
    if isinstance(solid, Sphere):
        return x**2 + y**2 + z**2 <= solid.ball_radius_m**2
    if isinstance(solid, Cylinder):
        return (x**2 + z**2 <= solid.tube_radius_m**2) & (abs(y) <= solid.half_height_m)
    assert isinstance(solid, Box)
    cos, sin = np.cos(solid.yaw_rad), np.sin(solid.yaw_rad)
    along, across = cos * x - sin * z, sin * x + cos * z
    return (abs(along) <= solid.half_m[0]) & (abs(y) <= solid.half_m[1]) & (abs(across) <= solid.half_m[2])


@pytest.mark.parametrize("solid", SOLIDS, ids=lambda solid: type(solid).__name__)
def test_a_ray_is_outside_before_its_hit_and_inside_after(solid: Solid) -> None:
    origin, direction = rays(0)
    free = ~inside(solid, origin)
    origin, direction = origin[:, free], direction[:, free] / np.linalg.norm(direction[:, free], axis=0)
    distance = solid.cast(origin, direction)
    hit = np.isfinite(distance)
    assert hit.sum() > 15
    before = origin[:, hit] + (distance[hit] - 2e-3) * direction[:, hit]
    # Half way through the body: safely inside however short the chord.
    enter, leave = solid.spans(origin[:, hit], direction[:, hit])
    assert not inside(solid, before).any()
    assert inside(solid, origin[:, hit] + (enter + leave) / 2 * direction[:, hit]).all()
    # Rays that miss are never inside, tried at 200 places of each ray.
    for step in np.linspace(0, 12, 200):
        assert not inside(solid, origin[:, ~hit] + step * direction[:, ~hit]).any()


@pytest.mark.parametrize("solid", SOLIDS, ids=lambda solid: type(solid).__name__)
def test_bounding_sphere_test_misses_no_hit(solid: Solid) -> None:
    # If this fails, things lose pieces of themselves or of their shadows.
    origin, direction = rays(1)
    free = ~inside(solid, origin)
    hit = np.isfinite(solid.cast(origin[:, free], direction[:, free]))
    near = solid.near(origin[:, free], direction[:, free])
    assert near[hit].all()
    assert near.mean() < 0.6  # and it does save work


@pytest.mark.parametrize("solid", SOLIDS, ids=lambda solid: type(solid).__name__)
def test_normals_are_perpendicular_to_the_surface(solid: Solid) -> None:
    origin, direction = rays(2)
    free = ~inside(solid, origin)
    origin, direction = origin[:, free], direction[:, free]
    distance = solid.cast(origin, direction)
    hit = np.isfinite(distance)
    points = origin[:, hit] + distance[hit] * direction[:, hit]
    surface = solid.surface(points)
    assert np.allclose(np.linalg.norm(surface.normal, axis=0), 1, atol=1e-5)
    assert not inside(solid, points + 1e-3 * surface.normal).any()
    assert inside(solid, points - 1e-3 * surface.normal).mean() > 0.98  # all but some right at an edge


def test_plane_is_visible_from_its_front_only() -> None:
    ground = Plane(1, 0.0, 1)
    origin = np.array([[0], [2], [0]], np.float32)
    down, up = np.array([[0], [-1], [0]], np.float32), np.array([[0], [1], [0]], np.float32)
    assert ground.cast(origin, down)[0] == 2
    assert np.isinf(ground.cast(origin, up)[0])
    assert np.isinf(ground.cast(-origin, up)[0])


def test_pitch_down_moves_the_horizon_up() -> None:
    camera = Camera((0.0, 1.5, 0.0), yaw_rad=0.4, pitch_rad=np.deg2rad(-10), roll_rad=0.0, fov_deg=60.0)
    up = camera.rays(pixel_grid((48, 64)), (48, 64))[1].reshape(48, 64)
    horizon_row = 24 - camera.focal_px((48, 64)) * np.tan(np.deg2rad(10))
    assert (up[: int(horizon_row)] > 0).all()
    assert (up[int(horizon_row) + 1 :] < 0).all()


def test_positive_roll_lifts_the_right_side() -> None:
    camera = Camera((0.0, 1.5, 0.0), 0.0, 0.0, roll_rad=np.deg2rad(5), fov_deg=60.0)
    up = camera.rays(pixel_grid((48, 64)), (48, 64))[1].reshape(48, 64)
    assert up[24, -1] > 0 > up[24, 0]


def test_camera_path_is_smooth() -> None:
    cameras = list(fly_path(60, 24.0, 3.0, 1.5, 0.0))
    positions = np.array([camera.position_m for camera in cameras])
    angles = np.array([(camera.yaw_rad, camera.pitch_rad, camera.roll_rad) for camera in cameras])
    assert np.abs(np.diff(positions, axis=0)).max() < 0.06  # meters a frame
    assert np.rad2deg(np.abs(np.diff(angles, axis=0)).max()) < 1.5
    assert np.abs(np.diff(positions, n=2, axis=0)).max() < 2e-3  # no jerks
