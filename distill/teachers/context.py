"""How a job asks its teachers, whichever they are: what is checked, how often it is asked, where answers are kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from distill.teachers.prompts.variants import Asking

if TYPE_CHECKING:
    from distill.teachers.base import Generator, KeyedGenerator
    from distill.teachers.hosted.generator import Wants
    from distill.teachers.quality.filter import Checks


@dataclass(frozen=True, slots=True)
class Ways:
    """How answers are asked for, kept, and checked."""

    checks: Checks | None
    asking: Asking
    store: Path | None
    offline: bool
    wants: Wants | None = None
    """Is told what a hosted teacher would ask; None: it reads stored answers."""

    def stock(self, generator: KeyedGenerator, license: str) -> Generator:
        """The generator, behind the store if there is one."""
        if self.store is None:
            return generator
        from distill.teachers.store.answers import AnswerStore, StoredGenerator

        return StoredGenerator(generator, AnswerStore(self.store), stored_only=self.offline, license=license)
