"""Random scenes: furnished interiors and open ground, with a camera that sees some objects.

Objects keep clear of the camera, the walls and each other. Camera height, pitch, field of view and interior size vary,
so that size, height and distance cannot be inferred from the row of a pixel alone.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from distill.teachers.synthetic.camera import Camera
from distill.teachers.synthetic.materials import (
    ambient,
    ceiling_lamp,
    ceiling_material,
    door_material,
    floor_material,
    ground_material,
    object_material,
    open_sky,
    sun,
    wall_material,
)
from distill.teachers.synthetic.primitives import Box, Cylinder, Plane, Solid, Sphere
from distill.teachers.synthetic.scene import (
    BOX,
    CEILING,
    COUNTABLE,
    CYLINDER,
    DOOR,
    GROUND,
    SPHERE,
    WALL,
    SceneObject,
    World,
)

INDOOR_PROBABILITY = 0.6
_CLEARANCE_M = 0.9
"""Free distance around the camera."""
_FLY_RADIUS_M = 3.1

Footprint = tuple[float, float, float]
"""x, z and radius on the ground."""


def compose_view(rng: Generator) -> tuple[World, Camera]:
    """A random world and a camera in it."""
    return _indoor_view(rng) if rng.random() < INDOOR_PROBABILITY else _outdoor_view(rng)


def compose_fly_through(rng: Generator) -> tuple[World, float, float]:
    """(an interior with objects in the center, radius and height in meters of a free circular path around them)."""
    half_x, half_z, height = rng.uniform(4.6, 5.4), rng.uniform(4.6, 5.4), rng.uniform(2.6, 3.2)
    footprints: list[Footprint] = []
    objects: list[SceneObject] = []
    for _ in range(9):
        radius, bearing = 1.9 * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
        _place_objects(
            rng,
            (radius * np.sin(bearing), radius * np.cos(bearing)),
            0.8,
            footprints,
            objects,
            bounds_m=(half_x, half_z),
        )
    shell = _shell(rng, half_x, half_z, height) + _doors(rng, half_x, half_z, 4)
    light = ceiling_lamp(rng, half_x, half_z, height)
    return (
        World(_numbered(shell + objects), light, ambient(rng, 0.58), None),
        _FLY_RADIUS_M,
        float(rng.uniform(1.4, 1.7)),
    )


def _indoor_view(rng: Generator) -> tuple[World, Camera]:
    half_x, half_z, height = rng.uniform(1.7, 4.0), rng.uniform(2.0, 5.0), rng.uniform(2.35, 3.5)
    camera = Camera(
        position_m=(
            float(rng.uniform(-0.5, 0.5) * half_x),
            float(rng.uniform(1.05, min(1.95, height - 0.4))),
            float(half_z - rng.uniform(0.4, 1.2)),
        ),
        yaw_rad=float(np.deg2rad(rng.uniform(-38, 38))),
        pitch_rad=float(np.deg2rad(rng.uniform(-32, 8))),
        roll_rad=float(np.deg2rad(np.clip(rng.normal(0, 1.5), -4, 4))),
        fov_deg=float(rng.uniform(50, 66)),
    )
    x, _, z = camera.position_m
    footprints: list[Footprint] = [(x, z, _CLEARANCE_M)]
    objects: list[SceneObject] = []
    for place in _places(rng, camera, int(rng.integers(6, 12)), 1.5, 2 * half_z):
        _place_objects(rng, place, 1.0, footprints, objects, bounds_m=(half_x, half_z))
    shell = _shell(rng, half_x, half_z, height) + _doors(rng, half_x, half_z, int(rng.integers(1, 4)))
    light = ceiling_lamp(rng, half_x, half_z, height)
    return World(_numbered(shell + objects), light, ambient(rng, 0.58), None), camera


def _outdoor_view(rng: Generator) -> tuple[World, Camera]:
    camera = Camera(
        position_m=(0.0, float(rng.uniform(1.1, 2.7)), 0.0),
        yaw_rad=float(rng.uniform(0, 2 * np.pi)),
        pitch_rad=float(np.deg2rad(rng.uniform(-32, 4))),
        roll_rad=float(np.deg2rad(np.clip(rng.normal(0, 1.5), -4, 4))),
        fov_deg=float(rng.uniform(50, 66)),
    )
    footprints: list[Footprint] = [(0.0, 0.0, 1.6)]
    objects: list[SceneObject] = []
    for place in _places(rng, camera, int(rng.integers(0, 3)), 6.0, 16.0):
        _add_wall(rng, place, camera.yaw_rad, footprints, objects)
    for place in _places(rng, camera, int(rng.integers(6, 12)), 2.4, 14.0):
        # Distant objects are larger, so that they are visible.
        size = 1.0 + float(np.hypot(*place)) / 12
        _place_objects(rng, place, size, footprints, objects, bounds_m=(np.inf, np.inf))
    ground = SceneObject(Plane(1, 0.0, 1), ground_material(rng), GROUND)
    world = World(_numbered([ground, *objects]), sun(rng, camera), ambient(rng, 0.45), open_sky(rng))
    return world, camera


def _places(rng: Generator, camera: Camera, count: int, near_m: float, far_m: float) -> list[tuple[float, float]]:
    """Positions (x, z) on the ground in the field of view, more of them near than far."""
    distances = near_m * (far_m / near_m) ** (rng.random(count) ** 1.5)
    bearings = camera.yaw_rad + np.deg2rad(0.55 * camera.fov_deg) * rng.uniform(-1, 1, count)
    x, _, z = camera.position_m
    return [(float(x - d * np.sin(b)), float(z - d * np.cos(b))) for d, b in zip(distances, bearings, strict=True)]


def _place_objects(
    rng: Generator,
    place: tuple[float, float],
    size: float,
    footprints: list[Footprint],
    objects: list[SceneObject],
    *,
    bounds_m: tuple[float, float],
) -> None:
    """Add an object (and sometimes another one on top) at a position if the position is free."""
    class_id = (BOX, SPHERE, CYLINDER)[int(rng.choice(3, p=(0.34, 0.34, 0.32)))]
    shape = _solid(rng, (place[0], 0.0, place[1]), size, class_id)
    reach = _floor_reach(shape)
    if abs(place[0]) + reach > bounds_m[0] or abs(place[1]) + reach > bounds_m[1]:
        return
    if any(np.hypot(place[0] - x, place[1] - z) < reach + radius + 0.05 for x, z, radius in footprints):
        return
    footprints.append((*place, reach))
    objects.append(SceneObject(shape, object_material(rng), _class_of(shape)))
    if isinstance(shape, Box) and shape.half_m[1] < 0.5 * size and rng.random() < 0.4:
        # 0.62 of the half width of the lower box: the upper object is well inside it.
        base = (place[0], 2 * shape.half_m[1], place[1])
        upper = _solid(
            rng, base, 0.62 * min(shape.half_m[0], shape.half_m[2]) / 0.5, int(rng.choice((BOX, SPHERE, CYLINDER)))
        )
        objects.append(SceneObject(upper, object_material(rng), _class_of(upper)))


def _solid(rng: Generator, foot_m: tuple[float, float, float], size: float, class_id: int) -> Solid:
    """A solid of a class, on top of a point."""
    x, y, z = foot_m
    if class_id == SPHERE:
        radius = size * rng.uniform(0.28, 0.6)
        return Sphere((x, y + radius, z), radius)
    if class_id == CYLINDER:
        half_height = size * rng.uniform(0.22, 0.85)
        return Cylinder((x, y + half_height, z), size * rng.uniform(0.18, 0.42), half_height)
    half = (size * rng.uniform(0.22, 0.55), size * rng.uniform(0.18, 0.7), size * rng.uniform(0.22, 0.55))
    return Box((x, y + half[1], z), half, rng.uniform(0, np.pi))


def _class_of(shape: Solid) -> int:
    return {Box: BOX, Sphere: SPHERE, Cylinder: CYLINDER}[type(shape)]


def _floor_reach(shape: Solid) -> float:
    """Radius of the circle on the ground that the object occupies."""
    if isinstance(shape, Box):
        return float(np.hypot(shape.half_m[0], shape.half_m[2]))
    return shape.tube_radius_m if isinstance(shape, Cylinder) else shape.radius_m


def _add_wall(
    rng: Generator,
    place: tuple[float, float],
    facing_rad: float,
    footprints: list[Footprint],
    objects: list[SceneObject],
) -> None:
    """Add a free-standing wall that roughly faces the camera."""
    half = (float(rng.uniform(1.8, 4.0)), float(rng.uniform(0.9, 1.7)), 0.15)
    yaw = float(facing_rad + rng.uniform(-0.7, 0.7))
    along = np.array([np.cos(yaw), -np.sin(yaw)])
    # A row of small circles covers a long wall better than one large circle.
    row = [(*(np.array(place) + step * along), 0.35) for step in np.linspace(-half[0], half[0], 9)]
    if any(np.hypot(x - a, z - b) < 0.35 + radius for x, z, _ in row for a, b, radius in footprints):
        return
    footprints.extend((float(x), float(z), radius) for x, z, radius in row)
    objects.append(SceneObject(Box((place[0], half[1], place[1]), half, yaw), wall_material(rng, outdoors=True), WALL))


def _shell(rng: Generator, half_x: float, half_z: float, height: float) -> list[SceneObject]:
    """Ground, ceiling and four walls; sometimes one wall differs."""
    plain = wall_material(rng, outdoors=False)
    accent = wall_material(rng, outdoors=False) if rng.random() < 0.35 else plain
    return [
        SceneObject(Plane(1, 0.0, 1), floor_material(rng), GROUND),
        SceneObject(Plane(1, height, -1), ceiling_material(rng), CEILING),
        SceneObject(Plane(0, -half_x, 1), plain, WALL),
        SceneObject(Plane(0, half_x, -1), plain, WALL),
        SceneObject(Plane(2, -half_z, 1), accent, WALL),
        SceneObject(Plane(2, half_z, -1), plain, WALL),
    ]


def _doors(rng: Generator, half_x: float, half_z: float, count: int) -> list[SceneObject]:
    """Closed entrances on different walls, the far wall first; 8 cm thick, so that they stand out of the walls."""
    found: list[SceneObject] = []
    places: list[tuple[float, float]] = []
    for wall in rng.permutation((0, 1, 1, 2))[:count] if count > 1 else (1,):
        half_width, half_height = float(rng.uniform(0.42, 0.6)), float(rng.uniform(0.98, 1.1))
        span = half_z if wall != 1 else half_x
        along = float(rng.uniform(-0.75, 0.75) * (span - half_width))
        # Local x is along the width: rotated by 90 degrees on the side walls.
        center = (along, half_height, -half_z) if wall == 1 else ((wall - 1) * half_x, half_height, along)
        shape = Box(center, (half_width, half_height, 0.08), 0.0 if wall == 1 else np.pi / 2)
        if all(np.hypot(center[0] - x, center[2] - z) > 1.4 for x, z in places):
            places.append((center[0], center[2]))
            found.append(SceneObject(shape, door_material(rng, half_width), DOOR))
    return found


def _numbered(objects: list[SceneObject]) -> tuple[SceneObject, ...]:
    """The objects, with instance ids for countable classes."""
    count = 0
    numbered = []
    for obj in objects:
        countable = obj.class_id in COUNTABLE
        count += countable
        numbered.append(SceneObject(obj.shape, obj.material, obj.class_id, count if countable else 0))
    return tuple(numbered)
