"""From the recipe of what is asked to the questions themselves; every painting teacher asks by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distill.config.prompt import QuestionsRecipe
from distill.tasks import Task
from distill.teachers.base import RGB, Question
from distill.teachers.prompts.templates import (
    depth_question,
    instance_question,
    normals_question,
    referring_question,
    semantic_question,
)


def build_questions(recipe: QuestionsRecipe, *, canvas: str = "stretch") -> list[Question]:
    """The questions, in the order of the tasks.

    Args:
        recipe: What is asked.
        canvas: How answers will lie over their photos.

    Raises:
        UsageError: A name that cannot stand in a sentence, or too many classes for colors that can be told apart.
    """
    return [question for task in recipe.tasks for question in _questions(task, recipe, canvas)]


def asked_classes(recipe: QuestionsRecipe) -> tuple[str, ...]:
    """The class list of semantic labels; empty when none are asked for."""
    return tuple(recipe.classes) if Task.SEMANTIC in recipe.tasks else ()


def _questions(task: Task, recipe: QuestionsRecipe, canvas: str) -> list[Question]:
    family = recipe.family
    if task is Task.DEPTH:
        return [depth_question(family, colormap=recipe.colormap, canvas=canvas)]
    if task is Task.NORMALS:
        return [normals_question(family, canvas=canvas)]
    if task is Task.SEMANTIC:
        return [semantic_question(_named(recipe.classes), family, style=recipe.legend_style, canvas=canvas)]
    if task is Task.INSTANCE:
        return [
            instance_question(name, family, background=recipe.background, canvas=canvas) for name in recipe.instances
        ]
    return [referring_question(_named(recipe.referring), family, background=recipe.background, canvas=canvas)]


def _named(names: Mapping[str, RGB | None]) -> Sequence[str] | Mapping[str, RGB]:
    """Names with their colors, or only names."""
    colored = {name: color for name, color in names.items() if color is not None}
    return colored or list(names)
