"""Build the teachers that run models on this machine; weights are opened with the first photo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distill.config.local import DiffusersConfig, MarigoldConfig, ModelConfig, TransformersConfig
from distill.tasks import Task
from distill.teachers.base import Teacher
from distill.teachers.builder_options import TeacherContext
from distill.teachers.generative import GenerativeTeacher
from distill.teachers.local.diffusers import DiffusersGenerator
from distill.teachers.local.hub import find_source
from distill.teachers.local.marigold import MarigoldSpecialist, marigold_output
from distill.teachers.local.model_info import inspect_model
from distill.teachers.local.pipelines import pipeline_class
from distill.teachers.local.transformers import TransformersSpecialist
from distill.teachers.predictive import PredictiveTeacher
from distill.teachers.prompts.build import prompted_classes


def build_transformers(config: TransformersConfig, folder: Path, context: TeacherContext) -> Teacher:
    """The teacher of a transformers config.

    Raises:
        ModelUnavailable: The model is on the hub and cannot be fetched.
        UsageError: The model does not exist, or cannot do the task.
    """
    model_info = inspect_model(config, folder)
    return PredictiveTeacher(
        TransformersSpecialist(config, model_info),
        **_provenance(config),
        tasks=model_info.tasks,
        classes=model_info.classes if Task.SEMANTIC in model_info.tasks else (),
        quality_filter=context.quality_filter,
    )


def build_diffusers(config: DiffusersConfig, folder: Path, context: TeacherContext) -> Teacher:
    """The teacher of a diffusers config.

    Raises:
        ModelUnavailable: The model is on the hub and cannot be fetched.
        UsageError: The model does not exist.
    """
    source = find_source(config.model, folder)
    pipeline_class(source, config.revision)
    return GenerativeTeacher(
        context.with_cache(DiffusersGenerator(config, source, folder), config.license),
        **_provenance(config),
        tasks=config.prompts.tasks,
        classes=prompted_classes(config.prompts),
        seed=config.seed,
        quality_filter=context.quality_filter,
        prompt_ensemble=context.prompt_ensemble,
    )


def build_marigold(config: MarigoldConfig, folder: Path, context: TeacherContext) -> Teacher:
    """The teacher of a Marigold config.

    Raises:
        ModelUnavailable: The model is on the hub and cannot be fetched.
        UsageError: The model does not exist, or is no Marigold pipeline.
    """
    source = find_source(config.model, folder)
    output = marigold_output(source, config.revision)
    return PredictiveTeacher(
        MarigoldSpecialist(config, source, folder, output),
        **_provenance(config),
        tasks=(Task(output.task),),
        classes=(),
        quality_filter=context.quality_filter,
    )


def _provenance(config: ModelConfig) -> dict[str, Any]:
    name = config.name or Path(config.model).name
    return {"name": name, "license": config.license, "terms": config.terms}
