"""What two label maps of one photo must have in common: slopes and borders."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from distill.labels import Label, is_beyond_range
from distill.tasks import DepthKind, Task, warp_depth

FOVS_DEG = (40.0, 55.0, 70.0, 85.0)
"""Vertical fields of view that are tried when depth is compared with normals: the camera is not known."""
LONGEST_PX = 384
"""Maps are compared at this size: 10 ms instead of 100, and borders may be a pixel off."""
SLOPE_SIGMA_DEG = 25.0
"""Angle between painted normals and those of the painted depth at which agreement counts exp(-1/2)."""
STEP = 0.03
"""A step of warped (or relative) depth over 3x3 pixels that counts as a border."""
LEAST_PX = 20
"""On fewer pixels nothing is compared."""
BRIDGE_PX = 4
"""Values reach this far into what is unknown: a gap of twice the width is a border, a wider one is a hole."""
TURN = 0.6
"""A change of normals over 3x3 pixels, summed over the axes, that counts as a border: about 25 degrees."""


def borders(label: Label) -> Bool[ndarray, "h w"]:
    """Where a label has a step, at the size of comparison."""
    value, valid = _bridged(*_picked(label, comparison_size(label.size_hw)))
    if label.task is Task.DEPTH:
        plain = np.asarray(warp_depth(value)) if label.depth_kind is DepthKind.METRIC else value
        step = _range(plain.astype(np.float32)) > STEP
    elif label.task is Task.NORMALS:
        step = sum(_range(np.ascontiguousarray(value[..., axis])) for axis in range(3)) > TURN
    else:
        step = _range(value.astype(np.float32)) > 0
    known = cv2.erode(valid.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return np.asarray(step) & known


def _bridged(value: ndarray, valid: Bool[ndarray, "h w"]) -> tuple[ndarray, Bool[ndarray, "h w"]]:
    """A map and where it is known, with the values of the nearest known pixel in gaps.

    Colors that blend where two areas meet say nothing, so most borders lie in such a gap.
    """
    if valid.all() or not valid.any():
        return value, valid
    distance, nearest = cv2.distanceTransformWithLabels(
        (~valid).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    known, bridged = distance <= BRIDGE_PX, value.copy()
    gap = known & ~valid
    # The pixels of distance 0 are numbered row by row, from 1.
    bridged[gap] = value[valid][nearest[gap] - 1]
    return bridged, known


def _range(values: Float[ndarray, "h w"]) -> Float[ndarray, "h w"]:
    return cv2.morphologyEx(values, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))


def comparison_size(size_hw: tuple[int, int]) -> tuple[int, int]:
    """(height, width) at which maps of this size are compared."""
    share = min(1.0, LONGEST_PX / max(size_hw))
    return max(8, round(size_hw[0] * share)), max(8, round(size_hw[1] * share))


def compare(
    label: Label, other: Label, borders: Callable[[Label], Bool[ndarray, "h w"]] = borders
) -> tuple[float, Float[ndarray, "h w"]] | None:
    """(agreement of two tasks, the same per pixel at the size of comparison); None where they cannot be compared.

    ``borders`` may remember what it found.
    """
    tasks = {label.task, other.task}
    if tasks == {Task.DEPTH, Task.NORMALS}:
        depth, normals = (label, other) if label.task is Task.DEPTH else (other, label)
        return _slopes_agree(depth, normals) if depth.depth_kind is DepthKind.METRIC else None
    if tasks == {Task.DEPTH, Task.SEMANTIC} and label.size_hw == other.size_hw:
        mine, theirs = borders(label), borders(other)
        semantic, depth_steps = (mine, theirs) if label.task is Task.SEMANTIC else (theirs, mine)
        if depth_steps.sum() < LEAST_PX:
            return None
        near = cv2.dilate(semantic.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        return float(near[depth_steps].mean()), np.ones(mine.shape, np.float32)
    if tasks == {Task.SEMANTIC, Task.INSTANCE}:
        semantic, instances = (label, other) if label.task is Task.SEMANTIC else (other, label)
        return _classes_agree(semantic, instances)
    return None


def _classes_agree(semantic: Label, instances: Label) -> tuple[float, Float[ndarray, "h w"]] | None:
    """How well the areas of classes that both were asked for match their instances: intersection over union.

    None where neither painted any.
    """
    size_hw = comparison_size(semantic.size_hw)
    (ids, known), (numbers, sure) = _picked(semantic, size_hw), _picked(instances, size_hw)
    shared = [name for name in semantic.classes if name in instances.classes]
    # 0 is every other class, and what no instance covers.
    class_of_id, class_of_number = np.zeros(256, np.uint8), np.zeros(65536, np.uint8)
    for place, name in enumerate(shared, start=1):
        class_of_id[semantic.classes.index(name)] = place
        class_of_number[[number for number, held in instances.instance_classes.items() if held == name]] = place
    generated, counted = class_of_id[ids], class_of_number[numbers]
    claimed = known & sure & ((generated > 0) | (counted > 0))
    if claimed.sum() < LEAST_PX:
        return None
    differ = claimed & (generated != counted)
    return 1 - float(differ.sum() / claimed.sum()), np.where(differ, np.float32(0.5), np.float32(1))


def _slopes_agree(depth: Label, normals: Label) -> tuple[float, Float[ndarray, "h w"]] | None:
    """How well painted normals fit the slopes of painted depth, for the field of view that suits them best."""
    size_hw = comparison_size(normals.size_hw)
    meters, known = _picked(depth, size_hw)
    generated, sure = _picked(normals, size_hw)
    usable = known & sure & ~_picked_map(is_beyond_range(depth), size_hw) & ~_near_border(depth, size_hw)
    if usable.sum() < 100:
        return None
    slopes = _slopes(meters)
    # A ninth of the pixels is enough to tell fields of view apart.
    some = [part[::3, ::3] for part in slopes], generated[::3, ::3], usable[::3, ::3]
    if not some[2].any():
        some = list(slopes), generated, usable
    height = size_hw[0]
    tried = [float(_agreement(*some[:2], _focal_px(height, fov_deg))[some[2]].mean()) for fov_deg in FOVS_DEG]
    agreement = _agreement(slopes, generated, _focal_px(height, FOVS_DEG[int(np.argmax(tried))]))
    # One odd pixel is no proof: slopes of painted depth are noisy, so doubt about a pixel is halved.
    return float(agreement[usable].mean()), np.where(usable, 0.5 + 0.5 * agreement, np.float32(1))


def _agreement(
    slopes: Sequence[Float[ndarray, "h w"]], generated: Float[ndarray, "h w 3"], focal_px: float
) -> Float[ndarray, "h w"]:
    """A bell over the angle between painted normals and those of slopes, for a focal length."""
    right, up, ahead = slopes
    focal = np.float32(focal_px)
    along = focal * (right * generated[..., 0] + up * generated[..., 1]) + ahead * generated[..., 2]
    length = np.sqrt(focal * focal * (right * right + up * up) + ahead * ahead)
    cosine = np.clip(along / np.maximum(length, np.float32(1e-12)), -1, 1)
    return np.exp(np.float32(-0.5) * (np.arccos(cosine) / np.float32(np.radians(SLOPE_SIGMA_DEG))) ** 2)


def _focal_px(height: int, fov_deg: float) -> float:
    return float(height / 2 / np.tan(np.radians(fov_deg) / 2))


def _slopes(depth_m: Float[ndarray, "h w"]) -> tuple[ndarray, ndarray, ndarray]:
    """What the normal of a z-depth map is made of: ``(f dz/du, -f dz/dv, z + u dz/du + v dz/dv)`` without the focal f.

    From the cross product of the tangents of ``(u z / f, v z / f, z)``, turned to x right, y up, z toward the camera; u
    and v are counted from the middle, to the right and down.
    """
    # Painted depth comes in levels; 5x5 pixels smooth them.
    smooth = cv2.blur(depth_m.astype(np.float32), (5, 5))
    du, dv = (cv2.Sobel(smooth, cv2.CV_32F, *axis, ksize=1, scale=0.5) for axis in ((1, 0), (0, 1)))
    height, width = depth_m.shape
    u = (np.arange(width) + 0.5 - width / 2).astype(np.float32)[None]
    v = (np.arange(height) + 0.5 - height / 2).astype(np.float32)[:, None]
    return du, -dv, smooth + u * du + v * dv


def normals_of_depth(depth_m: Float[ndarray, "h w"], fov_deg: float) -> Float[ndarray, "h w 3"]:
    """Unit normals (x right, y up, z toward the camera) of a z-depth map seen with this vertical field of view."""
    right, up, ahead = _slopes(depth_m)
    focal = np.float32(_focal_px(depth_m.shape[0], fov_deg))
    normal = np.stack([focal * right, focal * up, ahead], axis=-1)
    return normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), np.float32(1e-12))


def _picked(label: Label, size_hw: tuple[int, int]) -> tuple[ndarray, Bool[ndarray, "h w"]]:
    """(values, valid) at another size; picked, never mixed."""
    return _picked_map(label.value, size_hw), _picked_map(label.valid, size_hw)


def _picked_map(values: ndarray, size_hw: tuple[int, int]) -> ndarray:
    if values.shape[:2] == size_hw:
        return values
    rows, columns = (((np.arange(size_hw[i]) + 0.5) * values.shape[i] / size_hw[i]).astype(int) for i in (0, 1))
    # Whole rows first, then columns: several times faster than both at once.
    return values.take(rows, axis=0).take(columns, axis=1)


def _near_border(depth: Label, size_hw: tuple[int, int]) -> Bool[ndarray, "h w"]:
    """Within 4 px of a depth step: slopes there are those of no surface."""
    values, known = _picked(depth, size_hw)
    plain = np.asarray(warp_depth(values)).astype(np.float32)
    step = ((_range(plain) > STEP) | ~known).astype(np.uint8)
    return cv2.dilate(step, np.ones((9, 9), np.uint8)) > 0
