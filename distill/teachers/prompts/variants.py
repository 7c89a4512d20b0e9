"""How often, and in which ways, one question is asked: more samples, the mirrored photo, permuted legends.

Answers to variants of one question become one label; where they agree it can be trusted. Every variant costs an answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from distill.tasks import Task

if TYPE_CHECKING:  # words of the command line are read without numpy and OpenCV
    from distill.images import Photo
    from distill.teachers.base import Question


@dataclass(frozen=True, slots=True)
class Asking:
    """The variants of each question.

    Attributes:
        samples: Answers per question.
        flip: Ask once more about the mirrored photo, for each sample; not where words may say left and right
            (referring).
        permute: semantic: from the second sample on, deal the legend's colors anew. Generators find regions better
            than they obey colors, so votes over permuted legends cancel wrong colors out.
        fuse: Answers that a manifest holds to one and the same question become one label, too.
    """

    samples: int = 1
    flip: bool = False
    permute: bool = True
    fuse: bool = False

    @property
    def answers_per_question(self) -> int:
        """How many answers each question costs."""
        return self.samples * (2 if self.flip else 1)

    def variants(self, question: Question) -> list[Variant]:
        """All ways in which a question is asked; the plain one first."""
        from distill.teachers.prompts.templates import permute

        found = []
        for sample in range(self.samples):
            asked = question
            if self.permute and sample and question.task is Task.SEMANTIC and len(question.legend) > 1:
                asked = permute(question, sample)
            found.append(Variant(asked, sample, mirrored=False))
            if self.flip and question.task is not Task.REFERRING:
                found.append(Variant(asked, sample, mirrored=True))
        return found

    def groups(self, questions: Sequence[Question]) -> list[list[Question]]:
        """The questions, those together whose answers say the same thing."""
        if not self.fuse:
            return [[question] for question in questions]
        groups: dict[tuple[object, ...], list[Question]] = {}
        for question in questions:
            names = frozenset(question.legend) if question.legend else question.class_name
            groups.setdefault((question.task, question.gauge, names), []).append(question)
        return list(groups.values())


ONCE = Asking()
"""Every question once."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way of asking a question."""

    question: Question
    sample: int
    mirrored: bool


def mirrored_photo(photo: Photo) -> Photo:
    """The left-right mirrored photo, as a file of its own."""
    import numpy as np

    from distill.images import encode_jpeg, read_photo

    data = encode_jpeg(np.ascontiguousarray(photo.rgb[:, ::-1]))
    origin = {key: value for key, value in photo.origin.items() if key != "path"}
    mirrored = read_photo(data, key=photo.key, name=photo.name, origin={**origin, "mirrored": 1})
    # Stored answers are found by this hash, which must outlive the version of the JPEG encoder.
    digest = hashlib.sha256(f"mirrored {photo.sha256}".encode()).hexdigest()
    return replace(mirrored, name=f"{photo.name} (mirrored)", sha256=digest)
