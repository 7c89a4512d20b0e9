"""The teachers that run models here, put together from their recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distill.config.local import DiffusersRecipe, MarigoldRecipe, ModelRecipe, TransformersRecipe
from distill.tasks import Task
from distill.teachers.base import Teacher
from distill.teachers.context import Ways

LocalRecipe = TransformersRecipe | DiffusersRecipe | MarigoldRecipe


def build_local(recipe: LocalRecipe, folder: Path, ways: Ways) -> Teacher:
    """The teacher that a recipe describes; weights are opened when the first photo comes.

    Raises:
        NotHere: The model is on the hub and cannot be fetched.
        UsageError: There is no such model, or it cannot do what is asked.
    """
    if isinstance(recipe, DiffusersRecipe):
        return _build_diffusers(recipe, folder, ways)
    if isinstance(recipe, MarigoldRecipe):
        return _build_marigold(recipe, folder, ways)
    from distill.teachers.local.architectures import describe_network
    from distill.teachers.local.transformers import TransformersSpecialist
    from distill.teachers.predictive import PredictingTeacher

    network = describe_network(recipe, folder)
    return PredictingTeacher(
        TransformersSpecialist(recipe, network),
        **_provenance(recipe),
        tasks=network.tasks,
        classes=network.classes if Task.SEMANTIC in network.tasks else (),
        checks=ways.checks,
    )


def _build_diffusers(recipe: DiffusersRecipe, folder: Path, ways: Ways) -> Teacher:
    from distill.teachers.generative import PaintingTeacher
    from distill.teachers.local.diffusers import DiffusersGenerator
    from distill.teachers.local.hub import find_source
    from distill.teachers.local.pipelines import pipeline_class
    from distill.teachers.prompts.build import asked_classes

    source = find_source(recipe.model, folder)
    pipeline_class(source, recipe.revision)
    return PaintingTeacher(
        ways.stock(DiffusersGenerator(recipe, source, folder), recipe.license),
        **_provenance(recipe),
        tasks=recipe.ask.tasks,
        classes=asked_classes(recipe.ask),
        seed=recipe.seed,
        checks=ways.checks,
        asking=ways.asking,
    )


def _build_marigold(recipe: MarigoldRecipe, folder: Path, ways: Ways) -> Teacher:
    from distill.teachers.local.hub import find_source
    from distill.teachers.local.marigold import MarigoldSpecialist, marigold_output
    from distill.teachers.predictive import PredictingTeacher

    source = find_source(recipe.model, folder)
    output = marigold_output(source, recipe.revision)
    return PredictingTeacher(
        MarigoldSpecialist(recipe, source, folder, output),
        **_provenance(recipe),
        tasks=(Task(output.task),),
        classes=(),
        checks=ways.checks,
    )


def _provenance(recipe: ModelRecipe) -> dict[str, Any]:
    name = recipe.name or Path(recipe.model).name
    return {"name": name, "license": recipe.license, "terms": recipe.terms}
