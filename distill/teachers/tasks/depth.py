"""Depth in the teachers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8, UInt16
from numpy import ndarray
from numpy.random import Generator

from distill.config.maps import MapConfig
from distill.config.prompt import PromptConfig
from distill.config.synthetic import FaultsConfig
from distill.config.teacher_base import OutputConfig
from distill.errors import DistillError, UsageError
from distill.labels import Label, is_beyond_range
from distill.labels.conversions import stretch_to_unit
from distill.metrics.depth_alignment import align_depth, default_alignment
from distill.tasks import FAR_DEPTH_M, FAR_WARP, DepthKind, Task, unwarp_depth, warp_depth
from distill.teachers.base import PromptSpec
from distill.teachers.codecs.colormaps import runs_along_cube, split_reversed
from distill.teachers.codecs.depth import decode_depth_gray16, decode_depth_rgb, encode_depth_rgb
from distill.teachers.prompts.templates import check_family
from distill.teachers.quality.channel_order import explain_channels
from distill.teachers.quality.color_stats import ColorStats, occurring_runs
from distill.teachers.tasks.base import LabelError, SceneView, TeacherTask, check_channels
from distill.teachers.tasks.comparison_size import DEPTH_STEP, local_range
from distill.teachers.tasks.map_files import scale_stored, single_channel, z_depth_of_rays
from distill.teachers.tasks.masked_median import combine_confidence, masked_median

METRIC_SIGMA = 0.1
"""Spread of metric depths (of their logarithms) at which agreement is exp(-1/2)."""
RELATIVE_SIGMA = 0.05
"""The same for relative depths, in units of [0, 1]."""
RIGHT_WITHIN = 0.1
"""A depth pixel is right within this fraction of the truth."""
_NEAREST_M = 0.1
_BLACK_M = 1e-3
"""Black decodes to 0 m; nearer depths are not informative."""
_MOST_NEGATIVE = 0.05
"""Maps with a larger share of negative depths are refused."""
_SIGN_HINT = "give scale: -1.0 if the camera looks along -z, or min_value: 0 if these pixels have no depth"
_LEAST_NEAR = 0.05
"""Maps with a smaller share of depths within `distill.tasks.FAR_DEPTH_M` are not in meters."""
_LARGEST_SHARE = 0.005
_STRETCHED = 20
"""Values from 0 to exactly 1 with more steps than this are stretched."""
_CONTENT_SPREAD = 0.05
"""Spread of depth (2nd to 98th percentile) from which a label counts as full of content."""
_CHANNELS = "the colors of the answer are those of a depth image whose channels are in the order {}, not RGB"

_CUBE = (
    "Predict the metric depth of this scene as an image. "
    "Visualized in the rainbow (black-red-yellow-green-cyan-blue-violet-white) color palette."
)
_MAPPED = "Predict the metric depth of this scene as an image. Visualized in the {colormap} colormap."
_GRAY = "Generate relative inverse depth: near points bright, far points dark, matching input pixels."
_EDITOR_GRAY = (
    "Turn this photo into a grayscale relative depth map: near points bright, far points dark. "
    "Keep framing, outlines and image size exactly as they are. No text, no borders."
)


def depth_prompt(family: str = "vision_banana", *, colormap: str = "cube", resize_mode: str = "cover") -> PromptSpec:
    """Prompt for metric depth along the cube path (or a colormap) for the tuned family, else for gray disparity."""
    check_family(family)
    split_reversed(colormap)  # refuses an unknown name before anything is paid
    if family != "vision_banana":
        prompt = _GRAY if family == "open_vision_banana" else _EDITOR_GRAY
        return PromptSpec(
            Task.DEPTH,
            prompt,
            colormap="gray",
            depth_kind=DepthKind.AFFINE_INVARIANT_DISPARITY,
            near_is_low=False,
            resize_mode=resize_mode,
        )
    prompt = _CUBE if colormap == "cube" else _MAPPED.format(colormap="grayscale" if colormap == "gray" else colormap)
    return PromptSpec(Task.DEPTH, prompt, colormap=colormap, resize_mode=resize_mode)


_MOSTLY_VALID = 0.5
"""Fraction of valid pixels of a depth image: 0.9 or more in good ones."""
_FEW_DEPTHS = 4
"""`ColorStats.depth_run` of noisy segmentations is at most 3, of depth images at least 7."""
_NEARLY_ALL, _ON_PATH = 0.97, 0.8
"""Valid fraction and mean confidence of an image of few surfaces."""
_MOSTLY_BETWEEN = 0.5
"""Fraction of its pixels between pure colors; 0.001 in a real segmentation in yellow and red."""
_PURE = 24
"""Channels of pure colors differ from 0 or 255 by this at most."""
_OCCURS = 0.01
"""Fraction of the pixels from which a depth occurs, with other color maps."""


class DepthTask(TeacherTask):
    """Depth, metric or relative."""

    task = Task.DEPTH
    masks_background = True
    uncertainty_sigma: ClassVar[float] = RELATIVE_SIGMA
    answer_noun: ClassVar[str] = "a depth image"
    copy_similarity: ClassVar[float] = 0.75
    max_off_code: ClassVar[float] = 0.25

    def prompts(self, config: PromptConfig, *, resize_mode: str) -> list[PromptSpec]:
        """One prompt."""
        return [depth_prompt(config.family, colormap=config.colormap, resize_mode=resize_mode)]

    def decode(self, generated: UInt8[ndarray, "h w 3"], prompt_spec: PromptSpec) -> Label:
        """See `decode_depth_rgb`."""
        return decode_depth_rgb(
            generated,
            prompt_spec.colormap,
            prompt_spec.near_is_low,
            prompt_spec.depth_kind,
            lam=prompt_spec.lam,
            c=prompt_spec.c,
        )

    def decode_gray16(self, gray: UInt16[ndarray, "h w"], prompt_spec: PromptSpec) -> Label | None:
        """See `decode_depth_gray16`; None for colormaps other than gray."""
        if split_reversed(prompt_spec.colormap)[0] != "gray":
            return None
        return decode_depth_gray16(
            gray,
            prompt_spec.colormap,
            prompt_spec.near_is_low,
            prompt_spec.depth_kind,
            lam=prompt_spec.lam,
            c=prompt_spec.c,
        )

    def encode(self, label: Label, prompt_spec: PromptSpec) -> UInt8[ndarray, "h w 3"]:
        """See `encode_depth_rgb`; invalid pixels become 0."""
        return encode_depth_rgb(
            np.where(label.valid, label.value, 0),
            prompt_spec.colormap,
            prompt_spec.near_is_low,
            prompt_spec.depth_kind,
            lam=prompt_spec.lam,
            c=prompt_spec.c,
        )

    def informative(self, label: Label) -> Bool[ndarray, "h w"]:
        """Pixels with confidence; of metric depth also more than 0 m, which black decodes to."""
        usable = super().informative(label)
        return usable & (label.value > _BLACK_M) if _is_metric(label) else usable

    def recognizes(self, colors: ColorStats) -> bool:
        """Many depths along the path, or many levels of gray."""
        return colors.are_depth or colors.are_gray_depth

    def admits(self, colors: ColorStats, label: Label, prompt_spec: PromptSpec) -> bool:
        """Mostly valid, with more than a few depths."""
        if label.valid_fraction < _MOSTLY_VALID or colors.are_edges:
            return False
        run, num_runs = colors.depth_run, colors.num_depth_runs
        if prompt_spec.colormap != "cube":
            if colors.are_normals or (colors.are_depth and not runs_along_cube(prompt_spec.colormap)):
                return False
            run, num_runs = _value_runs(label)
        # Hills before the sky are all at the far end.
        return run > _FEW_DEPTHS or (num_runs == 1 and run > 1) or self._shows_few_surfaces(label, prompt_spec)

    def explain_colors(self, rgb: UInt8[ndarray, "h w 3"], prompt_spec: PromptSpec) -> str:
        """Channels in another order."""
        order = explain_channels(rgb, prompt_spec.colormap)
        return _CHANNELS.format(order) if order else ""

    def _shows_few_surfaces(self, label: Label, prompt_spec: PromptSpec) -> bool:
        """Whether flat colors are depths of surfaces.

        Nearly all are on the path, and most pixels and shades between its corners: segmentations have pure colors.
        """
        if label.valid_fraction < _NEARLY_ALL or float(label.confidence[label.valid].mean()) < _ON_PATH:
            return False
        few = replace(
            label, value=label.value[::4, ::4], valid=label.valid[::4, ::4], confidence=label.confidence[::4, ::4]
        )
        colors = self.encode(few, prompt_spec)
        between = ((colors > _PURE) & (colors < 255 - _PURE)).any(axis=-1) & few.valid
        if np.count_nonzero(between) < _MOSTLY_BETWEEN * np.count_nonzero(few.valid):
            return False
        unit = np.clip(np.asarray(warp_depth(few.value)) if _is_metric(label) else few.value, 0, 1)
        _, shades = occurring_runs(unit[between], _OCCURS)
        _, pure = occurring_runs(unit[few.valid & ~between], _OCCURS)
        return shades > 1 and shades > pure

    def fuse(self, labels: Sequence[Label]) -> Label:
        """Median per pixel; relative depths are first aligned with the first label."""
        depth_kind = labels[0].depth_kind or DepthKind.METRIC
        metric = depth_kind is DepthKind.METRIC
        values = np.stack([label.value if metric else _aligned(label, labels[0], depth_kind) for label in labels])
        valid = np.stack([label.valid for label in labels])
        kept = 2 * valid.sum(axis=0) >= len(labels)
        middle = masked_median(values, valid)
        if metric:
            apart = np.abs(np.log(np.maximum(values, 1e-3)) - np.log(np.maximum(middle, 1e-3)))
            sigma = METRIC_SIGMA
        else:
            apart, sigma = np.abs(values - middle), RELATIVE_SIGMA
        # 1.4826 makes a median deviation comparable with a standard deviation.
        spread = 1.4826 * masked_median(apart, valid)
        agreement = np.exp(-0.5 * (spread / sigma) ** 2)
        confidence = combine_confidence(labels, valid, agreement, kept)
        return Label(Task.DEPTH, middle.astype(np.float32), kept, confidence, depth_kind=depth_kind)

    def error_on_grid(self, label: Label, truth: Label, known: Bool[ndarray, "h w"]) -> LabelError:
        """Mean relative error (AbsRel), each pixel at most 1; relative depth is first aligned with the truth."""
        wrong = _relative_errors(label, truth, known)
        return LabelError(float(wrong[known].mean()), wrong <= RIGHT_WITHIN, known)

    def borders(self, value: Shaped[ndarray, "h w"], label: Label) -> Bool[ndarray, "h w"]:
        """Steps of warped (or relative) depth."""
        plain = np.asarray(warp_depth(value)) if label.depth_kind is DepthKind.METRIC else value
        return local_range(plain.astype(np.float32)) > DEPTH_STEP

    def content(self, label: Label) -> float:
        """By the spread of the depth values, sky excluded."""
        values = label.value[::4, ::4][label.valid[::4, ::4]]
        if label.depth_kind is DepthKind.METRIC:
            values = values[np.asarray(warp_depth(values)) <= FAR_WARP]
        if values.size == 0:
            return 0.0
        return float(np.clip(np.ptp(np.percentile(values, (2, 98))) / _CONTENT_SPREAD, 0, 1))

    def label_from_planes(self, planes: Shaped[ndarray, "c h w"], output: OutputConfig, name: str) -> Label:
        """One channel; relative depth is stretched to [0, 1]."""
        check_channels(planes.shape[0], 1, name, last_axis=planes.shape[2])
        value = planes[0].astype(np.float32)
        valid = np.isfinite(value)
        if output.depth_kind is DepthKind.METRIC:
            _check_positive(value, valid, name, "return positive meters, and NaN where there is none")
            valid &= value > 0
            _check_near(value, valid, name, "return meters, or state another depth_kind")
        else:
            value = stretch_to_unit(np.where(valid, value, 0), valid)
        return Label(Task.DEPTH, value, valid, valid.astype(np.float32), output.depth_kind)

    def label_from_file(self, stored: Shaped[ndarray, "h w *c"], config: MapConfig, path: Path) -> Label:
        """Scaled values; relative depth is stretched to [0, 1]."""
        gray = single_channel(stored, path)
        value, valid = scale_stored(gray, config)
        _check_in_range(value, valid, config, str(path))
        if config.ray_focal_px is not None:
            value = z_depth_of_rays(value, config.ray_focal_px)
        if config.depth_kind is DepthKind.METRIC:
            _check_positive(value, valid, str(path), _SIGN_HINT)
            valid &= value > 0
            if not {"scale", "depth_kind", "max_value"} & config.model_fields_set:
                _check_unit(gray, str(path))
            if config.max_value is None:
                hint = "give scale (0.001 for millimeters); if they are so far away, state max_value"
                _check_near(value, valid, str(path), hint)
                _check_largest(gray, value, valid, str(path))
        else:
            value = stretch_to_unit(value, valid)
        return Label(Task.DEPTH, value, valid, valid.astype(np.float32), config.depth_kind)

    def synthetic_prompts(self, view: SceneView, *, resize_mode: str) -> list[PromptSpec]:
        """One prompt for metric depth."""
        return [depth_prompt(resize_mode=resize_mode)]

    def true_label(self, view: SceneView) -> Label:
        """Metric depth; sky has the largest depth that can be stored."""
        value = np.minimum(view.trace().depth_m, np.float32(unwarp_depth(65534 / 65535)))
        valid = np.ones(value.shape, bool)
        return Label(Task.DEPTH, value, valid, valid.astype(np.float32), DepthKind.METRIC)

    def render(
        self, view: SceneView, prompt_spec: PromptSpec, faults: FaultsConfig, rng: Generator
    ) -> UInt8[ndarray, "h w 3"]:
        """Metric depth in color, sky at the far end.

        Raises:
            UsageError: The prompt is for relative depth.
        """
        if prompt_spec.depth_kind is not DepthKind.METRIC:
            raise UsageError(
                f"the synthetic teacher generates metric depth, not {prompt_spec.depth_kind}",
                hint="prompt for metric depth",
            )
        return encode_depth_rgb(
            view.trace().depth_m, prompt_spec.colormap, prompt_spec.near_is_low, lam=prompt_spec.lam, c=prompt_spec.c
        )


def _check_positive(value: Float[ndarray, "h w"], valid: Bool[ndarray, "h w"], where: str, hint: str) -> None:
    """Raise if many depths are negative; one negative number alone marks pixels without a depth."""
    negative, count = value[valid & (value < 0)], np.count_nonzero(valid)
    marks_missing = negative.size and negative.min() == negative.max() and negative.size < count
    if negative.size > _MOST_NEGATIVE * count and not marks_missing:
        raise DistillError(
            f"{where}: {negative.size / count:.0%} of the depths are negative, down to {negative.min():.4g}", hint=hint
        )


def _check_in_range(value: Float[ndarray, "h w"], valid: Bool[ndarray, "h w"], config: MapConfig, where: str) -> None:
    """Raise if a config's range leaves almost none of the depths, as in another unit."""
    few = value[::4, ::4][np.isfinite(value[::4, ::4]) & (value[::4, ::4] != 0)]
    if config.max_value is None or not few.size or valid.any():
        return
    if (few > config.max_value).mean() > 1 - _LEAST_NEAR:
        raise DistillError(
            f"{where}: all depths are beyond max_value {config.max_value:g} (the median is {np.median(few):.4g})",
            hint="give scale (0.001 for millimeters), or fix max_value",
        )


