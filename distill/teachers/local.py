"""The teachers that run models here, put together from their recipes."""

from __future__ import annotations

from pathlib import Path

from distill.recipe.local import TransformersRecipe
from distill.tasks import Task
from distill.teachers.base import Teacher
from distill.teachers.ways import Ways

LocalRecipe = TransformersRecipe


def build_local(recipe: LocalRecipe, folder: Path, ways: Ways) -> Teacher:
    """The teacher that a recipe describes; weights are opened when the first photo comes.

    Raises:
        NotHere: The model is on the hub and cannot be fetched.
        UsageError: There is no such model, or it cannot do what is asked.
    """
    from distill.teachers.predicting import PredictingTeacher
    from distill.teachers.specialists.networks import describe_network
    from distill.teachers.specialists.transformers import TransformersSpecialist

    network = describe_network(recipe, folder)
    return PredictingTeacher(
        TransformersSpecialist(recipe, network),
        name=recipe.name or Path(recipe.model).name,
        licence=recipe.licence,
        terms=recipe.terms,
        tasks=network.tasks,
        classes=network.classes if Task.SEMANTIC in network.tasks else (),
        checks=ways.checks,
    )
