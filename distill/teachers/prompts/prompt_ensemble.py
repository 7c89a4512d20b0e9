"""Variants of one prompt: more samples, the mirrored photo, permuted legends.

Images of all variants become one label, with their agreement as confidence. Every variant costs an image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command line is parsed without numpy and OpenCV
    from distill.images import Photo
    from distill.teachers.base import PromptSpec


@dataclass(frozen=True, slots=True)
class PromptEnsemble:
    """Variants of each prompt.

    Attributes:
        num_answers: Images per prompt.
        flip: One more image of the mirrored photo for each sample, except for prompts with left and right (referring).
        permute_legend: semantic: from the second sample on, shuffle the legend's colors. Generators find regions better
            than they follow colors, so votes over permuted legends cancel wrong colors out.
        fuse: Images that a manifest lists for one prompt become one label.
    """

    num_answers: int = 1
    flip: bool = False
    permute_legend: bool = True
    fuse: bool = False

    @property
    def samples_per_prompt(self) -> int:
        """Images per prompt."""
        return self.num_answers * (2 if self.flip else 1)

    def variants(self, prompt_spec: PromptSpec) -> list[Variant]:
        """Variants of a prompt; the prompt itself first."""
        from distill.teachers.tasks import teacher_task

        task = teacher_task(prompt_spec.task)
        found = []
        for sample in range(self.num_answers):
            permuted = task.permute(prompt_spec, sample) if self.permute_legend and sample else prompt_spec
            found.append(Variant(permuted, sample, mirrored=False))
            if self.flip and task.survives_flip:
                found.append(Variant(permuted, sample, mirrored=True))
        return found

    def group(self, prompt_specs: Sequence[PromptSpec]) -> list[list[PromptSpec]]:
        """Prompts in groups whose images become one label."""
        if not self.fuse:
            return [[prompt_spec] for prompt_spec in prompt_specs]
        found: dict[tuple[object, ...], list[PromptSpec]] = {}
        for prompt_spec in prompt_specs:
            names = frozenset(prompt_spec.legend) if prompt_spec.legend else prompt_spec.class_name
            found.setdefault((prompt_spec.task, prompt_spec.depth_kind, names), []).append(prompt_spec)
        return list(found.values())


SINGLE = PromptEnsemble()
"""One image per prompt."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One variant of a prompt."""

    prompt_spec: PromptSpec
    sample: int
    mirrored: bool


def hflip_photo(photo: Photo) -> Photo:
    """The left-right mirrored photo, as a new file."""
    import numpy as np

    from distill.images import encode_jpeg, read_photo

    data = encode_jpeg(np.ascontiguousarray(photo.rgb[:, ::-1]))
    origin = {key: value for key, value in photo.origin.items() if key != "path"}
    mirrored = read_photo(data, key=photo.key, name=photo.name, origin={**origin, "mirrored": 1})
    # Key of stored images; it must not depend on the version of the JPEG encoder.
    digest = hashlib.sha256(f"mirrored {photo.sha256}".encode()).hexdigest()
    return replace(mirrored, name=f"{photo.name} (mirrored)", sha256=digest)
