"""Comparison of depth with normals: the slopes of metric depth for the best field of view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations, product

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from distill.labels import Label, is_beyond_range
from distill.labels.conversions import pick_pixels
from distill.tasks import DepthKind, warp_depth
from distill.teachers.tasks.comparison_size import DEPTH_STEP, comparison_size, local_range, pick_label

FOVS_DEG = (40.0, 55.0, 70.0, 85.0)
"""Vertical fields of view that are tried; the camera is not known."""
SLOPE_SIGMA_DEG = 25.0
"""Angle between normals and those of depth at which agreement is exp(-1/2)."""
_LEAST_PX = 100
_SAMPLED_PX = 4000
"""Pixels that are compared in every convention."""
_SURE = 0.85
"""Mean agreement above which no other convention is tried."""
_FITS = 0.6
"""Mean agreement from which normals are those of the depth."""
_CLEARLY = 0.2
"""Gain in agreement from which another convention is the right one."""


def fitting_axes(normals: Label, depth: Label) -> tuple[Float[ndarray, "3 3"], bool, float, float] | None:
    """Axes in which normals fit the slopes of depth, if they do not as they are; None if they fit, or nothing does.

    Returns:
        (signed permutation ``p``, mirrored, agreement now, agreement then): ``normals @ p`` fit, after a left-right
        mirroring of the map (with negated x) if ``mirrored``.
    """
    if depth.depth_kind not in (DepthKind.METRIC, DepthKind.SCALE_INVARIANT):
        return None
    size_hw = comparison_size(normals.size_hw)
    meters, known = pick_label(depth, size_hw)
    predicted, valid = pick_label(normals, size_hw)
    steep = known & ~_near_border(depth, size_hw)
    if depth.depth_kind is DepthKind.METRIC:
        steep &= ~pick_pixels(is_beyond_range(depth), size_hw)
    slopes = _slopes(np.where(known, meters, 0))
    as_given = _Fit(slopes, predicted, steep & valid)
    now = as_given.best(np.eye(3, dtype=np.float32))
    if as_given.count < _LEAST_PX or now > _SURE:
        return None
    mirrored = _Fit(slopes, predicted[:, ::-1] * np.array([-1, 1, 1], np.float32), steep & valid[:, ::-1])
    identity = np.eye(3, dtype=np.float32)
    tried = [(as_given.best(axes), axes, False) for axes in _signed_permutations()]
    if mirrored.count >= _LEAST_PX:
        tried.append((mirrored.best(identity), identity, True))
    best, axes, is_mirrored = max(tried, key=lambda one: one[0])
    return (axes, is_mirrored, now, best) if best > max(_FITS, now + _CLEARLY) else None


class _Fit:
    """Agreement of normals with slopes after a change of axes, on a part of the pixels."""

    def __init__(
        self, slopes: Sequence[Float[ndarray, "h w"]], predicted: Float[ndarray, "h w 3"], usable: Bool[ndarray, "h w"]
    ) -> None:
        places = np.flatnonzero(usable)[:: max(1, np.count_nonzero(usable) // _SAMPLED_PX)]
        self.count = len(places)
        self._height = usable.shape[0]
        self._slopes = [part.ravel()[places][None] for part in slopes]
        self._predicted = predicted.reshape(-1, 3)[places]

    def best(self, axes: Float[ndarray, "3 3"]) -> float:
        """Mean agreement for the field of view that fits best."""
        if not self.count:
            return 0.0
        turned = (self._predicted @ axes)[None]
        return max(
            float(_agreement(self._slopes, turned, _focal_px(self._height, fov_deg)).mean()) for fov_deg in FOVS_DEG
        )


def _signed_permutations() -> list[Float[ndarray, "3 3"]]:
    """All 48."""
    eye = np.eye(3, dtype=np.float32)
    return [
        eye[list(order)] * np.array(signs, np.float32)
        for order in permutations(range(3))
        for signs in product((1, -1), repeat=3)
    ]


def compare_slopes(
    normals: Label, depth: Label, borders: Callable[[Label], Bool[ndarray, "h w"]]
) -> tuple[float, Float[ndarray, "h w"]] | None:
    """Agreement of normals with the slopes of metric depth, for the field of view that fits them best."""
    if depth.depth_kind is not DepthKind.METRIC:
        return None
    size_hw = comparison_size(normals.size_hw)
    meters, known = pick_label(depth, size_hw)
    predicted, valid = pick_label(normals, size_hw)
    usable = known & valid & ~pick_pixels(is_beyond_range(depth), size_hw) & ~_near_border(depth, size_hw)
    if usable.sum() < _LEAST_PX:
        return None
    slopes = _slopes(meters)
    # A ninth of the pixels is enough to choose a field of view.
    some_slopes, some_predicted, some_usable = (
        [part[::3, ::3] for part in slopes],
        predicted[::3, ::3],
        usable[::3, ::3],
    )
    if not some_usable.any():
        some_slopes, some_predicted, some_usable = list(slopes), predicted, usable
    height = size_hw[0]
    tried = [
        float(_agreement(some_slopes, some_predicted, _focal_px(height, fov_deg))[some_usable].mean())
        for fov_deg in FOVS_DEG
    ]
    agreement = _agreement(slopes, predicted, _focal_px(height, FOVS_DEG[int(np.argmax(tried))]))
    # Slopes of generated depth are noisy, so disagreement of a single pixel counts half.
    return float(agreement[usable].mean()), np.where(usable, 0.5 + 0.5 * agreement, np.float32(1))


def _agreement(
    slopes: Sequence[Float[ndarray, "h w"]], predicted: Float[ndarray, "h w 3"], focal_px: float
) -> Float[ndarray, "h w"]:
    """Bell over the angle between normals and those of slopes, for a focal length."""
    right, up, ahead = slopes
    focal = np.float32(focal_px)
    along = focal * (right * predicted[..., 0] + up * predicted[..., 1]) + ahead * predicted[..., 2]
    length = np.sqrt(focal * focal * (right * right + up * up) + ahead * ahead)
    cosine = np.clip(along / np.maximum(length, np.float32(1e-12)), -1, 1)
    agreement: ndarray = np.exp(np.float32(-0.5) * (np.arccos(cosine) / np.float32(np.radians(SLOPE_SIGMA_DEG))) ** 2)
    return agreement


def _focal_px(height: int, fov_deg: float) -> float:
    return float(height / 2 / np.tan(np.radians(fov_deg) / 2))


def _slopes(depth_m: Float[ndarray, "h w"]) -> tuple[ndarray, ndarray, ndarray]:
    """Components of the normal of a z-depth map: ``(f dz/du, -f dz/dv, z + u dz/du + v dz/dv)`` without the focal f.

    From the cross product of the tangents of ``(u z / f, v z / f, z)``, turned to x right, y up, z toward the camera; u
    and v are counted from the center, to the right and down.
    """
    # Generated depth has levels; 5x5 pixels smooth them.
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
    unit: ndarray = normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), np.float32(1e-12))
    return unit


def _near_border(depth: Label, size_hw: tuple[int, int]) -> Bool[ndarray, "h w"]:
    """Within 4 px of a depth step, where slopes are not those of a surface."""
    values, known = pick_label(depth, size_hw)
    plain = np.asarray(warp_depth(values)).astype(np.float32)
    step = ((local_range(plain) > DEPTH_STEP) | ~known).astype(np.uint8)
    near: ndarray = cv2.dilate(step, np.ones((9, 9), np.uint8)) > 0
    return near
