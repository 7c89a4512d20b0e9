"""Build the teacher of a hosted config."""

from __future__ import annotations

from pathlib import Path

from distill.config.hosted import HostedConfig
from distill.errors import UsageError
from distill.teachers.base import Teacher
from distill.teachers.builder_options import TeacherContext
from distill.teachers.generative import GenerativeTeacher
from distill.teachers.hosted.generator import HostedGenerator
from distill.teachers.hosted.services.registry import prices_of
from distill.teachers.prompts.build import prompted_classes
from distill.teachers.store.answers import AnswerStore


def build_hosted(config: HostedConfig, folder: Path, context: TeacherContext) -> Teacher:
    """The teacher of a config; it reads stored answers and sends nothing.

    Raises:
        UsageError: There is no store, or a prompt cannot be built.
    """
    if context.store is None:
        raise UsageError(
            f"answers of {config.model} cost money and must be stored", hint="name a folder with --store FOLDER"
        )
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
        answer_usd=prices_of(config)[0].likely_usd(),
    )
