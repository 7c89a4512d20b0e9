"""Recipes of the teachers that run here: networks of transformers, image editors and Marigold of diffusers."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from distill.recipe.licensed import Licensed
from distill.recipe.outputs import check_remap
from distill.tasks import Gauge, Task

Precision = Literal["auto", "float32", "bfloat16", "float16"]


class ModelRecipe(Licensed):
    """A model by hub id or folder, and how it is put onto this machine."""

    takes_all_cores: ClassVar[bool] = True

    name: str = ""
    """How provenance names it; empty: the model's."""
    model: str = Field(min_length=1)
    """A folder (absolute, or relative to the recipe or to ``$DISTILL_MODELS``), or a hub id such as ``owner/name``."""
    revision: str = ""
    """Of a hub id: branch, tag or commit; empty: the newest."""
    device: str = "auto"
    """``auto`` takes the GPU where there is one; ``cpu``, ``cuda``, ``cuda:1``, ``mps``."""
    dtype: Precision = "auto"
    """``auto``: bfloat16 on a GPU, float32 on a CPU."""


class TransformersRecipe(ModelRecipe):
    """A specialist of the transformers library; gauge and class names are the model's own unless they are given."""

    kind: Literal["transformers"] = "transformers"
    tasks: tuple[Task, ...] = ()
    """What is taken from it; empty: all it can do."""
    gauge: Gauge | None = None
    """depth: of the model's output, where the model does not say."""
    frame: str = ""
    """normals: axes of the model's output, such as ``opencv``; needed where the model does not say."""
    classes: tuple[str, ...] = ()
    """semantic: the class list of the labels; empty: the model's own."""
    remap: dict[int | str, str] = Field(default_factory=dict)
    """semantic: model class to a name in `classes`, or to ``ignore``."""
    things: tuple[str, ...] = ()
    """instance: classes to keep; for a model that is asked by text (SAM 3), what it is asked for, one call each."""
    min_score: float = Field(default=0.5, ge=0, le=1)
    """instance: masks that score lower are left out."""
    min_confidence: float = Field(default=0.0, ge=0, le=1)
    """semantic: pixels below are invalid."""

    @model_validator(mode="after")
    def _targets_exist(self) -> TransformersRecipe:
        if self.classes:
            check_remap(self.remap, self.classes)
        return self
