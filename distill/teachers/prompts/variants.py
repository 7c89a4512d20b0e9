"""How often, and in which ways, one question is asked: more samples, the mirrored photo, permuted legends.

Answers to variants of one question become one label; where they agree it can be trusted. Every variant costs an answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # words of the command line are read without numpy and OpenCV
    from distill.images import Photo
    from distill.teachers.base import PromptSpec


@dataclass(frozen=True, slots=True)
class PromptEnsemble:
    """The variants of each question.

    Attributes:
        num_answers: Answers per question.
        flip: Ask once more about the mirrored photo, for each sample; not where words may say left and right
            (referring).
        permute_legend: semantic: from the second sample on, deal the legend's colors anew. Generators find regions better
            than they obey colors, so votes over permuted legends cancel wrong colors out.
        fuse: Answers that a manifest holds to one and the same question become one label, too.
    """

    num_answers: int = 1
    flip: bool = False
    permute_legend: bool = True
    fuse: bool = False

    @property
    def samples_per_prompt(self) -> int:
        """How many answers each question costs."""
        return self.num_answers * (2 if self.flip else 1)

    def variants(self, prompt_spec: PromptSpec) -> list[Variant]:
        """All ways in which a question is asked; the plain one first."""
        from distill.teachers.decoders import teacher_task

        task = teacher_task(prompt_spec.task)
        found = []
        for sample in range(self.num_answers):
            permuted = task.permute(prompt_spec, sample) if self.permute_legend and sample else prompt_spec
            found.append(Variant(permuted, sample, mirrored=False))
            if self.flip and task.survives_flip:
                found.append(Variant(permuted, sample, mirrored=True))
        return found

    def group(self, prompt_specs: Sequence[PromptSpec]) -> list[list[PromptSpec]]:
        """The questions, those together whose answers say the same thing."""
        if not self.fuse:
            return [[prompt_spec] for prompt_spec in prompt_specs]
        found: dict[tuple[object, ...], list[PromptSpec]] = {}
        for prompt_spec in prompt_specs:
            names = frozenset(prompt_spec.legend) if prompt_spec.legend else prompt_spec.class_name
            found.setdefault((prompt_spec.task, prompt_spec.depth_kind, names), []).append(prompt_spec)
        return list(found.values())


SINGLE = PromptEnsemble()
"""Every question once."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way of asking a question."""

    prompt_spec: PromptSpec
    sample: int
    mirrored: bool


def hflip_photo(photo: Photo) -> Photo:
    """The left-right mirrored photo, as a file of its own."""
    import numpy as np

    from distill.images import encode_jpeg, read_photo

    data = encode_jpeg(np.ascontiguousarray(photo.rgb[:, ::-1]))
    origin = {key: value for key, value in photo.origin.items() if key != "path"}
    mirrored = read_photo(data, key=photo.key, name=photo.name, origin={**origin, "mirrored": 1})
    # Stored answers are found by this hash, which must outlive the version of the JPEG encoder.
    digest = hashlib.sha256(f"mirrored {photo.sha256}".encode()).hexdigest()
    return replace(mirrored, name=f"{photo.name} (mirrored)", sha256=digest)
