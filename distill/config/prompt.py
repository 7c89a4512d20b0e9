"""What a painting teacher is asked about each photo."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from distill.config import Config
from distill.tasks import Task

Family = Literal["vision_banana", "open_vision_banana", "editor"]
Color = tuple[
    Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)]
]


def _by_name(value: Any) -> Any:
    """A list of names is a mapping to colors that are chosen later."""
    return dict.fromkeys(value) if isinstance(value, (list, tuple)) else value


Named = Annotated[dict[str, Color | None], BeforeValidator(_by_name)]
"""Names, each with its color or None; a plain list will do."""


class PromptConfig(Config):
    """Tasks, and what they need to be asked.

    Attributes:
        tasks: What is asked about each photo; ``--task`` chooses among them.
        family: Which sentences are used: ``vision_banana`` for generators tuned to paint decodable answers (metric
            depth), ``open_vision_banana`` for its open re-implementation, ``editor`` for any other image editor
            (relative depth).
        colormap: depth with ``vision_banana``: ``cube`` or the name of a color map.
        classes: semantic: class names, or names with colors.
        legend_style: semantic: how the legend is written.
        instances: instance: one question for each of these classes.
        referring: referring: phrases, or phrases with colors.
        background: instance, referring: the color of everything else.
    """

    tasks: tuple[Task, ...] = Field(default=(Task.DEPTH, Task.NORMALS), min_length=1)
    family: Family = "editor"
    colormap: str = "cube"
    classes: Named = Field(default_factory=dict)
    legend_style: Literal["json_rgb", "json_hex", "prose_rgb", "prose_hex"] = "json_rgb"
    instances: tuple[str, ...] = ()
    referring: Named = Field(default_factory=dict)
    background: Color = (0, 0, 0)

    @model_validator(mode="after")
    def _check_required(self) -> PromptConfig:
        needs = {Task.SEMANTIC: "classes", Task.INSTANCE: "instances", Task.REFERRING: "referring"}
        for task, key in needs.items():
            if task in self.tasks and not getattr(self, key):
                raise ValueError(f"{key}: name at least one, or leave {task} out of the tasks")
        for key in ("classes", "referring"):
            colors = list(getattr(self, key).values())
            if any(color is None for color in colors) and any(color is not None for color in colors):
                raise ValueError(f"{key}: give colors to all names or to none")
        if len(set(self.tasks)) != len(self.tasks):
            raise ValueError("tasks: name each task once")
        return self
