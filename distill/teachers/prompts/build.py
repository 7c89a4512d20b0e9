"""From the config of what is asked to the questions themselves; every painting teacher asks by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distill.config.prompt import PromptConfig
from distill.tasks import Task
from distill.teachers.base import RGB, PromptSpec
from distill.teachers.prompts.templates import (
    depth_prompt,
    instance_prompt,
    normals_prompt,
    referring_prompt,
    semantic_prompt,
)


def build_prompt_specs(config: PromptConfig, *, resize_mode: str = "fill") -> list[PromptSpec]:
    """The questions, in the order of the tasks.

    Args:
        config: What is asked.
        resize_mode: How answers will lie over their photos.

    Raises:
        UsageError: A name that cannot stand in a sentence, or too many classes for colors that can be told apart.
    """
    return [prompt_spec for task in config.tasks for prompt_spec in _prompt_specs(task, config, resize_mode)]


def prompted_classes(config: PromptConfig) -> tuple[str, ...]:
    """The class list of semantic labels; empty when none are asked for."""
    return tuple(config.classes) if Task.SEMANTIC in config.tasks else ()


def _prompt_specs(task: Task, config: PromptConfig, resize_mode: str) -> list[PromptSpec]:
    family = config.family
    if task is Task.DEPTH:
        return [depth_prompt(family, colormap=config.colormap, resize_mode=resize_mode)]
    if task is Task.NORMALS:
        return [normals_prompt(family, resize_mode=resize_mode)]
    if task is Task.SEMANTIC:
        return [semantic_prompt(_named(config.classes), family, style=config.legend_style, resize_mode=resize_mode)]
    if task is Task.INSTANCE:
        return [
            instance_prompt(name, family, background=config.background, resize_mode=resize_mode)
            for name in config.instances
        ]
    return [referring_prompt(_named(config.referring), family, background=config.background, resize_mode=resize_mode)]


def _named(names: Mapping[str, RGB | None]) -> Sequence[str] | Mapping[str, RGB]:
    """Names with their colors, or only names."""
    colored = {name: color for name, color in names.items() if color is not None}
    return colored or list(names)
