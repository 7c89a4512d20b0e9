"""Student spec: inputs and outputs with their units, depth kind, frame and class lists.

`spec.json` is stored next to the weights and embedded in every exported file under the metadata key ``distill.spec``.
It is all that is needed to run the student without this package.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from distill.errors import DistillError
from distill.files import write_atomic
from distill.tasks import FAR_DEPTH_M, IGNORE_SEMANTIC, NORMALS_FRAME, TASKS, DepthKind, Task

METADATA_KEY = "distill.spec"
FORMAT: Final = 2
"""1 had other key names."""


def _check_plain_name(name: str) -> str:
    if not re.fullmatch(r"[^./\\\x00-\x1f][^/\\\x00-\x1f]{0,99}", name):
        raise ValueError("must be a plain name: no slashes, no dot in front, 1 to 100 characters")
    return name


PlainName = Annotated[str, AfterValidator(_check_plain_name)]
"""Student names become file names, so a path would lead out of the folder."""


class _StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InputSpec(_StrictModel):
    """Image tensor: uint8 RGB, (batch, height, width, 3), orientation applied."""

    name: str = "image"
    dtype: Literal["uint8"] = "uint8"
    layout: Literal["NHWC"] = "NHWC"
    color: Literal["RGB"] = "RGB"
    size_hw: tuple[int, int]
    """Working size of the network; the graph resizes inputs of any size to it and outputs back."""
    resize: Literal["stretch, bilinear, antialias"] = "stretch, bilinear, antialias"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    fixed_size_hw: tuple[int, int] | None = None
    """The only input size of this file; None: any size."""
    max_batch: int | None = None
    """Largest batch of this file; None: any."""

    @property
    def default_hw(self) -> tuple[int, int]:
        """Input size that always works: the fixed size, else the working size."""
        return self.fixed_size_hw or self.size_hw


class DepthSpec(_StrictModel):
    """Outputs ``depth`` float32 (batch, h, w) and ``depth_confidence`` float32 in [0, 1]."""

    depth_kind: DepthKind = DepthKind.METRIC
    unit: Literal["m", "none"] = "m"
    max_depth_m: float = FAR_DEPTH_M

    def describe(self) -> str:
        """Meaning of the values, for a model card."""
        return "meters of z-depth" if self.unit == "m" else f"{self.depth_kind}, without a unit"


class NormalsSpec(_StrictModel):
    """Outputs ``normals`` float32 (batch, h, w, 3), unit length, and ``normals_confidence`` in [0, 1]."""

    frame: str = NORMALS_FRAME

    def describe(self) -> str:
        """Meaning of the values, for a model card."""
        return f"unit vectors, {self.frame}"


class SemanticSpec(_StrictModel):
    """Outputs ``semantic`` uint8 (batch, h, w) and ``semantic_confidence`` in [0, 1]."""

    classes: tuple[str, ...]
    ignore: int = IGNORE_SEMANTIC

    def describe(self) -> str:
        """Meaning of the values, for a model card."""
        return f"ids of {', '.join(self.classes)}"


class InstanceSpec(_StrictModel):
    """Outputs ``instance`` uint8 (batch, h, w), 0 = background, and ``instance_confidence`` in [0, 1].

    The class of an instance is that of most of its pixels in ``semantic``.
    """

    classes: tuple[str, ...]
    """Semantic classes whose objects are separated."""
    max_instances: int = Field(64, ge=1, le=255)

    def describe(self) -> str:
        """Meaning of the values, for a model card."""
        return f"ids, 0 is background, of {', '.join(self.classes)}"


class EdgesSpec(_StrictModel):
    """Outputs ``edges`` float32 (batch, h, w) in [0, 1] and ``edges_confidence`` = max(p, 1 - p)."""

    def describe(self) -> str:
        """Meaning of the values, for a model card."""
        return "probability of an object contour or occlusion boundary"


class StudentSpec(_StrictModel):
    """Spec of a student."""

    format: Literal[2] = FORMAT
    name: PlainName
    backbone: str
    input: InputSpec
    depth: DepthSpec | None = None
    normals: NormalsSpec | None = None
    semantic: SemanticSpec | None = None
    instance: InstanceSpec | None = None
    """Needs `semantic`, whose pixels it groups."""
    edges: EdgesSpec | None = None
    licenses: tuple[str, ...] = Field(default=(), description="licenses of the training labels")
    terms: dict[str, str] = Field(default_factory=dict, description="license to the address of its terms")
    provenance: dict[str, str] = Field(default_factory=dict)

    @property
    def dense_tasks(self) -> tuple[Task, ...]:
        """Tasks with a value at every pixel, in the order of the outputs."""
        return tuple(task for task in Task if TASKS[task].is_dense and getattr(self, task, None) is not None)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Tasks in the order of the outputs, dense ones first."""
        others = (task for task in Task if not TASKS[task].is_dense and getattr(self, task, None) is not None)
        return (*self.dense_tasks, *others)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the output tensors in order: ``<task>``, ``<task>_confidence`` for each task."""
        return tuple(name for task in self.tasks for name in (str(task), f"{task}_confidence"))

    def to_json(self) -> str:
        """The spec as JSON, without the keys of tasks that the student does not have."""
        absent = {str(task) for task in Task if getattr(self, task, None) is None}
        return json.dumps(self.model_dump(mode="json", exclude=absent), indent=2)


def parse_spec(text: str, name: str) -> StudentSpec:
    """Spec from JSON.

    Raises:
        DistillError: Not JSON, not a spec, or a spec of an earlier format.
    """
    try:
        return StudentSpec.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        if first["loc"] == ("format",):
            raise DistillError(
                f"{name}: format {first['input']!r} of the student spec is not {FORMAT}, the only one that this version"
                " reads",
                hint="train the student again with distill train, then export it",
            ) from error
        location = ".".join(str(part) for part in first["loc"])
        raise DistillError(
            f"{name}: not a student spec: {location or 'text'}: {first['msg']}",
            hint="export the student again with distill export",
        ) from error


def read_spec(path: Path) -> StudentSpec:
    """Spec from a file."""
    try:
        return parse_spec(path.read_text(), str(path))
    except OSError as error:
        raise DistillError(
            f"{path}: cannot be read: {error.strerror}", hint="name a run folder or an exported file"
        ) from error


def write_spec(path: Path, spec: StudentSpec) -> None:
    """Write ``spec.json``."""
    write_atomic(path, spec.to_json().encode())
