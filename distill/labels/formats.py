"""Stored integers of a label map: one format per `TaskInfo.storage`, exact up to one level."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8, UInt16
from numpy import ndarray

from distill.tasks import TASKS, DepthKind, Task, TaskInfo, unwarp_depth, warp_depth


@runtime_checkable
class LabelFormat(Protocol):
    """Integer form of a label map; exact up to one level."""

    def encode_value(
        self,
        value: Shaped[ndarray, "h w *c"],
        valid: Bool[ndarray, "h w"],
        info: TaskInfo,
        depth_kind: DepthKind | None,
    ) -> Shaped[ndarray, "h w *c"]:
        """Stored integers."""
        ...

    def decode(
        self, stored: Shaped[ndarray, "h w *c"], info: TaskInfo, depth_kind: DepthKind | None
    ) -> tuple[Shaped[ndarray, "h w *c"], Bool[ndarray, "h w"]]:
        """(value, valid) of stored integers."""
        ...

    def formula(self, info: TaskInfo, depth_kind: DepthKind | None) -> str:
        """Text that explains a stored value v."""
        ...


class IdFormat:
    """Ids as they are; `TaskInfo.ignore` where invalid."""

    def encode_value(
        self,
        value: Shaped[ndarray, "h w"],
        valid: Bool[ndarray, "h w"],
        info: TaskInfo,
        depth_kind: DepthKind | None = None,
    ) -> Shaped[ndarray, "h w"]:
        """Stored ids."""
        return np.where(valid, value, info.ignore).astype(info.dtype)

    def decode(
        self, stored: Shaped[ndarray, "h w"], info: TaskInfo, depth_kind: DepthKind | None = None
    ) -> tuple[Shaped[ndarray, "h w"], Bool[ndarray, "h w"]]:
        """(ids, valid)."""
        return stored, stored != info.ignore

    def formula(self, info: TaskInfo, depth_kind: DepthKind | None = None) -> str:
        """Text that explains a stored id."""
        return "0: background; else an instance" if info.class_list == "instance_classes" else "index into classes"


class UnitFormat:
    """Values in [0, 1] over all levels of the type except `TaskInfo.ignore`, which is its lowest or its highest."""

    def encode_value(
        self,
        value: Float[ndarray, "h w"],
        valid: Bool[ndarray, "h w"],
        info: TaskInfo,
        depth_kind: DepthKind | None = None,
    ) -> Shaped[ndarray, "h w"]:
        """Stored levels; values outside [0, 1] are clipped."""
        levels = np.rint((np.iinfo(info.dtype).max - 1) * np.clip(np.where(valid, value, 0), 0, 1))
        return np.where(valid, levels + (info.ignore == 0), info.ignore).astype(info.dtype)

    def decode(
        self, stored: Shaped[ndarray, "h w"], info: TaskInfo, depth_kind: DepthKind | None = None
    ) -> tuple[Float[ndarray, "h w"], Bool[ndarray, "h w"]]:
        """(values, valid)."""
        last = np.iinfo(info.dtype).max - 1
        levels = np.maximum(stored, 1) - 1 if info.ignore == 0 else np.minimum(stored, last)
        return (levels / np.float32(last)).astype(np.float32), stored != info.ignore

    def formula(self, info: TaskInfo, depth_kind: DepthKind | None = None) -> str:
        """Text that explains a stored level."""
        last = np.iinfo(info.dtype).max - 1
        value = f"(v - 1) / {last}" if info.ignore == 0 else f"v / {last}"
        return f"{info.ignore}: invalid; else value = {value}, in [0, 1]"


class DepthFormat:
    """Metric depth through `warp_depth`, relative depth as `UnitFormat`; 0 where invalid."""

    def encode_value(
        self,
        value: Float[ndarray, "h w"],
        valid: Bool[ndarray, "h w"],
        info: TaskInfo,
        depth_kind: DepthKind | None,
    ) -> UInt16[ndarray, "h w"]:
        """Stored levels."""
        if depth_kind not in (None, DepthKind.METRIC):
            return _UNIT.encode_value(value, valid, info)
        # Infinity warps to 1, level 65535: beyond the depths that can be resolved.
        safe = np.maximum(np.where(valid, value, 0), 0.0)
        stored = np.maximum(1, np.rint(65535 * np.asarray(warp_depth(safe))))
        return np.where(valid, stored, info.ignore).astype(info.dtype)

    def decode(
        self, stored: UInt16[ndarray, "h w"], info: TaskInfo, depth_kind: DepthKind | None
    ) -> tuple[Float[ndarray, "h w"], Bool[ndarray, "h w"]]:
        """(depth, valid); a stored infinity becomes the last finite level."""
        if depth_kind not in (None, DepthKind.METRIC):
            return _UNIT.decode(stored, info)
        # A table of 65536 entries is four times faster than the power, and exact.
        return _METERS[stored], stored != info.ignore

    def formula(self, info: TaskInfo, depth_kind: DepthKind | None) -> str:
        """Text that explains a stored level."""
        if depth_kind not in (None, DepthKind.METRIC):
            return _UNIT.formula(info)
        return "0: invalid; else meters = 10 * ((1 - v / 65535) ** -0.5 - 1); 65535: beyond the resolvable depths"


class NormalsFormat:
    """Unit vectors as 8-bit RGB; 0,0,0 where invalid."""

    def encode_value(
        self,
        value: Float[ndarray, "h w 3"],
        valid: Bool[ndarray, "h w"],
        info: TaskInfo,
        depth_kind: DepthKind | None = None,
    ) -> UInt8[ndarray, "h w 3"]:
        """Stored colors."""
        encoded = np.clip(np.rint((1 + value * _AXIS_SIGNS) * 127.5), 0, 255)
        return np.where(valid[..., None], encoded, info.ignore).astype(info.dtype)

    def decode(
        self, stored: UInt8[ndarray, "h w 3"], info: TaskInfo, depth_kind: DepthKind | None = None
    ) -> tuple[Float[ndarray, "h w 3"], Bool[ndarray, "h w"]]:
        """(unit vectors, valid)."""
        vector = (stored.astype(np.float32) / np.float32(127.5) - 1) * _AXIS_SIGNS
        length = np.linalg.norm(vector, axis=-1, keepdims=True)
        return vector / np.maximum(length, np.float32(1e-6)), np.asarray(stored.any(axis=-1))

    def formula(self, info: TaskInfo, depth_kind: DepthKind | None = None) -> str:
        """Text that explains a stored color."""
        return "0,0,0: invalid; else x = 1 - 2 R / 255, y = 2 G / 255 - 1, z = 2 B / 255 - 1"


_UNIT = UnitFormat()
_AXIS_SIGNS = np.array([-1, 1, 1], np.float32)
_LEVELS = np.arange(65536) / 65535.0
_METERS = np.asarray(unwarp_depth(np.minimum(_LEVELS, 65534 / 65535.0))).astype(np.float32)

FORMATS: Mapping[str, LabelFormat] = MappingProxyType(
    {"depth": DepthFormat(), "normals": NormalsFormat(), "ids": IdFormat(), "unit": _UNIT}
)
"""One format per `TaskInfo.storage`."""


def label_format(task: Task) -> LabelFormat:
    """Stored format of a task's maps."""
    return FORMATS[TASKS[task].storage]
