"""Options of a labeling job that all teacher builders take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from distill.tasks import Task
from distill.teachers.prompts.prompt_ensemble import PromptEnsemble

if TYPE_CHECKING:
    from distill.teachers.base import CacheableGenerator, Generator
    from distill.teachers.hosted.request_collector import OnMissing
    from distill.teachers.quality.filter import QualityFilter


@dataclass(frozen=True, slots=True)
class TeacherContext:
    """Quality filter, prompt variants and answer store of a job."""

    quality_filter: QualityFilter | None
    prompt_ensemble: PromptEnsemble
    store: Path | None
    offline: bool
    on_missing: OnMissing | None = None
    """Hosted teachers: receives each request without a stored answer; None: such a request is an error."""
    tasks: tuple[Task, ...] = ()
    """The tasks that are wanted; empty: all that the teacher can do."""

    def with_cache(self, generator: CacheableGenerator, license: str) -> Generator:
        """The generator, with the store in front of it if there is one."""
        if self.store is None:
            return generator
        from distill.teachers.store.answers import AnswerStore
        from distill.teachers.store.caching_generator import CachingGenerator

        return CachingGenerator(generator, AnswerStore(self.store), cached_only=self.offline, license=license)
