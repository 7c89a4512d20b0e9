"""Ray intersection with planes, spheres, cylinders and boxes: distance, normal, texture coordinates.

World frame: x right, y up, z backward (right-handed), meters. Rays are columns, ``origin + t * direction``; the
direction may have any length, and `cast` returns t. All arrays are float32, whose step at 100 m is 8 micrometers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray


def dot(left: Float[ndarray, "3 _"], right: Float[ndarray, "3 _"]) -> Float[ndarray, " _"]:
    """Scalar product of each column; a third of the time of ``(left * right).sum(axis=0)``."""
    product: ndarray = left[0] * right[0] + left[1] * right[1] + left[2] * right[2]
    return product


@dataclass(frozen=True, slots=True)
class Surface:
    """The surface at some points of a shape.

    Attributes:
        normal: Outward unit vectors, world frame.
        uv_m: Texture coordinates along the surface, in meters.
    """

    normal: Float[ndarray, "3 n"]
    uv_m: Float[ndarray, "2 n"]


@dataclass(frozen=True, slots=True)
class Plane:
    """An infinite plane perpendicular to a world axis, visible from its front only.

    Attributes:
        axis: 0, 1 or 2 for x, y or z.
        offset_m: Position on the axis.
        facing: 1 or -1: the direction of its normal along the axis.
    """

    axis: int
    offset_m: float
    facing: int

    def cast(self, origin: Float[ndarray, "3 _"], direction: Float[ndarray, "3 n"]) -> Float[ndarray, " n"]:
        """Distance to the plane; infinity if the ray misses it or hits its back."""
        along = direction[self.axis]
        distance = np.float32(self.offset_m) - origin[self.axis]
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = distance / along
        return np.where((along * self.facing < 0) & (distance > 0), distance, np.float32(np.inf))

    def surface(self, points: Float[ndarray, "3 n"]) -> Surface:
        """The plane at points on it."""
        normal = np.zeros_like(points)
        normal[self.axis] = self.facing
        return Surface(normal, np.stack([points[0 if self.axis else 2], points[2 if self.axis == 1 else 1]]))


@dataclass(frozen=True, slots=True)
class Solid:
    """Base class of boxes, spheres and cylinders.

    Attributes:
        center_m: World position of the center.
    """

    center_m: tuple[float, float, float]

    @property
    def radius_m(self) -> float:
        """Of the bounding sphere."""
        raise NotImplementedError

    def spans(
        self, origin: Float[ndarray, "3 _"], direction: Float[ndarray, "3 n"]
    ) -> tuple[Float[ndarray, " n"], Float[ndarray, " n"]]:
        """(enter, leave) along each ray; enter > leave where the ray misses."""
        raise NotImplementedError

    def surface(self, points: Float[ndarray, "3 n"]) -> Surface:
        """The surface at points on it."""
        raise NotImplementedError

    def cast(self, origin: Float[ndarray, "3 _"], direction: Float[ndarray, "3 n"]) -> Float[ndarray, " n"]:
        """Distance to the first hit in front of the origin, infinity for none; the origin is outside the solid."""
        enter, leave = self.spans(origin, direction)
        return np.where((enter <= leave) & (enter > 0), enter, np.float32(np.inf))

    def near(self, origin: Float[ndarray, "3 _"], direction: Float[ndarray, "3 n"]) -> Bool[ndarray, " n"]:
        """Whether a ray may hit, by a slightly enlarged bounding sphere: a third of the cost of `cast`."""
        to_center = self._column() - origin
        along, length_sq = dot(to_center, direction), dot(direction, direction)
        # 2 % and 1 cm larger: the difference of squares loses digits for a light at 300 m.
        outside = dot(to_center, to_center) - np.float32((1.02 * self.radius_m + 0.01) ** 2)
        near: ndarray = (outside < 0) | (outside * length_sq < along * np.abs(along))
        return near

    def _column(self) -> Float[ndarray, "3 1"]:
        return np.array(self.center_m, np.float32)[:, None]


@dataclass(frozen=True, slots=True)
class Sphere(Solid):
    """A sphere."""

    ball_radius_m: float

    @property
    def radius_m(self) -> float:
        """Of the sphere."""
        return self.ball_radius_m

    def spans(
        self, origin: Float[ndarray, "3 _"], direction: Float[ndarray, "3 n"]
    ) -> tuple[Float[ndarray, " n"], Float[ndarray, " n"]]:
        """(enter, leave) along each ray."""
        to_center = self._column() - origin
        length_sq = dot(direction, direction)
        middle = dot(to_center, direction) / length_sq
        # The miss distance as a vector: |c|^2 - (c.d)^2 would lose half the digits.
        miss = to_center - middle * direction
        miss_sq = dot(miss, miss)
        return _around(middle, (np.float32(self.ball_radius_m**2) - miss_sq) / length_sq)

    def surface(self, points: Float[ndarray, "3 n"]) -> Surface:
        """The sphere at points on it; texture coordinates are longitude and latitude."""
        local = points - self._column()
        normal = local / np.sqrt(dot(local, local))
        longitude = np.arctan2(normal[2], normal[0])
        latitude = np.arcsin(np.clip(normal[1], -1, 1))
        return Surface(normal, np.stack([longitude, latitude]) * np.float32(self.ball_radius_m))


@dataclass(frozen=True, slots=True)
class Cylinder(Solid):
    """A vertical cylinder with flat ends."""

    tube_radius_m: float
    half_height_m: float

    @property
    def radius_m(self) -> float:
        """Of the bounding sphere."""
        return float(np.hypot(self.tube_radius_m, self.half_height_m))

    def spans(
        self, origin: Float[ndarray, "3 _"], direction: Float[ndarray, "3 n"]
    ) -> tuple[Float[ndarray, " n"], Float[ndarray, " n"]]:
        """(enter, leave): intersection of an infinite tube and a slab."""
        x, y, z = self._column() - origin
        flat_sq = np.maximum(direction[0] ** 2 + direction[2] ** 2, np.float32(1e-12))
        middle = (x * direction[0] + z * direction[2]) / flat_sq
        miss_sq = (x * direction[2] - z * direction[0]) ** 2 / flat_sq
        tube = _around(middle, (np.float32(self.tube_radius_m**2) - miss_sq) / flat_sq)
        slab = _slab(-y, direction[1], self.half_height_m)
        return np.maximum(tube[0], slab[0]), np.minimum(tube[1], slab[1])

    def surface(self, points: Float[ndarray, "3 n"]) -> Surface:
        """The cylinder at points on it; the side is unrolled."""
        x, y, z = points - self._column()
        from_axis = np.maximum(np.hypot(x, z), np.float32(1e-9))
        end = np.abs(np.abs(y) - self.half_height_m) < np.abs(from_axis - self.tube_radius_m)
        side = (~end).astype(np.float32) / from_axis
        normal = np.stack([x * side, np.sign(y) * end, z * side])
        unrolled = np.arctan2(z, x) * np.float32(self.tube_radius_m)
        return Surface(normal, np.stack([np.where(end, x, unrolled), np.where(end, z, y)]))


@dataclass(frozen=True, slots=True)
class Box(Solid):
    """A box, rotated about the vertical axis.

    Attributes:
        half_m: Half the size along its own x, y, z.
        yaw_rad: Rotation about y.
    """

    half_m: tuple[float, float, float]
    yaw_rad: float

    @property
    def radius_m(self) -> float:
        """Of the bounding sphere."""
        return float(np.linalg.norm(self.half_m))

    def spans(
        self, origin: Float[ndarray, "3 _"], direction: Float[ndarray, "3 n"]
    ) -> tuple[Float[ndarray, " n"], Float[ndarray, " n"]]:
        """(enter, leave): intersection of three slabs."""
        start, heading = self._turned(origin - self._column(), -1), self._turned(direction, -1)
        slabs = [_slab(start[axis], heading[axis], self.half_m[axis]) for axis in range(3)]
        enter = np.maximum(np.maximum(slabs[0][0], slabs[1][0]), slabs[2][0])
        return enter, np.minimum(np.minimum(slabs[0][1], slabs[1][1]), slabs[2][1])

    def surface(self, points: Float[ndarray, "3 n"]) -> Surface:
        """The box at points on it; texture coordinates start at the center of each face."""
        local = self._turned(points - self._column(), -1)
        half = np.array(self.half_m, np.float32)[:, None]
        face = np.abs(np.abs(local) - half).argmin(axis=0)
        normal = np.zeros_like(local)
        np.put_along_axis(normal, face[None], np.sign(np.take_along_axis(local, face[None], 0)), 0)
        uv = np.stack([np.where(face == 0, local[2], local[0]), np.where(face == 1, local[2], local[1])])
        return Surface(self._turned(normal, 1), uv)

    def _turned(self, vectors: Float[ndarray, "3 m"], sense: int) -> Float[ndarray, "3 m"]:
        """Own frame to world (sense 1) or back (sense -1)."""
        cos, sin = np.float32(np.cos(self.yaw_rad)), np.float32(sense * np.sin(self.yaw_rad))
        x, y, z = vectors
        return np.stack([cos * x + sin * z, y, cos * z - sin * x])


def _around(
    middle: Float[ndarray, " n"], half_span_sq: Float[ndarray, " n"]
) -> tuple[Float[ndarray, " n"], Float[ndarray, " n"]]:
    """(enter, leave) of a round solid, from the closest approach and the squared half chord (negative: a miss)."""
    half_span = np.sqrt(np.maximum(half_span_sq, 0))
    return np.where(half_span_sq >= 0, middle - half_span, np.float32(np.inf)), middle + half_span


def _slab(
    start: Float[ndarray, " _"], heading: Float[ndarray, " n"], half_m: float
) -> tuple[Float[ndarray, " n"], Float[ndarray, " n"]]:
    """(enter, leave) of the slab between -half and half."""
    safe = np.where(np.abs(heading) < 1e-9, np.float32(1e-9), heading)
    middle, reach = -start / safe, np.float32(half_m) / np.abs(safe)
    return middle - reach, middle + reach
