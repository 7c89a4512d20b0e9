"""Occlusion boundaries and object contours in the teachers: the probability that one passes through a pixel."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8
from numpy import ndarray

from distill.config.maps import MapConfig
from distill.config.prompt import PromptConfig
from distill.config.teacher_base import OutputConfig
from distill.labels import Label
from distill.metrics.boundary import boundary_f1
from distill.metrics.edges import THRESHOLDS, match_counts
from distill.tasks import Task
from distill.teachers.base import PromptSpec
from distill.teachers.prompts.templates import check_family
from distill.teachers.quality.color_stats import ColorStats
from distill.teachers.synthetic.raycaster import Truth
from distill.teachers.tasks.base import Comparison, LabelError, SceneView, TeacherTask, check_channels
from distill.teachers.tasks.comparison_size import LEAST_PX
from distill.teachers.tasks.map_files import scale_stored, single_channel
from distill.teachers.tasks.masked_median import combine_confidence

MAX_SPREAD = 30
"""Difference of the color channels above which a pixel is not gray, and invalid."""
SPREAD_SIGMA = 10.0
"""Difference of the color channels at which the confidence is exp(-1/2)."""
FUSION_SIGMA = 0.2
"""Standard deviation of fused probabilities at which agreement is exp(-1/2)."""
_MIN_SHARE, _MAX_SHARE = 0.002, 0.25
"""Fraction of edge pixels in a plausible map; the edges of synthetic scenes cover 0.02."""
_MOSTLY_GRAY = 0.7
_FILLED_CONTENT = 0.3
_SAMPLES = 2
"""Rays per pixel and axis for the true edges: their position is good to a quarter of a pixel."""
_STEP, _BEND = 0.05, 0.03
"""Relative step of inverse depth between neighbors, and relative second difference, of an occlusion boundary."""

_PROMPTS = {
    "vision_banana": "Generate an occlusion boundary map of the input image: white contours on a black background.",
    "open_vision_banana": (
        "Generate object contours and occlusion boundaries: white lines on black, matching input pixels."
    ),
    "editor": (
        "Turn this photo into an occlusion boundary map: thin white lines exactly where one object or surface ends in "
        "front of another, pure black everywhere else; no texture, shadow or print lines. "
        "Keep framing, outlines and image size exactly as they are. No text, no borders."
    ),
}


def edges_prompt(family: str = "vision_banana", *, resize_mode: str = "cover") -> PromptSpec:
    """Prompt for white contours on black."""
    check_family(family)
    return PromptSpec(Task.EDGES, _PROMPTS[family], colormap="gray", resize_mode=resize_mode)


def _compare_with_depth(
    edges: Label, depth: Label, borders: Callable[[Label], Bool[ndarray, "h w"]]
) -> tuple[float, Float[ndarray, "h w"]] | None:
    """Fraction of depth steps within 2 px of an edge; 1 for every pixel."""
    if edges.size_hw != depth.size_hw:
        return None
    lines, depth_steps = borders(edges), borders(depth)
    if depth_steps.sum() < LEAST_PX:
        return None
    near = cv2.dilate(lines.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return float(near[depth_steps].mean()), np.ones(lines.shape, np.float32)


class EdgesTask(TeacherTask):
    """Probability in [0, 1] that an occlusion boundary or object contour passes within half a pixel of the center."""

    task = Task.EDGES
    comparisons: ClassVar[Mapping[Task, Comparison]] = {Task.DEPTH: _compare_with_depth}
    uncertainty_sigma: ClassVar[float] = FUSION_SIGMA
    can_miss_objects = True
    answer_noun: ClassVar[str] = "an edges image"

    def prompts(self, config: PromptConfig, *, resize_mode: str) -> list[PromptSpec]:
        """One prompt."""
        return [edges_prompt(config.family, resize_mode=resize_mode)]

    def decode(self, generated: UInt8[ndarray, "h w 3"], prompt_spec: PromptSpec) -> Label:
        """Gray level as probability; colored pixels are invalid."""
        red, green, blue = cv2.split(generated)
        spread = cv2.subtract(cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue))
        total = red.astype(np.uint16) + green + blue
        valid = spread <= MAX_SPREAD
        trust = np.exp(-0.5 * (np.arange(256) / SPREAD_SIGMA) ** 2).astype(np.float32)
        return Label(Task.EDGES, total / np.float32(3 * 255), valid, np.multiply(cv2.LUT(spread, trust), valid))

    def encode(self, label: Label, prompt_spec: PromptSpec) -> UInt8[ndarray, "h w 3"]:
        """Probability as gray level; invalid pixels become black."""
        gray = np.rint(255 * np.clip(np.where(label.valid, label.value, 0), 0, 1)).astype(np.uint8)
        encoded: ndarray = cv2.merge([gray, gray, gray])
        return encoded

    def reject(self, label: Label) -> str:
        """Inverted images."""
        inverted = label.valid.any() and float(np.median(label.value[label.valid])) > 0.5
        return "the contours are dark on a light background" if inverted else ""

    def recognizes(self, colors: ColorStats) -> bool:
        """Light lines on a dark background."""
        return colors.are_edges

    def admits(self, colors: ColorStats, label: Label, prompt_spec: PromptSpec) -> bool:
        """Mostly gray, with more lines than areas."""
        return colors.gray > _MOSTLY_GRAY and colors.lines > colors.areas

    def before_shrinking(self, label: Label, ratio_hw: tuple[float, float]) -> Label:
        """The largest probability of the pixels that become one, so that thin lines are kept."""
        # A ratio just above 1 comes from rounded sizes, and loses hardly any pixel.
        height, width = (max(1, math.ceil(ratio - 0.1)) for ratio in ratio_hw)
        if height == width == 1:
            return label
        lines = np.where(label.valid, label.value, np.float32(0))
        return replace(label, value=cv2.dilate(lines, np.ones((height, width), np.uint8)))

    def fuse(self, labels: Sequence[Label]) -> Label:
        """Mean probability per pixel, weighted by confidence."""
        valid = np.stack([label.valid for label in labels])
        weights = np.stack([label.confidence for label in labels]) * valid
        values = np.stack([label.value for label in labels])
        total = np.maximum(weights.sum(axis=0), 1e-6)
        mean = (values * weights).sum(axis=0) / total
        deviation = np.sqrt(((values - mean) ** 2 * weights).sum(axis=0) / total)
        kept = 2 * valid.sum(axis=0) >= len(labels)
        agreement = np.exp(-0.5 * (deviation / FUSION_SIGMA) ** 2)
        confidence = combine_confidence(labels, valid, agreement, kept)
        return Label(Task.EDGES, np.where(kept, mean, 0).astype(np.float32), kept, confidence)

    def error_on_grid(self, label: Label, truth: Label, known: Bool[ndarray, "h w"]) -> LabelError:
        """1 - F-score at probability 0.5; a pixel is right if the other map agrees within the tolerance."""
        counts = match_counts(label.value, truth.value, known)
        num = len(THRESHOLDS)
        half = int(np.argmin(np.abs(THRESHOLDS - 0.5)))
        predicted, hits, found = (counts[part * num + half] for part in range(3))
        f_score = float(boundary_f1(hits, predicted, found, counts[-1]))
        radius = max(1, round(0.0075 * math.hypot(*known.shape)))
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        is_true, is_edge = (known & (values >= 0.5) for values in (truth.value, label.value))
        near_true, near_edge = (cv2.dilate(mask.astype(np.uint8), disc) > 0 for mask in (is_true, is_edge))
        right = np.where(is_edge, near_true, ~is_true | near_edge)
        # Neither map has an edge: no error.
        return LabelError(0.0 if math.isnan(f_score) else 1 - f_score, right, known)

    def borders(self, value: Shaped[ndarray, "h w"], label: Label) -> Bool[ndarray, "h w"]:
        """The edges themselves."""
        return value > 0.5

    def content(self, label: Label) -> float:
        """By the fraction of edge pixels; low for filled areas, which are no contours."""
        share = float((label.value[label.valid] > 0.5).mean())
        return _FILLED_CONTENT if share > _MAX_SHARE else float(np.clip(share / _MIN_SHARE, 0, 1))

    def label_from_planes(self, planes: Shaped[ndarray, "c h w"], output: OutputConfig, name: str) -> Label:
        """One channel of logits or probabilities."""
        check_channels(planes.shape[0], 1, name, last_axis=planes.shape[2])
        value = planes[0].astype(np.float32)
        valid = np.isfinite(value)
        value = np.where(valid, value, np.float32(0))
        if output.values == "logits":
            value = 1 / (1 + np.exp(-value))
        return Label(Task.EDGES, np.clip(value, 0, 1), valid, valid.astype(np.float32))

    def label_from_file(self, stored: Shaped[ndarray, "h w *c"], config: MapConfig, path: Path) -> Label:
        """Scaled probabilities, clipped to [0, 1]."""
        value, valid = scale_stored(single_channel(stored, path), config)
        value = np.clip(np.where(valid, value, 0), 0, 1).astype(np.float32)
        return Label(Task.EDGES, value, valid, valid.astype(np.float32))

    def synthetic_prompts(self, view: SceneView, *, resize_mode: str) -> list[PromptSpec]:
        """One prompt."""
        return [edges_prompt(resize_mode=resize_mode)]

    def true_label(self, view: SceneView) -> Label:
        """Antialiased lines, one pixel wide, between objects, between classes and at occlusions within one object.

        Creases, texture and shadows are no edges.
        """
        height, width = view.size_hw
        marked = _contours(view.trace(samples=_SAMPLES)).astype(np.float32)
        value = marked.reshape(height, _SAMPLES, width, _SAMPLES).mean(axis=(1, 3))
        valid = np.ones(value.shape, bool)
        return Label(Task.EDGES, value, valid, valid.astype(np.float32))


def _contours(truth: Truth) -> Bool[ndarray, "h w"]:
    """Both pixels of every pair of neighbors with a contour between them."""
    # Inverse depth is linear in the image on every plane, so slanted planes have no second difference.
    inverse = np.where(np.isfinite(truth.depth_m), 1 / np.maximum(truth.depth_m, np.float32(1e-6)), np.float32(0))
    marked = np.zeros(inverse.shape, bool)
    for axis in (0, 1):
        value, semantic, instance, out = (
            np.moveaxis(part, axis, 1) for part in (inverse, truth.semantic, truth.instance, marked)
        )
        contour = (semantic[:, :-1] != semantic[:, 1:]) | (instance[:, :-1] != instance[:, 1:]) | _steps(value)
        out[:, :-1] |= contour
        out[:, 1:] |= contour
    return marked


def _steps(inverse: Float[ndarray, "h w"]) -> Bool[ndarray, "h w2"]:
    """Occlusions between horizontal neighbors: steps of inverse depth that neither surface continues."""
    first, second = inverse[:, :-1], inverse[:, 1:]
    padded = np.pad(inverse, ((0, 0), (1, 1)), mode="reflect", reflect_type="odd")
    bend = np.minimum(np.abs(2 * first - padded[:, :-3] - second), np.abs(2 * second - padded[:, 3:] - first))
    larger = np.maximum(first, second)
    steps: ndarray = (np.abs(first - second) > _STEP * larger) & (bend > _BEND * larger)
    return steps


TASK = EdgesTask()
