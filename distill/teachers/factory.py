"""Build a teacher from its config."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from distill.config.teacher_base import TeacherConfig
from distill.errors import UsageError
from distill.tasks import Task
from distill.teachers.base import Teacher
from distill.teachers.builder_options import TeacherContext
from distill.teachers.kinds import kind_of
from distill.teachers.prompts.prompt_ensemble import SINGLE, PromptEnsemble

if TYPE_CHECKING:
    from distill.teachers.hosted.request_collector import OnMissing
    from distill.teachers.quality.filter import QualityFilter


def build_teacher(
    config: TeacherConfig,
    *,
    folder: Path,
    tasks: Sequence[Task] = (),
    quality_filter: QualityFilter | None = None,
    prompt_ensemble: PromptEnsemble = SINGLE,
    store: Path | None = None,
    offline: bool = False,
    on_missing: OnMissing | None = None,
) -> Teacher:
    """The teacher of a config.

    Args:
        config: A config of any kind.
        folder: Folder of the config file; relative paths in the config may start there.
        tasks: Restrict the teacher to these; empty: all tasks that it can do.
        quality_filter: Scores labels against their photos.
        prompt_ensemble: Number of samples and variants per prompt of a generator.
        store: Folder where generated images are stored and looked up first; None: not stored.
        offline: Use stored images only.
        on_missing: Hosted teachers: receives each request without a stored answer, instead of an error.

    Raises:
        UsageError: The teacher cannot do one of these tasks, an option does not apply to it, or its files are missing.
    """
    generates_images = kind_of(config).generates_images
    if offline and store is None:
        raise UsageError("--offline needs the answers of an earlier run", hint="name their folder with --store FOLDER")
    if (prompt_ensemble.samples_per_prompt > 1 or prompt_ensemble.fuse) and not generates_images:
        raise UsageError(
            f"a {config.kind} teacher gives one result per photo", hint="leave --samples, --flip and --fuse out"
        )
    if store is not None and not generates_images:
        raise UsageError(f"a {config.kind} teacher generates no images that could be stored", hint="leave --store out")
    if quality_filter is not None and store is not None:
        quality_filter = replace(quality_filter, cache_dir=store)
    context = TeacherContext(quality_filter, prompt_ensemble, store, offline, on_missing, tuple(tasks))
    teacher = kind_of(config).build(config, folder, context)
    for task in tasks:
        if task not in teacher.tasks:
            raise UsageError(
                f"this {config.kind} teacher cannot do {task}; it does {', '.join(teacher.tasks)}",
                hint="choose another --task",
            )
    teacher.tasks = tuple(task for task in teacher.tasks if not tasks or task in tasks)
    return teacher
