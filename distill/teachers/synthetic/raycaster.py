"""Ray caster: ground truth and photo of a scene."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int16, Int64, UInt8, UInt16
from numpy import ndarray
from numpy.random import Generator

from distill.teachers.synthetic.camera import Camera, pixel_grid
from distill.teachers.synthetic.primitives import Plane, Solid, dot
from distill.teachers.synthetic.scene import SKY, SceneObject, Sky, World
from distill.teachers.synthetic.textures import albedo

_SUBPIXELS = ((-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25))
"""Four rays per pixel. Each sees another point of the lamp, so they also give shadows a penumbra."""
_ROUGH_STEP = 0.06
"""Smallest step of the displayed brightness (of 1) at which a pixel gets four rays."""
_SENSOR_SIGMA = 1.3
"""Noise of the photo in 8-bit levels: a phone in daylight."""


@dataclass(frozen=True, slots=True)
class RayHits:
    """First hits of rays.

    Attributes:
        depth_m: z-depth; infinity for sky.
        obj: Index into the objects of the world; -1 for sky.
        points_m: World positions; undefined for sky.
    """

    depth_m: Float[ndarray, " n"]
    obj: Int16[ndarray, " n"]
    points_m: Float[ndarray, "3 n"]


@dataclass(frozen=True, slots=True)
class Truth:
    """Ground truth of an image.

    Attributes:
        depth_m: z-depth in meters; infinity for sky.
        normals: Unit vectors, camera frame x right, y up, z toward the camera; 0 for sky.
        semantic: Index into `SYNTHETIC_CLASSES`.
        instance: Instance id; 0 for none.
    """

    depth_m: Float[ndarray, "h w"]
    normals: Float[ndarray, "h w 3"]
    semantic: UInt8[ndarray, "h w"]
    instance: UInt16[ndarray, "h w"]


def cast(objects: tuple[SceneObject, ...], origin: Float[ndarray, "3 1"], rays: Float[ndarray, "3 n"]) -> RayHits:
    """The nearest object along each ray."""
    depth = np.full(rays.shape[1], np.inf, np.float32)
    index = np.full(rays.shape[1], -1, np.int16)
    for number, obj in enumerate(objects):
        if isinstance(obj.shape, Solid):
            rows = np.flatnonzero(obj.shape.near(origin, rays))
            distance = obj.shape.cast(origin, rays[:, rows])
            closer = distance < depth[rows]
            depth[rows[closer]], index[rows[closer]] = distance[closer], number
        else:
            distance = obj.shape.cast(origin, rays)
            closer = distance < depth
            depth[closer], index[closer] = distance[closer], number
    return RayHits(depth, index, origin + np.where(index >= 0, depth, np.float32(0)) * rays)


def trace_truth(
    objects: tuple[SceneObject, ...],
    camera: Camera,
    pixels_xy: Float[ndarray, "2 n"],
    photo_hw: tuple[int, int],
    out_hw: tuple[int, int],
) -> Truth:
    """Ground truth at continuous positions of the photo, which may be outside it.

    Args:
        objects: Visible objects.
        camera: Camera of the photo.
        pixels_xy: One position for each pixel of the result, row by row.
        photo_hw: Size of the photo.
        out_hw: Size of the result.
    """
    hits = cast(objects, camera.origin, camera.rays(pixels_xy, photo_hw))
    normals = np.zeros_like(hits.points_m)
    for number, rows in _members(hits, len(objects)):
        normals[:, rows] = objects[number].shape.surface(hits.points_m[:, rows]).normal
    normals = camera.rotation.T @ normals
    # The last entry is that of index -1.
    classes = np.array([obj.class_id for obj in objects] + [SKY], np.uint8)
    instances = np.array([obj.instance_id for obj in objects] + [0], np.uint16)
    return Truth(
        depth_m=hits.depth_m.reshape(out_hw),
        normals=np.ascontiguousarray(normals.T).reshape(*out_hw, 3),
        semantic=classes[hits.obj].reshape(out_hw),
        instance=instances[hits.obj].reshape(out_hw),
    )


def photograph(world: World, camera: Camera, size_hw: tuple[int, int], rng: Generator) -> UInt8[ndarray, "h w 3"]:
    """The photo of a camera: anti-aliased, tone-mapped, with sensor noise."""
    grid = pixel_grid(size_hw)
    exposed = _shade(world, camera, camera.rays(grid, size_hw), size_hw, (0.0, 0.0))
    rough = _rough(exposed, size_hw)
    finer = np.zeros((3, rough.size), np.float32)
    for offset in _SUBPIXELS:
        rays = camera.rays(grid[:, rough] + np.array(offset, np.float32)[:, None], size_hw)
        finer += _shade(world, camera, rays, size_hw, offset)
    exposed[:, rough] = finer / len(_SUBPIXELS)
    exposed *= np.float32(rng.uniform(0.9, 1.12))
    exposed *= 1 + rng.normal(0, 0.015, (3, 1)).astype(np.float32)
    # A soft shoulder instead of a hard clip keeps the texture of bright walls.
    shown = 255 * np.power(exposed / (1 + 0.2 * exposed**2), np.float32(1 / 2.2))
    shown += rng.standard_normal(shown.shape, np.float32) * np.float32(_SENSOR_SIGMA)
    photo: ndarray = np.clip(np.rint(shown), 0, 255).astype(np.uint8).T.reshape(*size_hw, 3)
    return photo


def _rough(exposed: Float[ndarray, "3 n"], size_hw: tuple[int, int]) -> Int64[ndarray, " m"]:
    """Pixels with a change nearby; for the others (two thirds) one ray gives the same color as four."""
    brightness = np.sqrt(exposed.mean(axis=0)).reshape(size_hw)
    step = cv2.morphologyEx(brightness, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    # One pixel more on each side: the penumbra is wider than the detected step.
    changing = cv2.dilate((step > _ROUGH_STEP).astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.flatnonzero(changing)


def _shade(
    world: World, camera: Camera, rays: Float[ndarray, "3 n"], size_hw: tuple[int, int], offset: tuple[float, float]
) -> Float[ndarray, "3 n"]:
    """Linear color along each ray."""
    hits = cast(world.objects, camera.origin, rays)
    color = _sky_color(world.sky, rays) if world.sky else np.zeros_like(rays)
    met = np.flatnonzero(hits.obj >= 0)
    hits, rays = RayHits(hits.depth_m[met], hits.obj[met], hits.points_m[:, met]), rays[:, met]
    length = np.sqrt(dot(rays, rays))
    normal, base, gloss = _surfaces(world, hits, rays / length, length / np.float32(camera.focal_px(size_hw)))
    to_light = _light_point(world, offset) - hits.points_m
    distance = np.sqrt(dot(to_light, to_light))
    to_light /= distance
    facing = np.maximum(dot(normal, to_light), 0)
    lit = np.flatnonzero(facing > 0)
    arriving = (facing > 0) / (1 + (distance / np.float32(world.light.reach_m)) ** 2)
    off_surface = hits.points_m[:, lit] + np.float32(2e-3) * normal[:, lit]
    arriving[lit] *= ~_shadowed(world, off_surface, to_light[:, lit], distance[lit])
    # The mirror direction of the view, compared with the light, gives the highlight.
    mirrored = dot(to_light, rays) - 2 * dot(normal, rays) * dot(normal, to_light)
    shine = gloss * np.square(np.square(np.square(np.square(np.maximum(mirrored / length, 0)))))
    power = np.array(world.light.color, np.float32)[:, None]
    ambient = np.array(world.ambient, np.float32)[:, None] * _ambient_occlusion(world, hits.points_m, normal)
    seen = base * (ambient + power * (facing * arriving)) + power * (shine * arriving)
    if world.sky:
        haze = np.exp(hits.depth_m * length * np.float32(-1 / world.sky.haze_m))
        seen = haze * seen + (1 - haze) * np.array(world.sky.horizon, np.float32)[:, None]
    color[:, met] = seen
    return color


def _surfaces(
    world: World, hits: RayHits, view: Float[ndarray, "3 n"], pixel_rad: Float[ndarray, " n"]
) -> tuple[Float[ndarray, "3 n"], Float[ndarray, "3 n"], Float[ndarray, " n"]]:
    """(normal, color, gloss) at every hit.

    Args:
        world: The scene.
        hits: First hits of the rays.
        view: Unit vectors from the camera.
        pixel_rad: Width of a pixel at the hit, divided by its z-depth.
    """
    normal, base = np.zeros_like(hits.points_m), np.zeros_like(hits.points_m)
    gloss = np.zeros_like(hits.depth_m)
    for number, rows in _members(hits, len(world.objects)):
        obj = world.objects[number]
        surface = obj.shape.surface(hits.points_m[:, rows])
        slant = np.maximum(np.abs(dot(surface.normal, view[:, rows])), np.float32(0.02))
        normal[:, rows], gloss[rows] = surface.normal, obj.material.gloss
        base[:, rows] = albedo(obj.material, surface.uv_m, hits.depth_m[rows] * pixel_rad[rows] / slant)
    return normal, base, gloss


def _members(hits: RayHits, count: int) -> list[tuple[int, ndarray]]:
    """(object, the rays that hit it) for every object that is hit."""
    members = [(number, np.flatnonzero(hits.obj == number)) for number in range(count)]
    return [(number, rows) for number, rows in members if rows.size]


def _light_point(world: World, offset: tuple[float, float]) -> Float[ndarray, "3 1"]:
    """A point of the lamp: each of the four subpixels sees another quarter of a horizontal disc."""
    x, y, z = world.light.position_m
    spread = world.light.radius_m * 2.2
    return np.array([x + offset[0] * spread, y, z + offset[1] * spread], np.float32)[:, None]


def _shadowed(
    world: World, points: Float[ndarray, "3 n"], to_light: Float[ndarray, "3 n"], distance_m: Float[ndarray, " n"]
) -> Bool[ndarray, " n"]:
    """Whether a solid is between a point and the light."""
    shadowed = np.zeros(points.shape[1], bool)
    for obj in world.objects:
        if isinstance(obj.shape, Solid):
            rows = np.flatnonzero(obj.shape.near(points, to_light) & ~shadowed)
            shadowed[rows] = obj.shape.cast(points[:, rows], to_light[:, rows]) < distance_m[rows]
    return shadowed


def _ambient_occlusion(
    world: World, points: Float[ndarray, "3 n"], normal: Float[ndarray, "3 n"]
) -> Float[ndarray, " n"]:
    """Ambient occlusion: corners and the ground next to objects are darker."""
    openness = np.ones(points.shape[1], np.float32)
    ground = np.flatnonzero((np.abs(points[1]) < 1e-3) & (normal[1] > 0.5))
    for obj in world.objects:
        if isinstance(obj.shape, Plane):
            axis = obj.shape.axis
            distance = (points[axis] - np.float32(obj.shape.offset_m)) * np.float32(1 / 0.3)
            openness *= 1 - np.float32(0.42) * (1 - np.abs(normal[axis])) / (1 + distance**2)
        elif isinstance(obj.shape, Solid):
            openness[ground] *= _ground_light(obj.shape, points[0, ground], points[2, ground])
    return openness


def _ground_light(shape: Solid, x: Float[ndarray, " n"], z: Float[ndarray, " n"]) -> Float[ndarray, " n"]:
    """Fraction of ambient light on the ground next to an object, which counts as a sphere at its own height."""
    foot = min(shape.radius_m, shape.center_m[1])
    along_sq = (x - np.float32(shape.center_m[0])) ** 2 + (z - np.float32(shape.center_m[2])) ** 2
    # A sphere of radius r, h above the ground, occludes h r^2 / d^3 of a horizontal patch's sky.
    away_sq = along_sq + np.float32(shape.center_m[1] ** 2)
    light: ndarray = 1 - np.minimum(shape.center_m[1] * foot**2 / (away_sq * np.sqrt(away_sq)), np.float32(0.75))
    return light


def _sky_color(sky: Sky, rays: Float[ndarray, "3 n"]) -> Float[ndarray, "3 n"]:
    """Light at the horizon, darker above."""
    rise = np.clip(rays[1] / np.sqrt(dot(rays, rays)), 0, 1) ** np.float32(0.6)
    horizon, zenith = np.array(sky.horizon, np.float32)[:, None], np.array(sky.zenith, np.float32)[:, None]
    color: ndarray = horizon + (zenith - horizon) * rise
    return color