def _check_near(value: Float[ndarray, "h w"], valid: Bool[ndarray, "h w"], where: str, hint: str) -> None:
    """Raise if almost all metric depths are beyond `distill.tasks.FAR_DEPTH_M`, as in another unit."""
    near, middle = np.count_nonzero(valid & (value <= FAR_DEPTH_M)), value[valid]
    if middle.size and near < _LEAST_NEAR * middle.size:
        raise DistillError(
            f"{where}: {1 - near / middle.size:.0%} of the depths are beyond {FAR_DEPTH_M:.0f} m (the median is "
            f"{np.median(middle):.4g} m), so they seem to be in another unit",
            hint=hint,
        )


def _check_unit(stored: Shaped[ndarray, "h w"], where: str) -> None:
    """Raise if stored numbers without a scale can hardly be meters: 8-bit levels, or floats stretched to [0, 1]."""
    if stored.dtype.itemsize == 1:
        raise DistillError(
            f"{where}: 8-bit levels are no meters",
            hint="give scale (meters per level), or the depth_kind of these maps",
        )
    if stored.dtype.kind != "f" or not stored.size or (stored.min(), stored.max()) != (0, 1):
        return
    if len(np.unique(stored[:: max(1, stored.shape[0] // 64)])) > _STRETCHED:
        raise DistillError(
            f"{where}: the depths are stretched to 0..1, so they are no meters",
            hint="state their depth_kind, such as affine_invariant_disparity (near is large), or scale: 1.0",
        )


def _check_largest(
    stored: Shaped[ndarray, "h w"], value: Float[ndarray, "h w"], valid: Bool[ndarray, "h w"], where: str
) -> None:
    """Raise if many pixels hold the largest number of a 16-bit or larger file, which usually means no measurement."""
    if stored.dtype.kind not in "iu" or stored.dtype.itemsize < 2:
        return
    largest = np.iinfo(stored.dtype).max
    full = valid & (stored == largest)
    if full.mean() > _LARGEST_SHARE and value[full].max() < FAR_DEPTH_M:
        raise DistillError(
            f"{where}: {full.mean():.0%} of the pixels hold {largest}, the largest number of the file, which usually"
            " means no measurement",
            hint=f"add {largest} to invalid, or state max_value if these depths were measured",
        )


def _value_runs(label: Label) -> tuple[int, int]:
    """`occurring_runs` of relative or warped depth."""
    few = label.value[::4, ::4][label.valid[::4, ::4]]
    unit = np.asarray(warp_depth(few)) if _is_metric(label) else few
    return occurring_runs(np.clip(unit, 0, 1), _OCCURS)


def _is_metric(label: Label) -> bool:
    return label.depth_kind in (None, DepthKind.METRIC)


def _aligned(label: Label, target: Label, depth_kind: DepthKind) -> Float[ndarray, "h w"]:
    """Relative depth in the scale (and shift, where the depth kind leaves it open) of another label."""
    both = label.valid & target.valid
    if both.sum() < 2:
        return label.value
    mine, theirs = label.value[both].astype(np.float64), target.value[both].astype(np.float64)
    if depth_kind is DepthKind.SCALE_INVARIANT:
        aligned: ndarray = (label.value * np.median(theirs) / max(float(np.median(mine)), 1e-6)).astype(np.float32)
        return aligned
    slope, offset = np.polyfit(mine, theirs, 1) if np.ptp(mine) > 0 else (1.0, float(theirs.mean() - mine.mean()))
    return np.clip(label.value * slope + offset, 0, 1).astype(np.float32)


def _relative_errors(label: Label, truth: Label, known: Bool[ndarray, "h w"]) -> Float[ndarray, "h w"]:
    """Relative errors, at most 1; 0 where label and truth are both sky."""
    depth_kind, value = label.depth_kind or DepthKind.METRIC, label.value
    truth_far = is_beyond_range(truth)
    both_far = np.zeros(known.shape, bool)
    if depth_kind is DepthKind.METRIC:
        both_far = is_beyond_range(label) & truth_far
    else:
        near = known & ~truth_far
        if near.any():
            value = align_depth(
                value,
                truth.value,
                near,
                alignment=default_alignment(depth_kind),
                depth_kind=depth_kind,
                min_depth_m=_NEAREST_M,
                max_depth_m=FAR_DEPTH_M,
            )
    wrong = np.minimum(np.abs(value - truth.value) / np.maximum(truth.value, _NEAREST_M), 1.0)
    return np.where(both_far, 0.0, wrong)


TASK = DepthTask()
