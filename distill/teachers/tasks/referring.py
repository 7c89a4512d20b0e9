"""Referring segmentation (areas named by phrases) in the teachers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from numpy.random import Generator

from distill.config.prompt import PromptConfig
from distill.config.synthetic import FaultsConfig
from distill.labels import Label
from distill.tasks import Task
from distill.teachers.base import RGB, PromptSpec
from distill.teachers.codecs.flat_colors import BLACK
from distill.teachers.codecs.palette import BACKGROUND
from distill.teachers.prompts.colors import hex_of, palette
from distill.teachers.prompts.templates import (
    EDITOR_TAIL,
    bare_phrase,
    check_family,
    check_names,
    names_or_legend,
    rgb_text,
)
from distill.teachers.synthetic.raycaster import Truth
from distill.teachers.tasks.base import SceneView
from distill.teachers.tasks.class_maps import ClassesTask, swap_legend
from distill.teachers.tasks.instance import render_instances

_MIN_SHARE = 0.002
"""Smaller objects (fraction of the image) are not referred to."""
_MAX_PHRASES = 2


def referring_prompt(
    phrases: Sequence[str] | Mapping[str, RGB],
    family: str = "vision_banana",
    *,
    background: RGB = (0, 0, 0),
    style: str = "prose_rgb",
    resize_mode: str = "cover",
) -> PromptSpec:
    """Prompt for the areas named by phrases, each in its color, and everything else in the background color."""
    check_family(family)
    if isinstance(phrases, Mapping):
        legend = dict(phrases)
    else:
        legend = dict(zip(check_names(phrases), palette(len(phrases), background=background), strict=True))
    write = hex_of if style == "prose_hex" else rgb_text
    parts = " ".join(f"The {bare_phrase(phrase)} is rendered in {write(color)}." for phrase, color in legend.items())
    prompt = f"A segmentation map of the input image. The background is {write(background)}. {parts}"
    if family == "editor":
        prompt += EDITOR_TAIL
    return PromptSpec(Task.REFERRING, prompt, legend=legend, background=background, resize_mode=resize_mode)


def referring_phrases(truth: Truth, instance_classes: Mapping[int, str]) -> dict[str, int]:
    """Phrase to instance id for the nearest visible object of each class; at most two, the nearest first."""
    nearest: dict[str, tuple[float, int]] = {}
    for number, name in instance_classes.items():
        depths = truth.depth_m[truth.instance == number]
        if depths.size >= _MIN_SHARE * truth.depth_m.size:
            nearest[name] = min(nearest.get(name, (np.inf, 0)), (float(depths.min()), number))
    ranked = sorted(nearest.items(), key=lambda item: item[1])[:_MAX_PHRASES]
    return {f"nearest {name}": number for name, (_, number) in ranked}


class ReferringTask(ClassesTask):
    """Areas named by phrases; everything else is the class ``background``."""

    task = Task.REFERRING
    survives_flip = False

    def legend(self, prompt_spec: PromptSpec) -> dict[str, RGB]:
        """Phrases and colors; the background as one more class, unless it is named."""
        return {**prompt_spec.legend, BACKGROUND: prompt_spec.legend.get(BACKGROUND, prompt_spec.background or BLACK)}

    def prompts(self, config: PromptConfig, *, resize_mode: str) -> list[PromptSpec]:
        """One prompt for all phrases."""
        phrases = names_or_legend(config.referring)
        return [referring_prompt(phrases, config.family, background=config.background, resize_mode=resize_mode)]

    def things(self, prompt_spec: PromptSpec) -> list[str]:
        """The phrases."""
        return list(prompt_spec.legend)

    def content(self, label: Label) -> float:
        """Fraction of the phrases with pixels: an object that is referred to is visible."""
        value, valid = label.value[::2, ::2], label.valid[::2, ::2]
        counts = np.bincount(value[valid], minlength=len(label.classes))
        least = 1e-4 * valid.size
        found = [counts[number] > least for number, name in enumerate(label.classes) if name != BACKGROUND]
        return float(np.mean(found)) if found else 1.0

    def synthetic_prompts(self, view: SceneView, *, resize_mode: str) -> list[PromptSpec]:
        """One prompt for the nearest objects, or none."""
        phrases = referring_phrases(view.photo_truth(), view.instance_classes)
        return [referring_prompt(list(phrases), resize_mode=resize_mode)] if phrases else []

    def true_label(self, view: SceneView) -> Label:
        """Exact areas of the nearest objects."""
        truth = view.trace()
        phrases = referring_phrases(view.photo_truth(), view.instance_classes)
        value = np.full(truth.instance.shape, len(phrases), np.uint8)
        for position, number in enumerate(phrases.values()):
            value[truth.instance == number] = position
        valid = np.ones(value.shape, bool)
        return Label(Task.REFERRING, value, valid, valid.astype(np.float32), classes=(*phrases, BACKGROUND))

    def render(
        self, view: SceneView, prompt_spec: PromptSpec, faults: FaultsConfig, rng: Generator
    ) -> UInt8[ndarray, "h w 3"]:
        """Objects in the legend's colors, at times with the color of another phrase."""
        names = {number: name for name, number in referring_phrases(view.photo_truth(), view.instance_classes).items()}
        legend = swap_legend(prompt_spec.legend, list(names.values()), faults.wrong_legend_probability, rng)
        background = prompt_spec.background or BLACK
        colors = {number: legend.get(name, background) for number, name in names.items()}
        return render_instances(view.trace().instance, colors, background)


TASK = ReferringTask()
