"""Surface normals in the teachers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8
from numpy import ndarray

from distill.config.maps import MapConfig
from distill.config.prompt import PromptConfig
from distill.config.teacher_base import OutputConfig
from distill.errors import DistillError
from distill.labels import Label, normals_face_away
from distill.tasks import Task
from distill.teachers.base import PromptSpec
from distill.teachers.codecs.normals import decode_normals_rgb, encode_normals_rgb, frame_matrix, frame_name
from distill.teachers.prompts.templates import check_family
from distill.teachers.quality.color_stats import ColorStats
from distill.teachers.quality.surface_axes import explain_axes
from distill.teachers.tasks.base import Comparison, LabelError, SceneView, TeacherTask, check_channels
from distill.teachers.tasks.comparison_size import comparison_size, local_range
from distill.teachers.tasks.depth_normal_consistency import compare_slopes, fitting_axes
from distill.teachers.tasks.masked_median import combine_confidence

ANGLE_SIGMA_DEG = 15.0
"""Angle between fused normals at which agreement is exp(-1/2)."""
RIGHT_DEG = 15.0
"""A normal is right within this angle."""
SKY_COLOR = (255, 0, 255)
"""Color of sky in published answers: a "vector" of length 1.7."""
_SKY_WITHIN = 40
"""Largest difference of a channel from it."""
_TURN = 0.6
"""A change of normals over 3x3 pixels, summed over the axes, that counts as a border: about 25 degrees."""
_AREA = 0.04
"""Widths above this fraction of the longer side are areas; narrower invalid parts are specks and seams."""
_CONTENT_SPREAD = 0.05
_UNIT_WITHIN = 0.15
"""Stored normals have the length 1 up to this: 8 bits change it by 0.01, JPEG by a few hundredths."""
_LEAST_UNIT = 0.5
"""Maps with a smaller share of such lengths hold no unit vectors."""
_FEW_COLORS = 11
"""Synthetic normals have as few as 3, segmentations at most 10."""
_LEAST_USABLE_OF_FEW_COLORS, _LEAST_USABLE = 0.85, 0.3
"""Fraction of unit vectors and sky; the largest of a segmentation in multiples of 64 was 0.7."""
_ONE_DIRECTION = 0.9
"""Largest fraction of the most frequent direction."""
_FACES_AWAY = "more normals point away from the camera than toward it, as in another frame"
_HIDDEN = "{:.0%} of the normals are of surfaces that face away from the camera, as with swapped channels"
_AXES = "the normals are those of no surface: {}"
_FOCAL, _TURNED_AWAY = 1.0, 0.1
"""Focal length, in longer sides of the image, and cosine to the line of sight, beyond which a surface is hidden: with
a wider view, more normals would be hidden."""
_MAX_HIDDEN = 0.05
"""Largest fraction of hidden surfaces; 0.003 at most in real images, 0.24 or more with red and blue swapped."""
_NORMALS = "Generate a surface normal map of the input image."
_EDITOR_NORMALS = (
    "Turn this photo into a camera-space surface normal map: surfaces facing left pinkish red, facing up light green, "
    "facing the camera light blue. Keep framing, outlines and image size exactly as they are. No text, no borders."
)


def normals_prompt(
    family: str = "vision_banana", *, frame: str = "vision_banana", resize_mode: str = "cover"
) -> PromptSpec:
    """Prompt for surface normals in the colors of a frame."""
    check_family(family)
    return PromptSpec(
        Task.NORMALS, _EDITOR_NORMALS if family == "editor" else _NORMALS, frame=frame, resize_mode=resize_mode
    )


class NormalsTask(TeacherTask):
    """Surface normals: unit vectors, x right, y up, z toward the camera."""

    task = Task.NORMALS
    masks_background = True
    comparisons: ClassVar[Mapping[Task, Comparison]] = {Task.DEPTH: compare_slopes}
    uncertainty_sigma: ClassVar[float] = ANGLE_SIGMA_DEG / 180
    answer_noun: ClassVar[str] = "a normals image"
    copy_similarity: ClassVar[float] = 0.75
    max_off_code: ClassVar[float] = 0.25

    def prompts(self, config: PromptConfig, *, resize_mode: str) -> list[PromptSpec]:
        """One prompt."""
        return [normals_prompt(config.family, resize_mode=resize_mode)]

    def decode(self, generated: UInt8[ndarray, "h w 3"], prompt_spec: PromptSpec) -> Label:
        """See `decode_normals_rgb`."""
        return decode_normals_rgb(generated, prompt_spec.frame)

    def encode(self, label: Label, prompt_spec: PromptSpec) -> UInt8[ndarray, "h w 3"]:
        """See `encode_normals_rgb`; invalid pixels get the color of sky."""
        generated = encode_normals_rgb(label.value, prompt_spec.frame)
        generated[~label.valid] = SKY_COLOR
        return generated

    def reject(self, label: Label) -> str:
        """Normals in another frame."""
        return _FACES_AWAY if normals_face_away(label) else ""

    def explain_impossible(self, label: Label) -> str:
        """Normals of surfaces that no camera sees, or of no surface unless axes are swapped or negated."""
        hidden = _hidden_share(label)
        if hidden > _MAX_HIDDEN:
            return _HIDDEN.format(hidden)
        wrong = explain_axes(label.value, label.valid)
        return _AXES.format(wrong) if wrong else ""

    def recognizes(self, colors: ColorStats) -> bool:
        """Unit vectors of several directions."""
        return colors.are_normals

    def admits(self, colors: ColorStats, label: Label, prompt_spec: PromptSpec) -> bool:
        """Unit vectors of several directions, or sky; in an image of a few colors, nearly everywhere."""
        usable = max(label.valid_fraction, colors.normals)
        least = _LEAST_USABLE_OF_FEW_COLORS if colors.num_colors < _FEW_COLORS else _LEAST_USABLE
        return usable > least and colors.frequent < _ONE_DIRECTION

    def off_code(
        self, areas: Bool[ndarray, "h w"], value: Shaped[ndarray, "h w 3"], colors: UInt8[ndarray, "h w 3"]
    ) -> float:
        """Fraction of the image, sky excepted."""
        sky = np.abs(colors.astype(np.int16) - np.array(SKY_COLOR, np.int16)).max(axis=-1) <= _SKY_WITHIN
        return super().off_code(areas & ~sky, value, colors) if (areas & ~sky).any() else 0.0

    def hflip(self, value: Shaped[ndarray, "h w 3"]) -> Shaped[ndarray, "h w 3"]:
        """Mirrored pixels with negated x."""
        return super().hflip(value) * np.array([-1, 1, 1], np.float32)

    def fuse(self, labels: Sequence[Label]) -> Label:
        """Mean direction per pixel, weighted by confidence."""
        valid = np.stack([label.valid for label in labels])
        weights = np.stack([label.confidence for label in labels]) * valid
        mean = sum(label.value * weight[..., None] for label, weight in zip(labels, weights, strict=True))
        length = np.linalg.norm(mean, axis=-1)
        value = (mean / np.maximum(length, 1e-6)[..., None]).astype(np.float32)
        cosine = np.stack([np.clip((label.value * value).sum(axis=-1), -1, 1) for label in labels])
        apart_deg = (np.degrees(np.arccos(cosine)) * valid).sum(axis=0) / np.maximum(valid.sum(axis=0), 1)
        agreement = np.exp(-0.5 * (apart_deg / ANGLE_SIGMA_DEG) ** 2)
        kept = (2 * valid.sum(axis=0) >= len(labels)) & (length > 1e-6)
        return Label(Task.NORMALS, value, kept, combine_confidence(labels, valid, agreement, kept))

    def error_on_grid(self, label: Label, truth: Label, known: Bool[ndarray, "h w"]) -> LabelError:
        """Mean angle in degrees."""
        cosine = np.clip((label.value * truth.value).sum(axis=-1), -1, 1)
        wrong = np.degrees(np.arccos(cosine))
        return LabelError(float(wrong[known].mean()), wrong <= RIGHT_DEG, known)

    def color_validity(self, label: Label) -> float:
        """Valid fraction, large invalid areas (sky) excluded, times mean confidence."""
        if not label.valid.any():
            return 0.0
        trust, share = float(label.confidence.mean()), label.valid_fraction
        return trust if share == 1 else trust / max(share, 1 - float(_large_areas(~label.valid).mean()))

    def borders(self, value: Shaped[ndarray, "h w 3"], label: Label) -> Bool[ndarray, "h w"]:
        """Changes of direction."""
        change: Any = sum(local_range(np.ascontiguousarray(value[..., axis])) for axis in range(3))
        turned: ndarray = change > _TURN
        return turned

    def content(self, label: Label) -> float:
        """By the spread of directions."""
        few = label.value[::4, ::4][label.valid[::4, ::4]]
        spread = 1 - float(np.linalg.norm(few.mean(axis=0))) if len(few) else 0.0
        return float(np.clip(spread / _CONTENT_SPREAD, 0, 1))

    def planes(self, values: Shaped[ndarray, ...], name: str) -> Shaped[ndarray, "c h w"]:
        """(h, w, 3), channel first."""
        if values.ndim != 3 or values.shape[2] != 3:
            order = ", channel first" if values.ndim == 3 and values.shape[0] == 3 else ""
            raise DistillError(f"{name}: normals has shape {values.shape}{order}", hint="return normals as (h, w, 3)")
        return values.transpose(2, 0, 1)

    def label_from_planes(self, planes: Shaped[ndarray, "c h w"], output: OutputConfig, name: str) -> Label:
        """Three channels in the output's frame, of any length."""
        check_channels(planes.shape[0], 3, name, last_axis=planes.shape[2])
        vector = planes.transpose(1, 2, 0).astype(np.float32)
        length = np.linalg.norm(vector, axis=-1)
        valid = np.isfinite(length) & (length > 1e-3)
        # Networks may leave the length open, but vectors without a negative component are colors.
        is_positive = valid.any() and vector[valid].min() >= 0
        if planes.dtype.kind in "iu" or (is_positive and _unit_share(length, valid) < _LEAST_UNIT):
            raise DistillError(
                f"{name}: the normals are colors (no component is negative), not vectors",
                hint="return vectors: 2 * color - 1 of colors from 0 to 1, color / 127.5 - 1 of 8 bits",
            )
        unit = np.where(valid[..., None], vector / np.maximum(length, 1e-3)[..., None], 0).astype(np.float32)
        return Label(Task.NORMALS, unit @ frame_matrix(output.frame), valid, valid.astype(np.float32))

    def label_from_file(self, stored: Shaped[ndarray, "h w *c"], config: MapConfig, path: Path) -> Label:
        """Scaled vectors in the config's frame; shorter than half a unit are holes or blends."""
        if stored.ndim != 3 or stored.shape[2] != 3:
            raise DistillError(
                f"{path}: a normal map has three channels, this file has shape {stored.shape}", hint="check the pattern"
            )
        vector = stored.astype(np.float32) * np.float32(config.scale) + np.float32(config.offset)
        length = np.linalg.norm(vector, axis=-1)
        given = np.isfinite(length) & (length > 0.5)
        for bad in config.invalid:
            given &= ~(stored == bad).all(axis=-1)
        if given.any() and _unit_share(length, given) < _LEAST_UNIT:
            raise DistillError(
                f"{path}: the median length of the normals is {np.median(length[given]):.3g} instead of 1",
                hint="give scale and offset: 0.00784313725 and -1 for 8-bit colors, 2 and -1 for colors from 0 to 1",
            )
        valid = given & (length < 1 + _UNIT_WITHIN)
        unit = vector / np.maximum(length, 1e-6)[..., None]
        value = np.where(valid[..., None], unit, 0).astype(np.float32) @ frame_matrix(config.frame)
        return Label(Task.NORMALS, value, valid, valid.astype(np.float32))

    def contradiction(self, label: Label, labels: Mapping[Task, Label], frame: str) -> str:
        """Normals that are not those of the depth, but would be with other axes or mirrored."""
        depth = labels.get(Task.DEPTH)
        found = None if depth is None else fitting_axes(label, depth)
        if found is None:
            return ""
        axes, is_mirrored, now, best = found
        text = f"these normals contradict the depth of the photo (agreement {now:.2f})"
        if is_mirrored:
            return f"{text}; they fit it ({best:.2f}) if one of the two is mirrored left-right (mirror: true)"
        fitting = frame_name(frame_matrix(frame) @ axes)
        return f"{text}; they fit it ({best:.2f}) with frame: {fitting} instead of {frame}"

    def synthetic_prompts(self, view: SceneView, *, resize_mode: str) -> list[PromptSpec]:
        """One prompt."""
        return [normals_prompt(resize_mode=resize_mode)]

    def true_label(self, view: SceneView) -> Label:
        """Exact normals; invalid for sky."""
        truth = view.trace()
        valid = np.isfinite(truth.depth_m)
        value = truth.normals * np.array([-1, 1, 1], np.float32) if view.mirrored else truth.normals
        return Label(Task.NORMALS, value, valid, valid.astype(np.float32))


