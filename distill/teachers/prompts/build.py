"""Prompts of a config, for every generator."""

from __future__ import annotations

from distill.config.prompt import PromptConfig
from distill.tasks import Task
from distill.teachers.base import PromptSpec
from distill.teachers.codecs.palette import BACKGROUND
from distill.teachers.tasks import teacher_task


def build_prompt_specs(config: PromptConfig, *, resize_mode: str = "fill") -> list[PromptSpec]:
    """Prompts in the order of the config's tasks.

    Args:
        config: Tasks, names and wording.
        resize_mode: How generated images cover their photos.

    Raises:
        UsageError: A name that cannot be part of a sentence, or more classes than distinguishable colors.
    """
    return [prompt for task in config.tasks for prompt in teacher_task(task).prompts(config, resize_mode=resize_mode)]


def prompted_classes(config: PromptConfig) -> tuple[str, ...]:
    """Class list of the semantic labels, with the background, which an image may show; empty without that task."""
    return tuple(dict.fromkeys([*config.classes, BACKGROUND])) if Task.SEMANTIC in config.tasks else ()
