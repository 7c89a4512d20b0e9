"""Rendered images of synthetic scenes with their ground truth: single scenes and fly-throughs."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, UInt8, UInt16
from numpy import ndarray
from numpy.random import Generator

from distill.config.synthetic import SyntheticConfig
from distill.images import Photo, encode_jpeg, read_photo
from distill.teachers.base import Dependencies, PhotoRef
from distill.teachers.synthetic.camera import Camera, fly_path, pixel_grid
from distill.teachers.synthetic.raycaster import photograph, trace_truth
from distill.teachers.synthetic.scene import World
from distill.teachers.synthetic.scene_sampler import compose_fly_through, compose_view


@dataclass(frozen=True, slots=True)
class View:
    """An image and its ground truth.

    Attributes:
        rgb: The image.
        depth_m: z-depth in meters; infinity for sky.
        normals: Unit vectors, camera frame x right, y up, z toward the camera; 0 for sky.
        semantic: Index into `SYNTHETIC_CLASSES`.
        instance: Instance id; 0 for background.
        fov_deg: Vertical field of view.
        instance_classes: Instance id to class name, visible instances only.
    """

    rgb: UInt8[ndarray, "h w 3"]
    depth_m: Float[ndarray, "h w"]
    normals: Float[ndarray, "h w 3"]
    semantic: UInt8[ndarray, "h w"]
    instance: UInt16[ndarray, "h w"]
    fov_deg: float
    instance_classes: Mapping[int, str]


def render_view(index: int, config: SyntheticConfig) -> View:
    """The view of one scene; it depends only on seed, index and size.

    Args:
        index: Number of the scene from 0, independent of `SyntheticConfig.first`.
        config: Seed and size.
    """
    world, camera = scene(config.seed, index)
    return _view(world, camera, config.size_hw, np.random.default_rng([config.seed, index, 1]))


def scene_photo(index: int, config: SyntheticConfig) -> Photo:
    """One scene as a photo file (JPEG), with the pixels decoded from it."""
    world, camera = scene(config.seed, index)
    rgb = photograph(world, camera, config.size_hw, np.random.default_rng([config.seed, index, 1]))
    key = f"scene-{index:06d}"
    return read_photo(encode_jpeg(rgb), key=key, name=f"{key}.jpg", origin={"scene": index, "seed": config.seed})


def fly_through(num_frames: int, config: SyntheticConfig, *, fps: float = 24.0) -> Iterator[View]:
    """Frames of a camera path around one furnished indoor scene, at walking pace."""
    rng = np.random.default_rng([config.seed, zlib.crc32(b"fly-through")])
    world, radius_m, height_m = compose_fly_through(rng)
    for camera in fly_path(num_frames, fps, radius_m, height_m, float(rng.uniform(0, 2 * np.pi))):
        yield _view(world, camera, config.size_hw, rng)


@lru_cache(maxsize=8)
def scene(seed: int, index: int) -> tuple[World, Camera]:
    """World and camera of a scene."""
    return compose_view(np.random.default_rng([seed, index]))


class ScenesSource:
    """The rendered scenes of a synthetic teacher, as a `Source` of a labeling job."""

    ignored: Sequence[str] = ()
    left_out: Sequence[str] = ()

    def __init__(self, config: SyntheticConfig) -> None:
        self._config = config

    def __len__(self) -> int:
        return self._config.scenes

    def photo(self, position: int) -> PhotoRef:
        """As `Source.photo`."""
        scene = self._config.first + position
        return PhotoRef(f"scene {scene}", {"scene": scene})

    def dependencies(self, position: int) -> Dependencies:
        """As `Source.dependencies`."""
        return Dependencies(f"scene {self._config.first + position} of seed {self._config.seed}")

    def read(self, start: int, stop: int, min_size_hw: tuple[int, int] | None = None) -> Iterator[Photo]:
        """As `Source.read`."""
        for index in range(start, stop):
            yield scene_photo(self._config.first + index, self._config)


def _view(world: World, camera: Camera, size_hw: tuple[int, int], rng: Generator) -> View:
    truth = trace_truth(world.objects, camera, pixel_grid(size_hw), size_hw, size_hw)
    visible = set(np.unique(truth.instance).tolist())
    return View(
        rgb=photograph(world, camera, size_hw, rng),
        depth_m=truth.depth_m,
        normals=truth.normals,
        semantic=truth.semantic,
        instance=truth.instance,
        fov_deg=camera.fov_deg,
        instance_classes={number: name for number, name in world.instance_classes.items() if number in visible},
    )
