"""The teachers that are asked over a network, put together from their recipes. Nothing is asked here."""

from __future__ import annotations

from distill.config.hosted import HostedRecipe
from distill.errors import UsageError
from distill.teachers.base import Teacher
from distill.teachers.context import Ways
from distill.teachers.generative import PaintingTeacher
from distill.teachers.hosted.generator import HostedGenerator
from distill.teachers.prompts.build import asked_classes
from distill.teachers.store.answers import AnswerStore


def build_hosted(recipe: HostedRecipe, ways: Ways) -> Teacher:
    """The teacher that a recipe describes; it reads what is stored.

    Raises:
        UsageError: There is no folder for its answers, or it is asked what cannot be asked.
    """
    if ways.store is None:
        raise UsageError(f"answers of {recipe.model} are paid for and must be kept", hint="say where: --store FOLDER")
    return PaintingTeacher(
        HostedGenerator(recipe, AnswerStore(ways.store), wants=ways.wants),
        name=recipe.model,
        license=recipe.license,
        terms=recipe.terms,
        tasks=recipe.tasks,
        classes=asked_classes(recipe.ask),
        seed=recipe.seed,
        checks=ways.checks,
        asking=ways.asking,
    )
