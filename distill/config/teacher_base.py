"""Base config of all teachers, and the meaning of raw model outputs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from distill.config import Config
from distill.tasks import IGNORE_SEMANTIC, MAX_CLASSES, TASKS, DepthKind, Task


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
    classes: tuple[str, ...] = ()
    """semantic: class list of the labels."""
    model_classes: tuple[str, ...] = ()
    """semantic: names of the model's channels, in order; empty: `classes`."""
    remap: dict[int | str, str] = Field(default_factory=dict)
    """semantic: model class to a name in `classes`, or to ``ignore``; probabilities of merged classes are added."""
    min_confidence: float = Field(default=0.0, ge=0, le=1)
    """semantic: pixels below are invalid."""

    @model_validator(mode="after")
    def _check_classes(self) -> OutputConfig:
        info = TASKS[self.task]
        if not info.from_network:
            possible = ", ".join(task for task in Task if TASKS[task].from_network)
            raise ValueError(f"task: {self.task} cannot be read from output maps; use one of {possible}")
        if info.class_list == "classes" and not self.classes:
            raise ValueError(f"classes: name the classes of a {self.task} output")
        check_remap(self.remap, self.classes)
        return self


def check_unique_tasks(tasks: list[Task]) -> None:
    """Raise ValueError for an empty list of outputs, or two outputs of one task."""
    if not tasks or len(set(tasks)) != len(tasks):
        raise ValueError("describe at least one output, and each task only once")


def check_remap(remap: dict[int | str, str], classes: tuple[str, ...]) -> None:
    """Raise ValueError for a class list that is too long or has duplicates, or a target class that is not in it."""
    if len(classes) > MAX_CLASSES:
        raise ValueError(f"{len(classes)} classes, more than {MAX_CLASSES}: ids are stored in 8 bits")
    if len(set(classes)) != len(classes):
        raise ValueError("a class is named twice")
    for stored, target in remap.items():
        if target != "ignore" and target not in classes:
            raise ValueError(f"remap {stored!r}: {target!r} is not among the classes {', '.join(classes)}")


def id_table(
    names: tuple[str, ...], classes: tuple[str, ...], remap: dict[int | str, str], num_ids: int
) -> tuple[int, ...]:
    """The id in `classes` of each stored id, or 255 (ignore): by `remap` (id or name) first, then by equal name.

    Args:
        names: Names of the stored ids, in order; may be empty.
        classes: The target list.
        remap: As in `MapConfig.remap`.
        num_ids: Number of possible stored ids.
    """
    names = names or (classes if not remap or all(isinstance(key, int) for key in remap) else ())
    index = {name: position for position, name in enumerate(classes)}
    table = []
    for stored in range(num_ids):
        name = names[stored] if stored < len(names) else ""
        target = remap.get(stored, remap.get(name, name if name in index else "ignore"))
        table.append(index.get(target, IGNORE_SEMANTIC))
    return tuple(table)
