"""Semantic classes in the teachers."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8
from numpy import ndarray
from numpy.random import Generator

from distill.config.class_ids import ClassIds
from distill.config.maps import MapConfig
from distill.config.prompt import PromptConfig
from distill.config.synthetic import FaultsConfig
from distill.config.teacher_base import OutputConfig
from distill.errors import UsageError
from distill.labels import Label
from distill.tasks import IGNORE_SEMANTIC, Task
from distill.teachers.base import RGB, PromptSpec
from distill.teachers.codecs.flat_colors import BLACK
from distill.teachers.prompts.colors import hex_of
from distill.teachers.prompts.templates import (
    EDITOR_TAIL,
    STYLES,
    bare_phrase,
    check_family,
    color_classes,
    names_or_legend,
    rgb_text,
)
from distill.teachers.tasks.base import Comparison, SceneView, check_channels
from distill.teachers.tasks.class_logits import check_scores, classes_of_scores
from distill.teachers.tasks.class_maps import ClassesTask, label_of_ids, swap_legend
from distill.teachers.tasks.comparison_size import LEAST_PX
from distill.teachers.tasks.map_files import ids_of_colors, single_channel

_OPENINGS = (
    "Generate a semantic segmentation visualization of the input image",
    "Conduct per-class semantic segmentation for the given image",
    "This image is a per-pixel class labeling of the input",
)


def semantic_prompt(
    classes: Sequence[str] | Mapping[str, RGB],
    family: str = "vision_banana",
    *,
    style: str = "json_rgb",
    seed: int | None = None,
    resize_mode: str = "cover",
) -> PromptSpec:
    """Prompt for the class of every pixel; colors are chosen for the classes unless they are given.

    Args:
        classes: Names, or names with colors.
        family: Teacher family.
        style: Spelling of the legend; one of `STYLES`. Generators follow hex and numbers more exactly than color names.
        seed: Shuffles colors and order of the legend; None leaves both as they are.
        resize_mode: How the generated image covers the photo.
    """
    check_family(family)
    legend = dict(classes) if isinstance(classes, Mapping) else color_classes(classes)
    prompt_spec = PromptSpec(Task.SEMANTIC, legend=legend, resize_mode=resize_mode)
    if seed is not None:
        return permute_legend(prompt_spec, seed, family=family, style=style)
    return replace(prompt_spec, prompt=_sentence(legend, family, style, 0))


def permute_legend(prompt_spec: PromptSpec, seed: int, *, family: str = "", style: str | None = None) -> PromptSpec:
    """The same semantic prompt with shuffled colors, order and wording; equal for equal seeds.

    Generators find regions better than they follow colors: votes over permuted legends cancel wrong colors out.
    The set of colors stays the same; so does the teacher family, unless one is named.

    Raises:
        UsageError: Not a semantic prompt.
    """
    if prompt_spec.task is not Task.SEMANTIC:
        raise UsageError(f"a {prompt_spec.task} prompt has no legend to permute", hint="permute semantic prompts only")
    family = family or ("editor" if prompt_spec.prompt.endswith(EDITOR_TAIL) else "vision_banana")
    dice = random.Random(seed)
    names, colors = list(prompt_spec.legend), list(prompt_spec.legend.values())
    dice.shuffle(names)
    dice.shuffle(colors)
    legend = dict(zip(names, colors, strict=True))
    chosen = style or dice.choice(STYLES)
    return replace(prompt_spec, legend=legend, prompt=_sentence(legend, family, chosen, dice.randrange(3)))


def _sentence(legend: Mapping[str, RGB], family: str, style: str, opening: int) -> str:
    if style not in STYLES:
        raise UsageError(f"unknown legend style {style!r}", hint=f"one of {', '.join(STYLES)}")
    if style.startswith("json"):
        write = _triple if style == "json_rgb" else _quoted_hex
        pairs = ", ".join(f'"{name}": {write(color)}' for name, color in legend.items())
        sentence = f"{_OPENINGS[opening]}, using this color mapping: {{{pairs}}}"
    else:
        spell = rgb_text if style == "prose_rgb" else hex_of
        parts = " ".join(f"The {bare_phrase(name)} is represented by {spell(color)}." for name, color in legend.items())
        sentence = f"{_OPENINGS[opening]}. {parts}"
    return sentence + EDITOR_TAIL if family == "editor" else sentence


def _triple(color: RGB) -> str:
    return "<{}, {}, {}>".format(*color)


def _quoted_hex(color: RGB) -> str:
    return f'"{hex_of(color)}"'


def _compare_with_depth(
    semantic: Label, depth: Label, borders: Callable[[Label], Bool[ndarray, "h w"]]
) -> tuple[float, Float[ndarray, "h w"]] | None:
    """Fraction of depth steps within 2 px of a class border; 1 for every pixel."""
    if semantic.size_hw != depth.size_hw:
        return None
    class_borders, depth_steps = borders(semantic), borders(depth)
    if depth_steps.sum() < LEAST_PX:
        return None
    near = cv2.dilate(class_borders.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return float(near[depth_steps].mean()), np.ones(class_borders.shape, np.float32)


class SemanticTask(ClassesTask):
    """One class per pixel."""

    task = Task.SEMANTIC
    comparisons: ClassVar[Mapping[Task, Comparison]] = {Task.DEPTH: _compare_with_depth}

    def prompts(self, config: PromptConfig, *, resize_mode: str) -> list[PromptSpec]:
        """One prompt for all classes."""
        classes = names_or_legend(config.classes)
        return [semantic_prompt(classes, config.family, style=config.legend_style, resize_mode=resize_mode)]

    def permute(self, prompt_spec: PromptSpec, seed: int) -> PromptSpec:
        """See `permute_legend`."""
        return permute_legend(prompt_spec, seed) if len(prompt_spec.legend) > 1 else prompt_spec

    def content(self, label: Label) -> float:
        """0.3 for a single class, which a close-up may show."""
        counts = np.bincount(label.value[label.valid].astype(np.int64), minlength=len(label.classes))
        return 1.0 if np.count_nonzero(counts > 1e-4 * label.valid.size) > 1 else 0.3

    def label_from_planes(self, planes: Shaped[ndarray, "c h w"], output: OutputConfig, name: str) -> Label:
        """One channel of ids, or one channel per class; the confidence is the class probability, or 1 for ids."""
        names = output.model_classes or output.classes
        if output.values == "ids":
            check_channels(planes.shape[0], 1, name, last_axis=planes.shape[2])
            return label_of_ids(planes[0], output.class_ids, name)
        # One channel is one foreground class against background.
        check_channels(2 if planes.shape[0] == 1 else planes.shape[0], len(names), name, last_axis=planes.shape[2])
        check_scores(planes, output.values, name, is_stated="values" in output.model_fields_set)
        table = ClassIds(output.classes, names, output.remap).channels(len(names))
        value, confidence = classes_of_scores(planes, output.values, table, len(output.classes))
        valid = (value != IGNORE_SEMANTIC) & (confidence >= output.min_confidence)
        return Label(Task.SEMANTIC, value, valid, np.where(valid, confidence, np.float32(0)), classes=output.classes)

    def label_from_file(self, stored: Shaped[ndarray, "h w *c"], config: MapConfig, path: Path) -> Label:
        """Ids or colors, renumbered by the config."""
        ids = ids_of_colors(stored, config, path) if config.colors else single_channel(stored, path)
        return label_of_ids(ids, config.class_ids, str(path), invalid=config.invalid)

    def synthetic_prompts(self, view: SceneView, *, resize_mode: str) -> list[PromptSpec]:
        """One prompt for all classes of the synthetic scenes."""
        return [semantic_prompt(view.class_names, resize_mode=resize_mode)]

    def true_label(self, view: SceneView) -> Label:
        """Exact class ids."""
        value = view.trace().semantic
        valid = np.ones(value.shape, bool)
        return Label(Task.SEMANTIC, value, valid, valid.astype(np.float32), classes=view.class_names)

    def render(
        self, view: SceneView, prompt_spec: PromptSpec, faults: FaultsConfig, rng: Generator
    ) -> UInt8[ndarray, "h w 3"]:
        """Classes in the legend's colors, at times with the color of another class."""
        semantic = view.trace().semantic
        present = [view.class_names[class_id] for class_id in np.unique(semantic)]
        legend = swap_legend(prompt_spec.legend, present, faults.wrong_legend_probability, rng)
        colors = [legend.get(name, prompt_spec.background or BLACK) for name in view.class_names]
        rendered: ndarray = np.array(colors, np.uint8)[semantic]
        return rendered


TASK = SemanticTask()
