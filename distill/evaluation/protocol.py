"""Evaluation protocol: crop, resizing of predictions to the truth, class mapping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np
from jaxtyping import Bool, Shaped, UInt8
from numpy import ndarray

from distill.errors import UsageError
from distill.labels import Label, is_sky
from distill.metrics import Alignment
from distill.tasks import FAR_DEPTH_M, IGNORE_SEMANTIC, TASKS


class Crop(StrEnum):
    """Part of the image that counts."""

    NONE = "none"
    EIGEN = "eigen"
    """NYU Depth v2, 640x480: rows 45 to 471, columns 41 to 601."""
    GARG = "garg"
    """KITTI: rows 0.408 to 0.992, columns 0.036 to 0.964 of the size."""
    EIGEN_KITTI = "eigen-kitti"
    """KITTI: rows 0.332 to 0.914, columns 0.036 to 0.964 of the size."""
    KB = "kb"
    """KITTI benchmark: the 1216x352 px at the bottom, centered."""


_CROP_FRACTIONS = {
    Crop.GARG: (0.40810811, 0.99189189, 0.03594771, 0.96405229),
    Crop.EIGEN_KITTI: (0.3324324, 0.91351351, 0.0359477, 0.96405229),
}
_KB_HW = (352, 1216)


def crop_mask(crop: Crop, size_hw: tuple[int, int]) -> Bool[ndarray, "h w"]:
    """Mask of the pixels inside the crop.

    Raises:
        UsageError: The crop is defined for another size.
    """
    mask = np.zeros(size_hw, bool)
    height, width = size_hw
    if crop is Crop.NONE:
        mask[:] = True
    elif crop is Crop.EIGEN:
        if size_hw != (480, 640):
            raise UsageError(
                f"the Eigen crop is defined for maps of 640x480 px, this truth has {width}x{height}",
                hint="use --crop none, or label the truth at its own size",
            )
        mask[45:471, 41:601] = True
    elif crop is Crop.KB:
        top, left = height - _KB_HW[0], (width - _KB_HW[1]) // 2
        if top < 0 or left < 0:
            raise UsageError(
                f"the KB crop needs maps of at least 1216x352 px, this truth has {width}x{height}",
                hint="use --crop none, garg or eigen-kitti",
            )
        mask[top:, left : left + _KB_HW[1]] = True
    else:
        # Truncated, as the reference implementations do.
        fractions = _CROP_FRACTIONS[crop]
        top, bottom, left, right = (
            int(fraction * side) for fraction, side in zip(fractions, (height, height, width, width), strict=True)
        )
        mask[top:bottom, left:right] = True
    return mask


def resize_label(
    label: Label, size_hw: tuple[int, int], max_depth_m: float, alignment: Alignment = Alignment.NONE
) -> tuple[Shaped[ndarray, "h w *c"], Bool[ndarray, "h w"]]:
    """(value, valid) at the truth's size: depth bilinear, normals bilinear and unit length, ids nearest."""
    info = TASKS[label.task]
    if info.has_depth_kind:
        # Sky is stored as kilometers; capped first, or it would bleed over its edge in the bilinear mean. What will be
        # aligned may be meters in another scale: there only sky is capped, and the metric clips after the fit.
        sky = is_sky(label)
        if alignment is not Alignment.NONE:
            known = label.value[label.valid & ~sky]
            max_depth_m = max(FAR_DEPTH_M, float(known.max(initial=0.0, where=np.isfinite(known))))
        value = np.where(sky, np.float32(max_depth_m), label.value)
        return _resize_bilinear(np.minimum(value, max_depth_m), label.valid, size_hw)
    if info.storage != "ids":
        value, valid = _resize_bilinear(label.value, label.valid, size_hw)
        if info.average == "direction":
            value = value / np.maximum(np.linalg.norm(value, axis=-1, keepdims=True), 1e-6)
        return value, valid
    ids = resize_ids(np.where(label.valid, label.value, info.ignore).astype(info.dtype), size_hw)
    return ids, ids != info.ignore


def resize_ids(ids: Shaped[ndarray, "h w"], size_hw: tuple[int, int]) -> Shaped[ndarray, "h2 w2"]:
    """Ids at another size, nearest neighbor."""
    if ids.shape == size_hw:
        return ids
    resized: ndarray = cv2.resize(ids, size_hw[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return resized


def _resize_bilinear(value: ndarray, valid: ndarray, size_hw: tuple[int, int]) -> tuple[ndarray, ndarray]:
    """Bilinear over the valid neighbors only; valid where they carry at least half of the weight."""
    if valid.shape == size_hw:
        return value, valid
    kept = np.where(valid if value.ndim == 2 else valid[..., None], value, 0).astype(np.float32)
    total = cv2.resize(kept, size_hw[::-1], interpolation=cv2.INTER_LINEAR)
    if valid.all():
        return total, np.ones(size_hw, bool)
    weight = cv2.resize(valid.astype(np.float32), size_hw[::-1], interpolation=cv2.INTER_LINEAR)
    divisor = np.maximum(weight, 1e-6)
    return total / (divisor if value.ndim == 2 else divisor[..., None]), weight >= 0.5


@dataclass(frozen=True)
class ClassMapping:
    """Mapping from a predictor's class ids to those of the truth, by name.

    Attributes:
        table: Predicted id to true id; 255 where the truth has no such class (the pixel is then wrong).
        unpredicted: Classes of the truth that the predictor does not have; they count with IoU 0.
        extra: Classes of the predictor that the truth does not have.
    """

    table: UInt8[ndarray, " n"]
    unpredicted: tuple[str, ...]
    extra: tuple[str, ...]


def remap_classes(predictor: Sequence[str], truth: Sequence[str], class_map: Mapping[str, str | None]) -> ClassMapping:
    """Map two class lists by name, case-insensitive, after the predictor's classes are renamed.

    Raises:
        UsageError: A renaming names an unknown class, or no name is shared.
    """
    index_of = {name.casefold(): index for index, name in enumerate(truth)}
    said = {name.casefold() for name in predictor}
    new_names = {old.casefold(): new for old, new in class_map.items()}
    for name in new_names.values():
        if name is not None and name.casefold() not in index_of:
            raise UsageError(f"--map-classes: the truth has no class {name!r}", hint=f"it has {', '.join(truth)}")
    table = np.full(256, IGNORE_SEMANTIC, np.uint8)
    extra = []
    for index, name in enumerate(predictor):
        target = new_names.get(name.casefold(), name)
        index_in_truth = index_of.get(target.casefold()) if target is not None else None
        if index_in_truth is None:
            extra.append(name)
        else:
            table[index] = index_in_truth
    known = {int(index_in_truth) for index_in_truth in table if index_in_truth != IGNORE_SEMANTIC}
    if not known:
        raise UsageError(
            f"no class name is shared: the predictor has {', '.join(sorted(said))}; the truth has {', '.join(truth)}",
            hint="name the pairs in a YAML file of predictor: truth and give it as --map-classes",
        )
    return ClassMapping(table, tuple(name for index, name in enumerate(truth) if index not in known), tuple(extra))
