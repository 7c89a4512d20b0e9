"""Configs of the teachers that wrap files or functions: replay, maps, ONNX models, Python functions."""

from __future__ import annotations

import re
import string
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, create_model, field_validator, model_validator

from distill.config import Config
from distill.config.base import Fraction, Positive
from distill.config.class_ids import (
    IGNORE,
    ClassIds,
    ClassNames,
    Remap,
    check_sources,
    check_stored,
    check_targets,
    spread_class_mapping,
)
from distill.config.prompt import PromptConfig
from distill.config.teacher_base import OutputConfig, ResizeMode, TeacherConfig, check_unique_tasks
from distill.tasks import TASKS, DepthKind, Task

MIN_VALID = 0.05
"""Labels with a smaller share of usable pixels are refused."""


class ReplayConfig(TeacherConfig):
    """Images that were generated elsewhere, listed in a manifest (YAML, JSON or CSV)."""

    kind: Literal["replay"] = "replay"
    answers: Path
    """The manifest; its paths are relative to its folder."""
    model: str = "unknown"
    """The model that generated them."""
    resize_mode: ResizeMode = "cover"
    """How an image covers its photo, unless its row has another value."""
    frame: str = "vision_banana"
    """Axis convention of generated normals, unless the row has another value."""
    cost_usd: float = Field(default=0.0, ge=0)
    """Cost of one image, unless the row has another value."""


def _is_plain_pattern(pattern: str) -> bool:
    """Whether `str.format` replaces these names only, without attributes, indices, conversions and widths."""
    try:
        parts = list(string.Formatter().parse(pattern))
    except ValueError:
        return False
    return all(
        name is None or (name in ("stem", "name", "folder") and not spec and not conversion)
        for _, name, spec, conversion in parts
    )


class MapConfig(Config):
    """Files and value range of the maps of one task: ``value = stored * scale + offset``."""

    pattern: str = ""
    """Path relative to the photo's folder; ``{stem}``, ``{name}`` and ``{folder}`` are the photo's file name without
    suffix, its file name and the name of its folder: ``../labels/{stem}.png``."""
    replace: dict[str, str] = Field(default_factory=dict)
    """Parts of the photo's path that differ in the map's: ``{images: labels}``; `pattern` then starts from there."""
    pairs: Path | None = None
    """CSV of photo and map, with or without a header, in place of `pattern`; its paths are relative to its folder."""
    array: str = ""
    """Name of the array in an ``.npz`` file; empty: the task's, or the only one."""
    channels: tuple[float, ...] = ()
    """The number is the sum of the channels (R, G, B) with these weights: ``[1, 256, 65536]``, or ``[1, 0, 0]``."""
    scale: float = 1.0
    offset: float = 0.0
    invalid: tuple[float, ...] = ()
    """Stored values that mean "no value" (normals: all three channels)."""
    min_value: float | None = None
    max_value: float | None = None
    """Values outside are invalid (after scale and offset)."""
    min_valid: Fraction = MIN_VALID
    """Maps with a smaller share of valid pixels are refused; lower it for sparse maps."""
    resize_mode: ResizeMode | None = None
    """How the photo was resized to a map of another shape; None: such maps are refused."""
    depth_kind: DepthKind = DepthKind.METRIC
    """depth: what is unknown about the values."""
    ray_focal_px: Positive | None = None
    """depth: the values are distances along the rays of a camera with this focal length, in pixels of the map."""
    frame: str = "opengl"
    """normals: axes of the channels: ``opengl`` (x right, y up, z toward the camera), ``opencv``, ``dsine``, ..."""
    classes: ClassNames = ()
    """semantic: class list of the labels; a mapping of ids and names is a list and a remap."""
    stored_classes: ClassNames = ()
    """semantic: names of the stored ids, in order; empty: `classes`."""
    colors: dict[str, tuple[int, int, int]] = Field(default_factory=dict)
    """semantic: stored class to its color in the map, for maps that show classes as colors, not as ids."""
    remap: Remap = Field(default_factory=dict)
    """semantic: stored id or stored class name to a name in `classes`, or to ``ignore``; ``"*"`` is every other id."""
    class_name: str = "object"
    """instance: class of the instances."""
    mirror: bool = False
    """Whether the maps are mirrored left-right against the photos."""

    @model_validator(mode="before")
    @classmethod
    def _spread_classes(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("colors"), dict) and not values.get("classes"):
            targets = [(values.get("remap") or {}).get(name, name) for name in values["colors"]]
            values = {**values, "classes": [name for name in dict.fromkeys(targets) if name != IGNORE]}
        return spread_class_mapping(values)

    @field_validator("colors", mode="before")
    @classmethod
    def _read_hex(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        is_hex = re.compile("#?[0-9a-fA-F]{6}").fullmatch
        return {
            name: tuple(bytes.fromhex(color.removeprefix("#"))) if isinstance(color, str) and is_hex(color) else color
            for name, color in value.items()
        }

    @model_validator(mode="after")
    def _check(self) -> MapConfig:
        if bool(self.pattern) == (self.pairs is not None):
            raise ValueError("give either a pattern or pairs")
        if not _is_plain_pattern(self.pattern):
            raise ValueError(f"pattern {self.pattern!r}: only {{stem}}, {{name}} and {{folder}} are replaced")
        if self.colors and (self.stored_classes or self.channels):
            raise ValueError("colors already names the stored classes; remove stored_classes and channels")
        check_targets(self.class_ids.classes, self.remap)
        check_sources(self.class_ids.stored or self.classes, self.remap)
        if self.class_ids.stored:
            check_stored(self.class_ids.classes, self.class_ids.stored, self.remap)
        return self

    @property
    def class_ids(self) -> ClassIds:
        """Stored ids, or positions in `colors`, to the ids of `classes`."""
        return ClassIds(self.classes, tuple(self.colors) or self.stored_classes, self.remap)


class _MapsBase(TeacherConfig):
    kind: Literal["maps"] = "maps"
    name: str = "maps"

    @model_validator(mode="after")
    def _check_not_empty(self) -> _MapsBase:
        if not self.maps():
            raise ValueError(f"name at least one of {', '.join(_MAP_TASKS)}")
        for task, config in self.maps().items():
            if TASKS[task].class_list == "classes" and not config.classes:
                raise ValueError(f"{task}.classes: name the classes")
        return self

    @property
    def classes(self) -> tuple[str, ...]:
        """Class list of the labels; empty if no map has classes."""
        return next((config.classes for config in self.maps().values() if config.classes), ())

    def maps(self) -> dict[Task, MapConfig]:
        """The described tasks, in a fixed order."""
        found = {task: getattr(self, task, None) for task in Task}
        return {task: config for task, config in found.items() if config is not None}


_MAP_TASKS = tuple(task for task in Task if TASKS[task].from_files)
_map_fields: dict[str, Any] = {str(task): (MapConfig | None, None) for task in _MAP_TASKS}

if TYPE_CHECKING:
    MapsConfig = _MapsBase
else:
    MapsConfig = create_model(
        "MapsConfig",
        __base__=_MapsBase,
        __module__=__name__,
        __doc__="Label maps that exist on disk: ground truth or pseudo-labels; one `MapConfig` per task.",
        **_map_fields,
    )


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
