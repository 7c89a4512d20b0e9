"""The teachers that run models here, put together from their recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distill.config.local import DiffusersRecipe, MarigoldRecipe, ModelRecipe, TransformersRecipe
from distill.tasks import Task
from distill.teachers.base import Teacher
from distill.teachers.context import TeacherContext

LocalRecipe = TransformersRecipe | DiffusersRecipe | MarigoldRecipe


def build_local(recipe: LocalRecipe, folder: Path, context: TeacherContext) -> Teacher:
    """The teacher that a recipe describes; weights are opened when the first photo comes.

    Raises:
        NotHere: The model is on the hub and cannot be fetched.
        UsageError: There is no such model, or it cannot do what is asked.
    """
    if isinstance(recipe, DiffusersRecipe):
        return _build_diffusers(recipe, folder, context)
    if isinstance(recipe, MarigoldRecipe):
        return _build_marigold(recipe, folder, context)
    from distill.teachers.local.architectures import describe_network
    from distill.teachers.local.transformers import TransformersSpecialist
    from distill.teachers.predictive import PredictiveTeacher

    network = describe_network(recipe, folder)
    return PredictiveTeacher(
        TransformersSpecialist(recipe, network),
        **_provenance(recipe),
        tasks=network.tasks,
        classes=network.classes if Task.SEMANTIC in network.tasks else (),
        quality_filter=context.quality_filter,
    )


def _build_diffusers(recipe: DiffusersRecipe, folder: Path, context: TeacherContext) -> Teacher:
    from distill.teachers.generative import GenerativeTeacher
    from distill.teachers.local.diffusers import DiffusersGenerator
    from distill.teachers.local.hub import find_source
    from distill.teachers.local.pipelines import pipeline_class
    from distill.teachers.prompts.build import prompted_classes

    source = find_source(recipe.model, folder)
    pipeline_class(source, recipe.revision)
    return GenerativeTeacher(
        context.with_cache(DiffusersGenerator(recipe, source, folder), recipe.license),
        **_provenance(recipe),
        tasks=recipe.prompts.tasks,
        classes=prompted_classes(recipe.prompts),
        seed=recipe.seed,
        quality_filter=context.quality_filter,
        prompt_ensemble=context.prompt_ensemble,
    )


def _build_marigold(recipe: MarigoldRecipe, folder: Path, context: TeacherContext) -> Teacher:
    from distill.teachers.local.hub import find_source
    from distill.teachers.local.marigold import MarigoldSpecialist, marigold_output
    from distill.teachers.predictive import PredictiveTeacher

    source = find_source(recipe.model, folder)
    output = marigold_output(source, recipe.revision)
    return PredictiveTeacher(
        MarigoldSpecialist(recipe, source, folder, output),
        **_provenance(recipe),
        tasks=(Task(output.task),),
        classes=(),
        quality_filter=context.quality_filter,
    )


def _provenance(recipe: ModelRecipe) -> dict[str, Any]:
    name = recipe.name or Path(recipe.model).name
    return {"name": name, "license": recipe.license, "terms": recipe.terms}
