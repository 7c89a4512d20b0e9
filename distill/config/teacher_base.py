"""Base config of all teachers, and the meaning of raw model outputs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from distill.config import Config
from distill.config.class_ids import ClassIds, ClassNames, Remap, check_sources, check_targets, spread_class_mapping
from distill.tasks import TASKS, DepthKind, Task

ResizeMode = Literal["cover", "fill", "contain"]


class TeacherConfig(Config):
    """Base of all teacher configs: kind and license."""

    kind: str
    """A name in `distill.teachers.kinds.KINDS`, or of a plug-in."""
    license: str = "unknown"
    """Usual name of the license, such as ``Apache-2.0``, a class (``commercial``, ``restricted``, ``non-commercial``,
    ``research``, ``unknown``), or a class followed by a name: ``restricted (SAM License)``."""
    terms: str = ""
    """Link to the license terms, https://..."""

    def fingerprint_fields(self) -> dict[str, Any]:
        """The fields that affect the labels."""
        return self.model_dump(mode="json")

    @field_validator("terms")
    @classmethod
    def _check_link(cls, terms: str) -> str:
        if terms and not terms.startswith(("https://", "http://")):
            raise ValueError("terms is a link that starts with https://")
        return terms


class OutputConfig(Config):
    """Meaning of one raw output map."""

    task: Task
    values: Literal["logits", "probabilities", "ids"] = "logits"
    """semantic: meaning of the channels. One channel is one foreground class against background."""
    depth_kind: DepthKind = DepthKind.METRIC
    """depth: what is unknown about the values."""
    frame: str = "opengl"
    """normals: axes of the channels: ``opengl`` (x right, y up, z toward the camera), ``opencv``, ``dsine``, ..."""
    classes: ClassNames = ()
    """semantic: class list of the labels."""
    model_classes: ClassNames = ()
    """semantic: names of the model's channels or ids, in order; empty: `classes`."""
    remap: Remap = Field(default_factory=dict)
    """semantic: model class (id or name) to a name in `classes`, or to ``ignore``; ``"*"`` is every other id.
    Probabilities of merged classes are added."""
    min_confidence: float = Field(default=0.0, ge=0, le=1)
    """semantic: pixels below are invalid."""
    resize_mode: ResizeMode | None = None
    """How the photo was resized to a map of another shape; None: such maps are refused."""

    @model_validator(mode="before")
    @classmethod
    def _spread_classes(cls, values: Any) -> Any:
        return spread_class_mapping(values)

    @model_validator(mode="after")
    def _check_classes(self) -> OutputConfig:
        info = TASKS[self.task]
        if not info.from_network:
            possible = ", ".join(task for task in Task if TASKS[task].from_network)
            raise ValueError(f"task: {self.task} cannot be read from output maps; use one of {possible}")
        if info.class_list == "classes" and not self.classes:
            raise ValueError(f"classes: name the classes of a {self.task} output")
        check_targets(self.classes, self.remap)
        check_sources(self.model_classes or self.classes, self.remap)
        return self

    @property
    def class_ids(self) -> ClassIds:
        """Model ids to the ids of `classes`."""
        return ClassIds(self.classes, self.model_classes, self.remap)


def check_unique_tasks(tasks: list[Task]) -> None:
    """Raise ValueError for an empty list of outputs, or two outputs of one task."""
    if not tasks or len(set(tasks)) != len(tasks):
        raise ValueError("describe at least one output, and each task only once")