def _hidden_share(label: Label) -> float:
    """Fraction of the valid normals of surfaces that no camera sees, since they face away from the line of sight."""
    value, valid = label.value[::4, ::4], label.valid[::4, ::4]
    if not valid.any():
        return 0.0
    height, width = valid.shape
    reach = _FOCAL * max(height, width)
    right = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / reach
    up = (height / 2 - 0.5 - np.arange(height, dtype=np.float32)) / reach
    away = value[..., 0] * right + value[..., 1] * up[:, None] - value[..., 2]
    return float((away[valid] > _TURNED_AWAY).mean())


def _unit_share(length: Float[ndarray, "h w"], given: Bool[ndarray, "h w"]) -> float:
    return float((np.abs(length[given] - 1) < _UNIT_WITHIN).mean()) if given.any() else 0.0


def _large_areas(mask: Bool[ndarray, "h w"]) -> Bool[ndarray, "h2 w2"]:
    """The mask at the size of comparison, without parts narrower than `_AREA`."""
    size_hw = comparison_size(mask.shape)
    small = cv2.resize(mask.astype(np.uint8), size_hw[::-1], interpolation=cv2.INTER_NEAREST)
    side = round(_AREA * max(size_hw))
    padded = cv2.copyMakeBorder(small, side, side, side, side, cv2.BORDER_REPLICATE)
    opened = cv2.morphologyEx(padded, cv2.MORPH_OPEN, np.ones((side, side), np.uint8))
    areas: ndarray = opened[side:-side, side:-side] > 0
    return areas


TASK = NormalsTask()
