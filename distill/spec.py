"""Student spec: inputs and outputs with their units, depth kind, frame and class lists.

`spec.json` is stored next to the weights and embedded in every exported file under the metadata key ``distill.spec``.
It is all that is needed to run the student without this package.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from distill.errors import DistillError
from distill.files import read_file, write_atomic
from distill.tasks import FAR_DEPTH_M, IGNORE_SEMANTIC, NORMALS_FRAME, TASKS, DepthKind, Task

METADATA_KEY = "distill.spec"
FORMAT: Final = 2
"""1 had other key names."""
_MAX_BYTES = 4 * 1024 * 1024


MAX_SIDE_PX = 16384
_MAX_IMAGE_PX = 128_000_000
_MAX_WORKING_SIDE_PX = 4096
MAX_CLASSES = 255
"""Class ids are stored as bytes, and the last one means ignore."""


def _check_plain_name(name: str) -> str:
    if not re.fullmatch(r"\w([\w .+-]{0,98}[\w+-])?", name):
        raise ValueError("must be a plain name: letters, digits, spaces and . _ + - inside it, 1 to 100 characters")
    return name


PlainName = Annotated[str, AfterValidator(_check_plain_name)]
"""Student names become file names and words of shell scripts."""
_TensorName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,63}$")]
_BackboneName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_./:-]{0,199}$")]
_Side = Annotated[int, Field(ge=1, le=MAX_SIDE_PX)]
_WorkingSide = Annotated[int, Field(ge=1, le=_MAX_WORKING_SIDE_PX)]
_Mean = Annotated[float, Field(ge=-1e3, le=1e3)]
_Std = Annotated[float, Field(ge=1e-4, le=1e3)]
_ClassName = Annotated[str, Field(min_length=1, max_length=200)]
_Classes = Annotated[tuple[_ClassName, ...], Field(min_length=1, max_length=MAX_CLASSES)]
_Text = Annotated[str, Field(max_length=20_000)]


class _StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InputSpec(_StrictModel):
    """Image tensor: uint8 RGB, (batch, height, width, 3), orientation applied."""

    name: _TensorName = "image"
    dtype: Literal["uint8"] = "uint8"
    layout: Literal["NHWC"] = "NHWC"
    color: Literal["RGB"] = "RGB"
    size_hw: tuple[_WorkingSide, _WorkingSide]
    """Working size of the network; the graph resizes inputs of any size to it and outputs back."""
    resize: Literal["stretch, bilinear, antialias"] = "stretch, bilinear, antialias"
    mean: tuple[_Mean, _Mean, _Mean] = (0.485, 0.456, 0.406)
    std: tuple[_Std, _Std, _Std] = (0.229, 0.224, 0.225)
    fixed_size_hw: tuple[_Side, _Side] | None = None
    """The only input size of this file; None: any size."""
    max_batch: int | None = Field(None, ge=1, le=65536)
    """Largest batch of this file; None: any."""

    @field_validator("fixed_size_hw")
    @classmethod
    def _check_image_size(cls, size_hw: tuple[int, int] | None) -> tuple[int, int] | None:
        if size_hw is not None and size_hw[0] * size_hw[1] > _MAX_IMAGE_PX:
            raise ValueError(f"{size_hw[0]}x{size_hw[1]} px is over the limit of {_MAX_IMAGE_PX} px")
        return size_hw

    @property
    def default_hw(self) -> tuple[int, int]:
        """Input size that always works: the fixed size, else the working size."""
        return self.fixed_size_hw or self.size_hw


class DepthSpec(_StrictModel):
    """Outputs ``depth`` float32 (batch, h, w) and ``depth_confidence`` float32 in [0, 1]."""

    depth_kind: DepthKind = DepthKind.METRIC
    unit: Literal["m", "none"] = "m"
    max_depth_m: float = Field(FAR_DEPTH_M, gt=0, le=1e6)

    def describe(self) -> str:
        """Meaning of the values, for a model card."""
        return "meters of z-depth" if self.unit == "m" else f"{self.depth_kind}, without a unit"


class NormalsSpec(_StrictModel):
    """Outputs ``normals`` float32 (batch, h, w, 3), unit length, and ``normals_confidence`` in [0, 1]."""

    frame: _Text = NORMALS_FRAME

    def describe(self) -> str:
        """Meaning of the values, for a model card."""
        return f"unit vectors, {self.frame}"


class SemanticSpec(_StrictModel):
    """Outputs ``semantic`` uint8 (batch, h, w) and ``semantic_confidence`` in [0, 1]."""

    classes: _Classes
    ignore: int = Field(IGNORE_SEMANTIC, ge=0, le=255)

    def describe(self) -> str:
        """Meaning of the values, for a model card."""
        return f"ids of {', '.join(self.classes)}"


class InstanceSpec(_StrictModel):
    """Outputs ``instance`` uint8 (batch, h, w), 0 = background, and ``instance_confidence`` in [0, 1].

    The class of an instance is that of most of its pixels in ``semantic``.
    """

    classes: _Classes
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
    backbone: _BackboneName
    input: InputSpec
    depth: DepthSpec | None = None
    normals: NormalsSpec | None = None
    semantic: SemanticSpec | None = None
    instance: InstanceSpec | None = None
    """Needs `semantic`, whose pixels it groups."""
    edges: EdgesSpec | None = None
    licenses: tuple[_Text, ...] = Field(default=(), description="licenses of the training labels", max_length=1000)
    terms: dict[_Text, _Text] = Field(
        default_factory=dict, description="license to the address of its terms", max_length=1000
    )
    provenance: dict[_Text, _Text] = Field(default_factory=dict, max_length=1000)

    @model_validator(mode="after")
    def _check_instance_classes(self) -> StudentSpec:
        if self.instance is not None:
            known = self.semantic.classes if self.semantic is not None else ()
            unknown = [name for name in self.instance.classes if name not in known]
            if unknown:
                raise ValueError(f"the instance class {unknown[0]!r} is not one of the semantic classes")
        return self

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
        first = error.errors(include_url=False)[0]
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
        return parse_spec(read_file(path, _MAX_BYTES).decode("utf-8", "replace"), str(path))
    except OSError as error:
        raise DistillError(
            f"{path}: cannot be read: {error.strerror}", hint="name a run folder or an exported file"
        ) from error


def write_spec(path: Path, spec: StudentSpec) -> None:
    """Write ``spec.json``."""
    write_atomic(path, spec.to_json().encode())
