"""Typed configs of the teachers that need no network: replay, maps, onnx; `synthetic` has a module of its own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from distill.config import Config
from distill.config.teacher import TeacherConfig, OutputConfig, check_remap, check_unique_tasks
from distill.tasks import DepthKind, Task

ResizeMode = Literal["cover", "fill", "contain"]


class ReplayConfig(TeacherConfig):
    """Answers that were painted elsewhere, listed in a manifest (YAML, JSON or CSV)."""

    kind: Literal["replay"] = "replay"
    answers: Path
    """The manifest; paths in it are relative to its folder."""
    model: str = "unknown"
    """Which model painted them."""
    resize_mode: ResizeMode = "cover"
    """How an answer lies over its photo unless its row says otherwise."""
    frame: str = "vision_banana"
    """Axis convention of painted normals unless the row says otherwise."""
    cost_usd: float = Field(default=0.0, ge=0)
    """What one answer cost, unless the row says otherwise."""


class MapConfig(Config):
    """Where the maps of one task lie, and what their numbers mean: ``value = stored * scale + offset``."""

    pattern: str
    """Relative to the photo's folder; ``{stem}`` and ``{name}`` are the photo's, such as ``../labels/{stem}.png``."""
    scale: float = 1.0
    offset: float = 0.0
    invalid: tuple[float, ...] = ()
    """Stored values that mean "no value" (normals: all three channels)."""
    min_value: float | None = None
    max_value: float | None = None
    """Values outside are invalid (after scale and offset)."""
    depth_kind: DepthKind = DepthKind.METRIC
    """depth: what is unknown about the values."""
    frame: str = "opengl"
    """normals: what the channels hold: ``opengl`` (x right, y up, z toward the camera), ``opencv``, ``dsine``, ..."""
    classes: tuple[str, ...] = ()
    """semantic: the class list of the labels that are written."""
    stored_classes: tuple[str, ...] = ()
    """semantic: names of the stored ids, in order; taken to be `classes` when empty."""
    remap: dict[int | str, str] = Field(default_factory=dict)
    """semantic: stored id or stored class name to a name in `classes`, or to ``ignore``."""
    class_name: str = "object"
    """instance: what the instances are."""
    mirror: bool = False
    """Whether the maps are mirrored left-right against the photos."""

    @model_validator(mode="after")
    def _check_remap(self) -> MapConfig:
        check_remap(self.remap, self.classes)
        return self


class MapsConfig(TeacherConfig):
    """Label maps that already exist on disk: ground truth, or someone's pseudo-labels."""

    kind: Literal["maps"] = "maps"
    name: str = "maps"
    depth: MapConfig | None = None
    normals: MapConfig | None = None
    semantic: MapConfig | None = None
    instance: MapConfig | None = None

    @model_validator(mode="after")
    def _check_not_empty(self) -> MapsConfig:
        if not self.maps():
            raise ValueError("name at least one of depth, normals, semantic, instance")
        if self.semantic and not self.semantic.classes:
            raise ValueError("semantic.classes: name the classes")
        return self

    def maps(self) -> dict[Task, MapConfig]:
        """The described tasks, in a fixed order."""
        found = {task: getattr(self, task, None) for task in Task}
        return {task: config for task, config in found.items() if config is not None}


class OnnxInputConfig(Config):
    """How a foreign ONNX model wants its picture."""

    name: str = ""
    """The input's name; empty: its only input."""
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    color: Literal["RGB", "BGR"] = "RGB"
    scale: float = 1.0 / 255.0
    """Pixels 0..255 are multiplied by it first (1.0: not scaled)."""
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    size_hw: tuple[int, int] | None = None
    """Needed when the model does not state its input size."""


class OnnxOutputConfig(OutputConfig):
    """What one output of a foreign ONNX model means."""

    name: str = ""
    """The output's name; empty: the first output."""
    layout: Literal["NCHW", "NHWC"] = "NCHW"


class OnnxConfig(TeacherConfig):
    """Any ONNX model as specialist teacher."""

    uses_all_cores: ClassVar[bool] = True

    kind: Literal["onnx"] = "onnx"
    name: str = ""
    """How provenance names it; empty: the file's name."""
    model: Path
    """The ONNX file: absolute, or relative to the working folder, the config's folder or ``$DISTILL_MODELS``."""
    input: OnnxInputConfig = OnnxInputConfig()
    outputs: tuple[OnnxOutputConfig, ...]
    threads: int = Field(default=0, ge=0)
    """Of one photo; 0: one thread for each photo, and as many photos at once as there are cores, which is what small
    networks are fastest with."""

    @field_validator("outputs")
    @classmethod
    def _check_unique_tasks(cls, outputs: tuple[OnnxOutputConfig, ...]) -> tuple[OnnxOutputConfig, ...]:
        check_unique_tasks([output.task for output in outputs])
        return outputs


Setting = bool | int | float | str


class CallableConfig(TeacherConfig):
    """Any function as specialist teacher: ``function(rgb, **settings) -> {task: map}``."""

    uses_all_cores: ClassVar[bool] = True

    kind: str = "callable"
    """``callable``, or the name under which an installed package offers the function."""
    name: str = ""
    """How provenance names it; empty: the function's name."""
    function: str
    """``package.module:function``. Names code, so it comes from the command line, never out of a file."""
    outputs: tuple[OutputConfig, ...] = ()
    """What the maps mean: one entry per task."""
    things: tuple[str, ...] = ()
    """instance: class names of the instances; a function that gives ``instance`` needs them."""
    settings: dict[str, Setting] = Field(default_factory=dict)
    """Keyword arguments of the function."""

    @field_validator("function")
    @classmethod
    def _check_reference(cls, function: str) -> str:
        if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*", function):
            raise ValueError(f"{function!r} is not of the form package.module:function")
        return function

    @model_validator(mode="after")
    def _check_not_empty(self) -> CallableConfig:
        if not self.things:
            check_unique_tasks([Task(output.task) for output in self.outputs])
        return self

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What the function answers."""
        return (*(Task(output.task) for output in self.outputs), *((Task.INSTANCE,) if self.things else ()))
