"""The vocabulary: tasks, depth kinds, frames, ranges, ignore values.

Everything that two rooms must agree on about what a number *means* is said here, once.

Depth is z-depth (distance from the camera plane) in meters. Normals are unit vectors in the camera frame x right, y up,
z out of the image toward the camera. Semantic ids are uint8, instance ids uint16.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

Number = TypeVar("Number")
"""float, numpy array or torch tensor: the warp is plain arithmetic, so one formula serves them all."""


class Task(StrEnum):
    """A vision question that can be asked about a photo."""

    DEPTH = "depth"
    NORMALS = "normals"
    SEMANTIC = "semantic"
    INSTANCE = "instance"
    REFERRING = "referring"


class DepthKind(StrEnum):
    """What is unknown about a depth map. Relative depth kinds hold values in [0, 1]."""

    METRIC = "metric"
    """z-depth in meters; larger is farther."""
    SCALE_INVARIANT = "scale_invariant"
    """z-depth times an unknown positive factor; larger is farther."""
    AFFINE_INVARIANT_DEPTH = "affine_invariant_depth"
    """z-depth up to an unknown scale and shift; larger is farther."""
    AFFINE_INVARIANT_DISPARITY = "affine_invariant_disparity"
    """Inverse depth up to an unknown scale and shift; larger is nearer."""

    @property
    def near_is_large(self) -> bool:
        """Whether larger values are nearer to the camera."""
        return self is DepthKind.AFFINE_INVARIANT_DISPARITY


NORMALS_FRAME = "camera: x right, y up, z toward the camera"

IGNORE_SEMANTIC = 255
IGNORE_INSTANCE = 65535
BACKGROUND_INSTANCE = 0
MAX_CLASSES = 255

DEPTH_LAMBDA = -3.0
DEPTH_C = 10.0 / 3.0

FAR_WARP = 0.99
"""A warped depth above this is sky or infinity: 0.99 is 90 m, where one painted level is already 2.8 m."""


def warp_depth(depth_m: Number, lam: float = DEPTH_LAMBDA, c: float = DEPTH_C) -> Number:
    """Meters in [0, inf) to [0, 1): ``1 - (1 - d / (lam c))^(lam + 1)``.

    Source: "Image Generators are Generalist Vision Learners", arXiv 2604.20329, equation 1; with the paper's constants
    ``1 - (1 + d/10)^-2``.
    """
    return 1.0 - (1.0 - depth_m / (lam * c)) ** (lam + 1.0)  # type: ignore[operator,no-any-return]


def unwarp_depth(warped: Number, lam: float = DEPTH_LAMBDA, c: float = DEPTH_C) -> Number:
    """[0, 1) back to meters; 1 is infinity. The inverse of `warp_depth`."""
    return lam * c * (1.0 - (1.0 - warped) ** (1.0 / (lam + 1.0)))  # type: ignore[operator,no-any-return]


FAR_DEPTH_M = float(unwarp_depth(FAR_WARP))
"""90 m. Depths beyond are treated as sky: invalid for losses and metrics unless someone asks for them."""
