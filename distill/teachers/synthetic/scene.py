"""Scene description: objects with materials and classes, a light, a sky."""

from __future__ import annotations

from dataclasses import dataclass

from distill.teachers.synthetic.primitives import Plane, Solid
from distill.teachers.synthetic.textures import Color, Material

SYNTHETIC_CLASSES = ("sky", "ground", "wall", "ceiling", "box", "sphere", "cylinder", "door")
"""Semantic ids in order."""

SKY, GROUND, WALL, CEILING, BOX, SPHERE, CYLINDER, DOOR = range(len(SYNTHETIC_CLASSES))

COUNTABLE = (BOX, SPHERE, CYLINDER, DOOR)
"""Classes whose objects are instances."""


@dataclass(frozen=True, slots=True)
class SceneObject:
    """A shape with material and class.

    Attributes:
        class_id: Index into `SYNTHETIC_CLASSES`.
        instance_id: From 1 for countable classes; else 0.
    """

    shape: Plane | Solid
    material: Material
    class_id: int
    instance_id: int = 0


@dataclass(frozen=True, slots=True)
class Light:
    """A round lamp, or the sun as a very distant one.

    Attributes:
        position_m: World position.
        radius_m: Radius; it determines the penumbra of shadows.
        color: Irradiance of a near surface that faces it.
        reach_m: Distance at which half of the light is left.
    """

    position_m: tuple[float, float, float]
    radius_m: float
    color: Color
    reach_m: float


@dataclass(frozen=True, slots=True)
class Sky:
    """Colors of the sky, and the haze over distant objects.

    Attributes:
        zenith: Color at the zenith.
        horizon: Color at the horizon and of the haze.
        haze_m: Distance at which haze replaces two thirds of an object's color.
    """

    zenith: Color
    horizon: Color
    haze_m: float


@dataclass(frozen=True, slots=True)
class World:
    """A complete scene.

    Attributes:
        ambient: Color of the ambient light.
        sky: None indoors.
    """

    objects: tuple[SceneObject, ...]
    light: Light
    ambient: Color
    sky: Sky | None

    @property
    def instance_classes(self) -> dict[int, str]:
        """Instance id to class name."""
        return {obj.instance_id: SYNTHETIC_CLASSES[obj.class_id] for obj in self.objects if obj.instance_id}
