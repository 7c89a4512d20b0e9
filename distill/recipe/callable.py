"""The recipe of a teacher that is any Python function: which one, and what it answers."""

from __future__ import annotations

import re
from typing import ClassVar

from pydantic import Field, field_validator, model_validator

from distill.recipe.licensed import Licensed
from distill.recipe.outputs import OutputRecipe, once_per_task
from distill.tasks import Task

Setting = bool | int | float | str


class CallableRecipe(Licensed):
    """Any function as specialist teacher: ``function(rgb, **settings) -> {task: map}``."""

    takes_all_cores: ClassVar[bool] = True

    kind: str = "callable"
    """``callable``, or the name under which an installed package offers the function."""
    name: str = ""
    """How provenance names it; empty: the function's name."""
    function: str
    """``package.module:function``. Names code, so it comes from the command line, never out of a file."""
    outputs: tuple[OutputRecipe, ...] = ()
    """What the maps mean: one entry per task."""
    things: tuple[str, ...] = ()
    """instance: class names of the instances; a function that gives ``instance`` needs them."""
    settings: dict[str, Setting] = Field(default_factory=dict)
    """Keyword arguments of the function."""

    @field_validator("function")
    @classmethod
    def _is_a_reference(cls, function: str) -> str:
        if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*", function):
            raise ValueError(f"{function!r} is not of the form package.module:function")
        return function

    @model_validator(mode="after")
    def _something_to_answer(self) -> CallableRecipe:
        if not self.things:
            once_per_task([Task(output.task) for output in self.outputs])
        return self

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What the function answers."""
        return (*(Task(output.task) for output in self.outputs), *((Task.INSTANCE,) if self.things else ()))
