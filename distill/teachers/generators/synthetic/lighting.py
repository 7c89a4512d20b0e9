"""Lights and skies drawn at random."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from distill.teachers.generators.synthetic.camera import Camera
from distill.teachers.generators.synthetic.scene import Light, Sky
from distill.teachers.generators.synthetic.texture import Color


def ceiling_lamp(rng: Generator, half_x: float, half_z: float, height: float) -> Light:
    """A warm or cool lamp some way under the ceiling of a room."""
    warmth, power = rng.uniform(-0.06, 0.1), rng.uniform(0.85, 1.3)
    position = (float(rng.uniform(-0.55, 0.55) * half_x), height - 0.55, float(rng.uniform(-0.3, 0.7) * half_z))
    return Light(position, 0.3, (power * (1 + warmth), power, power * (1 - warmth)), float(rng.uniform(3.5, 6.0)))


def sun(rng: Generator, camera: Camera) -> Light:
    """The sun, somewhere that the camera does not look."""
    elevation = np.deg2rad(rng.uniform(28, 65))
    # Never straight ahead: against the light everything is a silhouette.
    bearing = camera.yaw_rad + np.deg2rad(rng.uniform(50, 310))
    away = 300.0
    position = (
        float(-away * np.cos(elevation) * np.sin(bearing)),
        float(away * np.sin(elevation)),
        float(-away * np.cos(elevation) * np.cos(bearing)),
    )
    power = rng.uniform(1.3, 1.8)
    return Light(position, 5.0, (1.06 * power, power, 0.9 * power), 1e5)


def open_sky(rng: Generator) -> Sky:
    """A blue or overcast sky."""
    gray, light = rng.uniform(0, 0.7), rng.uniform(0.9, 1.2)
    zenith = np.array([0.20, 0.38, 0.78]) * (1 - gray) + np.array([0.55, 0.60, 0.66]) * gray
    horizon = np.array([0.66, 0.77, 0.90]) * (1 - gray) + np.array([0.78, 0.80, 0.82]) * gray
    red, green, blue = (float(value) for value in zenith * light)
    return Sky(
        (red, green, blue), (float(horizon[0] * light), float(horizon[1] * light), float(horizon[2] * light)), 140.0
    )


def ambient(rng: Generator, power: float) -> Color:
    """Light from everywhere, of about this power."""
    power *= rng.uniform(0.75, 1.1)
    cool = rng.uniform(-0.03, 0.08)
    return float(power * (1 - cool)), float(power), float(power * (1 + cool))
