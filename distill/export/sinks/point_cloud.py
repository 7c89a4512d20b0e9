"""Point clouds of chosen frames, from metric depth and a field of view."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from distill.errors import UsageError
from distill.export.inference.stages import PipelineItem
from distill.export.runners import Outputs
from distill.export.sinks.base import Sink, write_file
from distill.spec import StudentSpec
from distill.tasks import FAR_DEPTH_M, DepthKind, Task


class PointCloudSink(Sink):
    """``<key>.<frame>.ply`` for the chosen frames."""

    name = "points"
    stages = ("points", "")

    def __init__(self, work: Path, stem: Path, spec: StudentSpec, frames: Collection[int], fov_deg: float) -> None:
        """Check student and field of view.

        Raises:
            UsageError: The student has no metric depth, or the angle is not between 0 and 180 degrees.
        """
        super().__init__(work)
        if spec.depth is None or spec.depth.depth_kind is not DepthKind.METRIC:
            raise UsageError(
                f"--write points: {spec.name} has no depth in meters", hint="a point cloud needs metric depth"
            )
        if not 0 < fov_deg < 180:
            raise UsageError(f"--fov {fov_deg:g}: not between 0 and 180 degrees", hint="give the horizontal angle")
        self._stem, self._wanted, self._fov_deg = stem, frozenset(frames), fov_deg
        self._files: list[Path] = []

    def prepare(self, item: PipelineItem, outputs: Outputs) -> list[Path]:
        """Write the file of a chosen frame; returns its path."""
        if item.index not in self._wanted:
            return []
        path = self._stem.with_name(f"{self._stem.name}.{item.key}.ply")
        points = unproject(outputs[Task.DEPTH], self._fov_deg)
        write_file(path, encode_ply(points, item.rgb, outputs.get(Task.NORMALS)))
        return [path]

    def write(self, item: PipelineItem, prepared: list[Path]) -> None:
        """Collect the paths of the segment."""
        self._files += prepared

    def end_segment(self, segment: int) -> list[Path]:
        """Paths of the segment."""
        files, self._files = self._files, []
        return files

    def finish(self, segments: Sequence[Sequence[Path]]) -> list[Path]:
        """Paths of all segments."""
        return [path for files in segments for path in files]


def unproject(depth_m: Float[ndarray, "h w"], fov_deg: float) -> Float[ndarray, "h w 3"]:
    """3D position of each pixel in meters; camera frame x right, y up, z toward the camera, which is the origin.

    Args:
        depth_m: z-depth.
        fov_deg: Horizontal field of view of a camera without distortion, with the principal point in the center.
    """
    height, width = depth_m.shape
    focal_px = width / 2 / math.tan(math.radians(fov_deg) / 2)
    x = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / focal_px
    y = -(np.arange(height, dtype=np.float32) + 0.5 - height / 2) / focal_px
    return np.stack([depth_m * x, depth_m * y[:, None], -depth_m], axis=-1).astype(np.float32)


def encode_ply(
    points: Float[ndarray, "h w 3"], rgb: UInt8[ndarray, "h w 3"], normals: Float[ndarray, "h w 3"] | None = None
) -> bytes:
    """Binary PLY of all points that are not sky, with colors and, if given, normals."""
    distance_m = -points[..., 2]
    kept = np.isfinite(points).all(axis=-1) & (distance_m > 0) & (distance_m < FAR_DEPTH_M)
    fields = [("x", "<f4"), ("y", "<f4"), ("z", "<f4")]
    fields += [("nx", "<f4"), ("ny", "<f4"), ("nz", "<f4")] if normals is not None else []
    fields += [("red", "u1"), ("green", "u1"), ("blue", "u1")]
    table = np.empty(int(kept.sum()), dtype=fields)
    for axis, name in enumerate("xyz"):
        table[name] = points[..., axis][kept]
        if normals is not None:
            table[f"n{name}"] = normals[..., axis][kept]
    for channel, name in enumerate(("red", "green", "blue")):
        table[name] = rgb[..., channel][kept]
    kinds = {"<f4": "float", "u1": "uchar"}
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {table.size}"]
    lines += [f"property {kinds[kind]} {name}" for name, kind in fields]
    return ("\n".join([*lines, "end_header"]) + "\n").encode() + table.tobytes()
