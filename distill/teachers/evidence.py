"""What must stay the same, besides recipe and photos, for a teacher's labels to stay the same: files that it reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from distill.config.adapters import CallableRecipe, OnnxRecipe, ReplayRecipe
from distill.config.ensemble import MixRecipe
from distill.config.local import ModelRecipe
from distill.shards import file_sha256
from distill.teachers.generators.replay import ReplayGenerator
from distill.teachers.hub import find_source, fingerprint
from distill.teachers.specialists.callable import source_digest
from distill.teachers.specialists.onnx import find_model

if TYPE_CHECKING:
    from distill.teachers import TeacherRecipe


def evidence(recipe: TeacherRecipe, folder: Path) -> list[str]:
    """Digests of a manifest and its answers, of a model, of a function's source; empty where nothing is read."""
    if isinstance(recipe, ReplayRecipe):
        return [file_sha256(recipe.answers), ReplayGenerator(recipe).answers_digest()]
    if isinstance(recipe, OnnxRecipe):
        return [file_sha256(find_model(recipe.model, folder))]
    if isinstance(recipe, CallableRecipe):
        return [source_digest(recipe.function)]
    if isinstance(recipe, ModelRecipe):
        return [fingerprint(find_source(recipe.model, folder), recipe.revision)]
    if isinstance(recipe, MixRecipe):
        from distill.teachers.mixing import member_recipe

        return [
            digest for member in recipe.members() for digest in evidence(member_recipe(member), Path(member.folder))
        ]
    return []
