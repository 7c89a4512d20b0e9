"""A student's spec: how to feed it, what comes out, in which unit, depth kind, frame and class list.

`spec.json` lies beside the weights and is embedded in every exported file under the metadata key ``distill.spec``.
Whoever holds it can run the student without this package.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from distill.errors import DistillError
from distill.images import write_atomic
from distill.tasks import FAR_DEPTH_M, IGNORE_SEMANTIC, NORMALS_FRAME, DepthKind, Task

METADATA_KEY = "distill.spec"


def _check_plain_name(name: str) -> str:
    if not re.fullmatch(r"[^./\\\x00-\x1f][^/\\\x00-\x1f]{0,99}", name):
        raise ValueError("must be a plain name: no slashes, no dot in front, 1 to 100 characters")
    return name


PlainName = Annotated[str, AfterValidator(_check_plain_name)]
"""Names of students become names of files: one that is a path would lead out of the folder."""


class _StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InputSpec(_StrictModel):
    """One picture tensor: uint8 RGB, (batch, height, width, 3), orientation applied."""

    name: str = "image"
    dtype: Literal["uint8"] = "uint8"
    layout: Literal["NHWC"] = "NHWC"
    color: Literal["RGB"] = "RGB"
    size_hw: tuple[int, int]
    """The size at which the network works. Any input size is accepted: the graph resizes to this one and back."""
    resize: Literal["stretch, bilinear, antialias"] = "stretch, bilinear, antialias"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    fixed_size_hw: tuple[int, int] | None = None
    """The only picture size that this file takes; None: any."""
    max_batch: int | None = None
    """The most pictures that this file takes at once; None: any number."""

    @property
    def default_hw(self) -> tuple[int, int]:
        """A size of pictures that is always taken: the only one, or that at which the network works."""
        return self.fixed_size_hw or self.size_hw


class DepthSpec(_StrictModel):
    """Outputs ``depth`` float32 (batch, h, w) and ``depth_confidence`` float32 in [0, 1]."""

    depth_kind: DepthKind = DepthKind.METRIC
    unit: Literal["m", "none"] = "m"
    max_depth_m: float = FAR_DEPTH_M


class NormalsSpec(_StrictModel):
    """Outputs ``normals`` float32 (batch, h, w, 3), unit length, and ``normals_confidence`` in [0, 1]."""

    frame: str = NORMALS_FRAME


class SemanticSpec(_StrictModel):
    """Outputs ``semantic`` uint8 (batch, h, w) and ``semantic_confidence`` in [0, 1]."""

    classes: tuple[str, ...]
    ignore: int = IGNORE_SEMANTIC


class InstanceSpec(_StrictModel):
    """Outputs ``instance`` uint8 (batch, h, w), 0 = background, and ``instance_confidence`` in [0, 1].

    The class of an instance is that of most of its pixels in ``semantic``.
    """

    classes: tuple[str, ...]
    """Of the semantic classes, those that are told apart one by one."""
    max_instances: int = Field(64, ge=1, le=255)


class StudentSpec(_StrictModel):
    """The whole spec."""

    format: Literal[1] = 1
    name: PlainName
    backbone: str
    input: InputSpec
    depth: DepthSpec | None = None
    normals: NormalsSpec | None = None
    semantic: SemanticSpec | None = None
    instance: InstanceSpec | None = None
    """Beside `semantic`, which says where things are."""
    licenses: tuple[str, ...] = Field(default=(), description="license classes of the labels it learned from")
    terms: dict[str, str] = Field(default_factory=dict, description="license to where its terms can be read")
    provenance: dict[str, str] = Field(default_factory=dict)

    @property
    def dense_tasks(self) -> tuple[Task, ...]:
        """The tasks that have a value at every pixel, in a fixed order; instances come beside them (see `tasks`)."""
        return tuple(task for task in (Task.DEPTH, Task.NORMALS, Task.SEMANTIC) if getattr(self, task) is not None)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All tasks, in the order of the outputs."""
        return (*self.dense_tasks, *((Task.INSTANCE,) if self.instance is not None else ()))

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of the output tensors: ``<task>``, ``<task>_confidence`` for each answer, in order."""
        return tuple(name for task in self.tasks for name in (str(task), f"{task}_confidence"))

    def to_json(self) -> str:
        """The spec as JSON."""
        return json.dumps(self.model_dump(mode="json"), indent=2)


def parse_spec(text: str, name: str) -> StudentSpec:
    """The spec in this JSON.

    Raises:
        DistillError: No JSON, or not a spec of a known format.
    """
    try:
        return StudentSpec.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DistillError(
            f"{name}: not a student spec: {where or 'text'}: {first['msg']}",
            hint="export the student again with distill export",
        ) from error


def read_spec(path: Path) -> StudentSpec:
    """The spec in this file."""
    try:
        return parse_spec(path.read_text(), str(path))
    except OSError as error:
        raise DistillError(
            f"{path}: cannot be read: {error.strerror}", hint="name a run folder or an exported file"
        ) from error


def write_spec(path: Path, spec: StudentSpec) -> None:
    """Write ``spec.json``."""
    write_atomic(path, spec.to_json().encode())
