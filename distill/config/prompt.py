"""Config of the prompts of an image generator."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from distill.config import Config
from distill.tasks import TASKS, Task

Family = Literal["vision_banana", "open_vision_banana", "editor"]
Color = tuple[
    Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)]
]


def _by_name(value: Any) -> Any:
    """A list of names as a mapping to None: colors are chosen later."""
    return dict.fromkeys(value) if isinstance(value, (list, tuple)) else value


Named = Annotated[dict[str, Color | None], BeforeValidator(_by_name)]
"""Names, each with its color or None; a plain list is accepted."""


class PromptConfig(Config):
    """Tasks, and the classes and colors of their prompts.

    Attributes:
        tasks: Tasks per photo; ``--task`` selects from them.
        family: Wording of the prompts: ``vision_banana`` for generators tuned to give decodable images (metric depth),
            ``open_vision_banana`` for its open re-implementation, ``editor`` for any other image editor (relative
            depth).
        colormap: depth with ``vision_banana``: ``cube`` or the name of a color map.
        classes: semantic: class names, or names with colors.
        legend_style: semantic: format of the legend in the prompt.
        instances: instance: one prompt per class.
        referring: referring: phrases, or phrases with colors.
        background: instance, referring: color of the background.
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
        for task in self.tasks:
            key = TASKS[task].prompt_names
            if key and not getattr(self, key):
                raise ValueError(f"{key}: name at least one, or leave {task} out of the tasks")
        for key in ("classes", "referring"):
            colors = list(getattr(self, key).values())
            if any(color is None for color in colors) and any(color is not None for color in colors):
                raise ValueError(f"{key}: give colors to all names or to none")
        if len(set(self.tasks)) != len(self.tasks):
            raise ValueError("tasks: name each task once")
        return self
