"""How a job asks its teachers, whichever they are: what is checked, how often it is asked, where answers are kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from distill.teachers.prompts.variants import PromptEnsemble

if TYPE_CHECKING:
    from distill.teachers.base import CacheableGenerator, Generator
    from distill.teachers.hosted.generator import OnMissing
    from distill.teachers.quality.filter import QualityFilter


@dataclass(frozen=True, slots=True)
class TeacherContext:
    """How answers are asked for, kept, and checked."""

    quality_filter: QualityFilter | None
    prompt_ensemble: PromptEnsemble
    store: Path | None
    offline: bool
    on_missing: OnMissing | None = None
    """Is told what a hosted teacher would ask; None: it reads stored answers."""

    def with_cache(self, generator: CacheableGenerator, license: str) -> Generator:
        """The generator, behind the store if there is one."""
        if self.store is None:
            return generator
        from distill.teachers.store.answers import AnswerStore, CachingGenerator

        return CachingGenerator(generator, AnswerStore(self.store), cached_only=self.offline, license=license)
