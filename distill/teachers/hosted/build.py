"""The teachers that are asked over a network, put together from their configs. Nothing is asked here."""

from __future__ import annotations

from distill.config.hosted import HostedConfig
from distill.errors import UsageError
from distill.teachers.base import Teacher
from distill.teachers.context import TeacherContext
from distill.teachers.generative import GenerativeTeacher
from distill.teachers.hosted.generator import HostedGenerator
from distill.teachers.prompts.build import prompted_classes
from distill.teachers.store.answers import AnswerStore


def build_hosted(config: HostedConfig, context: TeacherContext) -> Teacher:
    """The teacher that a config describes; it reads what is stored.

    Raises:
        UsageError: There is no folder for its answers, or it is asked what cannot be asked.
    """
    if context.store is None:
        raise UsageError(f"answers of {config.model} are paid for and must be kept", hint="say where: --store FOLDER")
    return GenerativeTeacher(
        HostedGenerator(config, AnswerStore(context.store), on_missing=context.on_missing),
        name=config.model,
        license=config.license,
        terms=config.terms,
        tasks=config.tasks,
        classes=prompted_classes(config.prompts),
        seed=config.seed,
        quality_filter=context.quality_filter,
        prompt_ensemble=context.prompt_ensemble,
    )
