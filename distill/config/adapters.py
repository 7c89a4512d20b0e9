"""Configs of the teachers that wrap files or functions: replay, maps, ONNX models, Python functions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from distill.config import Config
from distill.config.class_ids import (
    ClassNames,
)
from distill.config.prompt import PromptConfig
from distill.config.teacher_base import OutputConfig, ResizeMode, TeacherConfig, check_unique_tasks
from distill.tasks import Task


class ReplayConfig(TeacherConfig):
    """Images that were generated elsewhere, listed in a manifest (YAML, JSON or CSV)."""

    kind: Literal["replay"] = "replay"
    answers: Path
    """The manifest; its paths are relative to its folder."""
    images_root: Path | None = None
    """Folder below which all images of the manifest are; null: the folder of the manifest. Another one is only accepted
    from the command line: a manifest of someone else could name private images, which reports would show."""
    model: str = "unknown"
    """The model that generated them."""
    resize_mode: ResizeMode = "cover"
    """How an image covers its photo, unless its row has another value."""
    frame: str = "vision_banana"
    """Axis convention of generated normals, unless the row has another value."""
    cost_usd: float = Field(default=0.0, ge=0)
    """Cost of one image, unless the row has another value."""


class OnnxInputConfig(Config):
    """Preprocessing of a foreign ONNX model."""

    name: str = ""
    """Name of the input; empty: its only input."""
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    color: Literal["RGB", "BGR"] = "RGB"
    scale: float = 1.0 / 255.0
    """Factor for the pixel values 0..255, applied first (1.0: not scaled)."""
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    size_hw: tuple[int, int] | None = None
    """Needed if the model does not declare its input size."""


class OnnxOutputConfig(OutputConfig):
    """Meaning of one output of a foreign ONNX model."""

    name: str = ""
    """Name of the output; empty: the first output."""
    layout: Literal["NCHW", "NHWC"] = "NCHW"


class OnnxConfig(TeacherConfig):
    """Any ONNX model as specialist teacher."""

    kind: Literal["onnx"] = "onnx"
    name: str = ""
    """Teacher name in the records; empty: the file's name."""
    model: Path
    """The ONNX file: absolute, or relative to the working folder, the config's folder or ``$DISTILL_MODELS``."""
    input: OnnxInputConfig = OnnxInputConfig()
    outputs: tuple[OnnxOutputConfig, ...]
    threads: int = Field(default=0, ge=0)
    """Threads per photo; 0: one thread per photo and one photo per core, which is fastest for small networks."""

    @field_validator("outputs")
    @classmethod
    def _check_unique_tasks(cls, outputs: tuple[OnnxOutputConfig, ...]) -> tuple[OnnxOutputConfig, ...]:
        check_unique_tasks([output.task for output in outputs])
        return outputs


Setting = bool | int | float | str


def _check_reference(function: str) -> str:
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*", function):
        raise ValueError(f"{function!r} is not of the form package.module:function")
    return function


FunctionReference = Annotated[str, AfterValidator(_check_reference)]
"""``package.module:function``. It names code, so it comes from the command line, never from a file."""


class CallableConfig(TeacherConfig):
    """Any function as specialist teacher: ``function(rgb, **settings) -> {task: map}``."""

    kind: str = "callable"
    """``callable``, or the name of a plug-in."""
    name: str = ""
    """Teacher name in the records; empty: the function's name."""
    function: FunctionReference
    outputs: tuple[OutputConfig, ...] = ()
    """Meaning of the maps: one entry per task."""
    things: ClassNames = ()
    """instance: class names of the instances; required if the function returns ``instance``."""
    settings: dict[str, Setting] = Field(default_factory=dict)
    """Keyword arguments of the function."""

    @model_validator(mode="after")
    def _check_not_empty(self) -> CallableConfig:
        if not self.things:
            check_unique_tasks([Task(output.task) for output in self.outputs])
        return self

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Tasks that the function returns."""
        return (*(Task(output.task) for output in self.outputs), *((Task.INSTANCE,) if self.things else ()))


class GeneratorConfig(TeacherConfig):
    """Any function as image generator: ``function(rgb, prompt, *, seed, **settings) -> image``."""

    kind: str = "generator"
    """``generator``, or the name of a plug-in."""
    name: str = ""
    """Teacher name in the records; empty: the function's name."""
    function: FunctionReference
    model: str = ""
    """Exact model and version; part of the key of stored images. Empty: the function."""
    prompts: PromptConfig = PromptConfig()
    seed: int = Field(default=0, ge=0)
    settings: dict[str, Setting] = Field(default_factory=dict)
    """Keyword arguments of the function."""
    multiple: int = Field(default=16, ge=1, le=256)
    """The photo is resized to sides that are multiples of this, and never cropped."""
    max_pixels: int = Field(default=1024 * 1024, ge=64 * 64)
    min_pixels: int = Field(default=0, ge=0)
    """Smaller photos are enlarged."""
    price_per_image_usd: float = Field(default=0.0, ge=0)
