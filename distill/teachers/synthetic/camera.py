"""Pinhole camera, its rays, and a smooth camera path.

Camera frame: x right, y up, z toward the viewer. Rays have z = -1, so that the distance along a ray is its z-depth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

CRUISE_MPS = 0.9
"""Speed of the fly-through: walking pace with a phone."""


@dataclass(frozen=True, slots=True)
class Camera:
    """Pose and field of view of a camera.

    Attributes:
        position_m: World position.
        yaw_rad: Rotation about the vertical axis, left is positive; 0 is the direction -z.
        pitch_rad: Up is positive.
        roll_rad: Counterclockwise is positive.
        fov_deg: Vertical field of view.
    """

    position_m: tuple[float, float, float]
    yaw_rad: float
    pitch_rad: float
    roll_rad: float
    fov_deg: float

    @property
    def rotation(self) -> Float[ndarray, "3 3"]:
        """Rotation matrix from camera frame to world frame."""
        cos_y, sin_y = np.cos(self.yaw_rad), np.sin(self.yaw_rad)
        cos_p, sin_p = np.cos(self.pitch_rad), np.sin(self.pitch_rad)
        cos_r, sin_r = np.cos(self.roll_rad), np.sin(self.roll_rad)
        yaw = np.array([[cos_y, 0, sin_y], [0, 1, 0], [-sin_y, 0, cos_y]])
        pitch = np.array([[1, 0, 0], [0, cos_p, -sin_p], [0, sin_p, cos_p]])
        roll = np.array([[cos_r, -sin_r, 0], [sin_r, cos_r, 0], [0, 0, 1]])
        matrix: ndarray = (yaw @ pitch @ roll).astype(np.float32)
        return matrix

    @property
    def origin(self) -> Float[ndarray, "3 1"]:
        """Position as a column vector."""
        return np.array(self.position_m, np.float32)[:, None]

    def focal_px(self, size_hw: tuple[int, int]) -> float:
        """Focal length in pixels for an image of this size."""
        return size_hw[0] / 2 / float(np.tan(np.deg2rad(self.fov_deg) / 2))

    def rays(self, pixels_xy: Float[ndarray, "2 n"], size_hw: tuple[int, int]) -> Float[ndarray, "3 n"]:
        """World directions through continuous pixel positions (0.5: center of the first pixel), with z-depth 1."""
        focal = self.focal_px(size_hw)
        x = (pixels_xy[0] - size_hw[1] / 2) / focal
        y = (size_hw[0] / 2 - pixels_xy[1]) / focal
        return self.rotation @ np.stack([x, y, -np.ones_like(x)]).astype(np.float32)


def pixel_grid(size_hw: tuple[int, int]) -> Float[ndarray, "2 n"]:
    """Continuous (x, y) of all pixel centers, row by row."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]].astype(np.float32) + np.float32(0.5)
    return np.stack([x.ravel(), y.ravel()])


def fly_path(num_frames: int, fps: float, radius_m: float, height_m: float, start_rad: float) -> Iterator[Camera]:
    """Cameras on a circle around the origin, directed across it, with smooth changes of height and direction."""
    for frame in range(num_frames):
        seconds = frame / fps
        bearing = start_rad + CRUISE_MPS * seconds / radius_m
        x, z = radius_m * np.sin(bearing), radius_m * np.cos(bearing)
        height = height_m + 0.22 * np.sin(0.9 * seconds)
        # Steep enough to keep the center of the ground in view, and always in motion.
        pitch = -np.arctan2(height - 0.7, radius_m) + np.deg2rad(3.0) * np.sin(0.7 * seconds)
        yield Camera(
            position_m=(float(x), float(height), float(z)),
            yaw_rad=float(bearing + np.deg2rad(16.0) * np.sin(0.45 * seconds)),
            pitch_rad=float(pitch),
            roll_rad=float(np.deg2rad(1.5) * np.sin(0.6 * seconds)),
            fov_deg=62.0,
        )
