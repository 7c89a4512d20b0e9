"""Random materials: muted walls, light ceilings, grounds of wood or stone, and objects in stronger colors."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.random import Generator

from distill.teachers.synthetic.camera import Camera
from distill.teachers.synthetic.scene import Light, Sky
from distill.teachers.synthetic.textures import Color, Material, Pattern


def wall_material(rng: Generator, *, outdoors: bool) -> Material:
    """Plain color, stripes or brick; brick more often outdoors."""
    if rng.random() < (0.6 if outdoors else 0.18):
        brick = _color(rng, hue=(0.01, 0.09), saturation=(0.25, 0.6), value=(0.35, 0.65))
        return Material("bricks", brick, _tone(brick, 1.55), rng.uniform(0.28, 0.5), 0.35, 0.0)
    plain = _color(rng, hue=(0.0, 1.0), saturation=(0.02, 0.22), value=(0.5, 0.88))
    pattern: Pattern = "stripes" if rng.random() < 0.15 else "plain"
    return Material(pattern, plain, _tone(plain, 0.88), rng.uniform(0.2, 0.6), 0.16, 0.0)


def ceiling_material(rng: Generator) -> Material:
    """White, plain or with tiles."""
    white = _color(rng, hue=(0.0, 1.0), saturation=(0.0, 0.07), value=(0.75, 0.95))
    pattern: Pattern = "tiles" if rng.random() < 0.3 else "plain"
    return Material(pattern, white, _tone(white, 0.8), 0.6, 0.1, 0.0)


def floor_material(rng: Generator) -> Material:
    """Planks, tiles, checker or carpet."""
    kind = ("planks", "tiles", "checker", "noise")[int(rng.choice(4, p=(0.4, 0.25, 0.15, 0.2)))]
    if kind == "planks":
        wood = _color(rng, hue=(0.05, 0.11), saturation=(0.3, 0.6), value=(0.3, 0.65))
        return Material("planks", wood, _tone(wood, 0.55), rng.uniform(0.25, 0.4), 0.35, 0.12)
    base = _color(rng, hue=(0.0, 1.0), saturation=(0.03, 0.35), value=(0.3, 0.75))
    contrast = {"tiles": 0.6, "checker": 0.62, "noise": 0.7}[kind]
    pattern: Pattern = "tiles" if kind == "tiles" else "checker" if kind == "checker" else "noise"
    return Material(pattern, base, _tone(base, contrast), rng.uniform(0.3, 0.6), 0.25, 0.0 if kind == "noise" else 0.15)


def ground_material(rng: Generator) -> Material:
    """Grass, sand, asphalt or paving."""
    kind = int(rng.integers(4))
    if kind == 0:
        grass = _color(rng, hue=(0.20, 0.32), saturation=(0.35, 0.6), value=(0.3, 0.55))
        return Material("noise", grass, _tone(grass, 0.55), rng.uniform(0.8, 1.6), 0.6, 0.0)
    if kind == 1:
        sand = _color(rng, hue=(0.08, 0.13), saturation=(0.2, 0.42), value=(0.55, 0.8))
        return Material("noise", sand, _tone(sand, 0.75), rng.uniform(1.0, 2.0), 0.4, 0.0)
    stone = _color(rng, hue=(0.0, 1.0), saturation=(0.0, 0.12), value=(0.3, 0.65))
    if kind == 2:
        return Material("noise", stone, _tone(stone, 0.7), rng.uniform(0.6, 1.4), 0.5, 0.0)
    return Material("tiles", stone, _tone(stone, 0.6), rng.uniform(0.5, 1.1), 0.4, 0.0)


def door_material(rng: Generator, half_width_m: float) -> Material:
    """Panels, in wood or in another color."""
    if rng.random() < 0.6:
        wood = _color(rng, hue=(0.04, 0.10), saturation=(0.35, 0.65), value=(0.25, 0.55))
    else:
        wood = _color(rng, hue=(0.0, 1.0), saturation=(0.0, 0.4), value=(0.3, 0.85))
    return Material("panels", wood, _tone(wood, 0.6), half_width_m, 0.2, 0.1)


def object_material(rng: Generator) -> Material:
    """Any pattern, in a saturated color."""
    patterns: tuple[Pattern, ...] = ("plain", "plain", "checker", "stripes", "noise", "planks")
    pattern = patterns[int(rng.integers(len(patterns)))]
    base = _color(rng, hue=(0.0, 1.0), saturation=(0.15, 0.7), value=(0.42, 0.9))
    other = (
        _tone(base, rng.uniform(0.45, 0.75)) if rng.random() < 0.6 else _color(rng, (0.0, 1.0), (0.05, 0.5), (0.4, 0.9))
    )
    return Material(pattern, base, other, rng.uniform(0.16, 0.4), 0.3, float(rng.choice((0.0, 0.15, 0.45))))


def _color(
    rng: Generator, hue: tuple[float, float], saturation: tuple[float, float], value: tuple[float, float]
) -> Color:
    """A linear color, drawn from ranges in HSV of sRGB."""
    named = colorsys.hsv_to_rgb(rng.uniform(*hue), rng.uniform(*saturation), rng.uniform(*value))
    red, green, blue = np.power(named, 2.2)
    return float(red), float(green), float(blue)


def _tone(color: Color, factor: float) -> Color:
    """The color, lighter or darker."""
    red, green, blue = (min(0.95, channel * factor) for channel in color)
    return red, green, blue


def ceiling_lamp(rng: Generator, half_x: float, half_z: float, height: float) -> Light:
    """A warm or cool lamp below an indoor ceiling."""
    warmth, power = rng.uniform(-0.06, 0.1), rng.uniform(0.85, 1.3)
    position = (float(rng.uniform(-0.55, 0.55) * half_x), height - 0.55, float(rng.uniform(-0.3, 0.7) * half_z))
    return Light(position, 0.3, (power * (1 + warmth), power, power * (1 - warmth)), float(rng.uniform(3.5, 6.0)))


def sun(rng: Generator, camera: Camera) -> Light:
    """The sun, outside the camera's direction."""
    elevation = np.deg2rad(rng.uniform(28, 65))
    # Never ahead of the camera: against the light, objects are silhouettes.
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
    """Ambient light of about this power."""
    power *= rng.uniform(0.75, 1.1)
    cool = rng.uniform(-0.03, 0.08)
    return float(power * (1 - cool)), float(power), float(power * (1 + cool))
