"""A world: things with materials and classes, a light, a sky."""

from __future__ import annotations

from dataclasses import dataclass

from distill.teachers.synthetic.primitives import Plane, Solid
from distill.teachers.synthetic.textures import Color, Material

SYNTHETIC_CLASSES = ("sky", "ground", "wall", "ceiling", "box", "sphere", "cylinder", "door")
"""Semantic ids in order."""

SKY, GROUND, WALL, CEILING, BOX, SPHERE, CYLINDER, DOOR = range(len(SYNTHETIC_CLASSES))

COUNTABLE = (BOX, SPHERE, CYLINDER, DOOR)
"""Classes whose members are instances."""


@dataclass(frozen=True, slots=True)
class SceneObject:
    """A shape that looks like something and is something.

    Attributes:
        shape: Where it is.
        material: How it looks.
        class_id: Index into `SYNTHETIC_CLASSES`.
        instance_id: 0 for stuff; counted from 1 for things.
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
        radius_m: Size; gives shadows their soft border.
        color: Of a surface that it meets head-on and near.
        reach_m: Distance at which half of it is left.
    """

    position_m: tuple[float, float, float]
    radius_m: float
    color: Color
    reach_m: float


@dataclass(frozen=True, slots=True)
class Sky:
    """Colors of the sky, and the haze that takes distant things into it.

    Attributes:
        zenith: Above.
        horizon: At eye level.
        haze_m: Distance at which two thirds of a thing's own color is gone.
    """

    zenith: Color
    horizon: Color
    haze_m: float


@dataclass(frozen=True, slots=True)
class World:
    """Everything that a ray can meet.

    Attributes:
        things: Shapes in it.
        light: The one lamp.
        ambient: Light from everywhere.
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
