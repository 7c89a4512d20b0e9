"""Config of the teacher that reads label maps on disk."""

from __future__ import annotations

import re
import string
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, create_model, field_validator, model_validator

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
from distill.config.teacher_base import ResizeMode, TeacherConfig
from distill.tasks import TASKS, DepthKind, Task

MIN_VALID = 0.05
"""Labels with a smaller share of usable pixels are refused."""


_OF_PHOTO = ("stem", "name", "folder")
TIME = "time"
"""The word of a template that is a number of seconds."""
_MAX_WORDS = 3
"""In one part of a path: more could take very long to match."""


def template_words(template: str) -> list[str] | None:
    """Words in braces, in order; None if `str.format` would replace anything but plain words."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError:
        return None
    if any(spec or conversion or (name is not None and not name.isidentifier()) for _, name, spec, conversion in parts):
        return None
    return [name for _, name, _, _ in parts if name is not None]


def _check_template(template: str, name: str, words: set[str]) -> None:
    found = template_words(template)
    if found is None or not set(found) <= words:
        listed = ", ".join(f"{{{word}}}" for word in sorted(words))
        raise ValueError(f"{name} {template!r}: only {listed} are replaced")
    if "*" in template.replace("\\", "/").rpartition("/")[0]:
        raise ValueError(f"{name} {template!r}: * stands in the name of the file only")


class MapConfig(Config):
    """Files and value range of the maps of one task: ``value = stored * scale + offset``."""

    photo: str = Field(default="", max_length=300)
    """Shape of the photo's path, from its end: ``leftImg8bit/{split}/{city}/{id}_leftImg8bit.png``. `pattern` and
    `valid` may then use its words, and are relative to the folder that it starts in."""
    pattern: str = Field(default="", max_length=300)
    """Path relative to the photo's folder; ``{stem}``, ``{name}`` and ``{folder}`` are the photo's file name without
    suffix, its file name and the name of its folder: ``../labels/{stem}.png``. ``*`` in the file's name fits anything,
    and must fit one file; ``{time}``, a number of seconds, fits the nearest one (`max_time_s`)."""
    max_time_s: Positive = 0.02
    """Largest difference between the times of photo and map."""
    replace: dict[str, str] = Field(default_factory=dict)
    """Parts of the photo's path that differ in the map's: ``{images: labels}``; `pattern` then starts from there."""
    pairs: Path | None = None
    """CSV of photo and map, with or without a header, in place of `pattern`; its paths are relative to its folder."""
    valid: str = Field(default="", max_length=300)
    """File of a mask, found like `pattern`: only pixels with a value other than 0 have a label."""
    array: str = ""
    """Name of the array in an ``.npz`` or HDF5 file; empty: the task's, or the only one."""
    packing: Literal["plain", "rotated_bits", "float_bytes"] = "plain"
    """How a number is stored: ``rotated_bits``: 16 bits, rotated left by 3 (SUN RGB-D); ``float_bytes``: the four bytes
    of a float in four 8-bit channels (TartanAir 2)."""
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
    focal_baseline_px_m: Positive | None = None
    """depth: the values are disparities in pixels; depth is this, focal length times baseline, divided by them."""
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
    class_divisor: int | None = Field(default=None, ge=2, le=1 << 24)
    """instance: the number of an instance divided by this is the id of its class, in `remap`; instances of other ids
    are background (Cityscapes: 1000, Mapillary Vistas: 256)."""
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
        self._check_templates()
        if self.class_divisor is not None and not any(isinstance(key, int) for key in self.remap):
            raise ValueError("class_divisor: give the classes of the ids in remap")
        if self.colors and (self.stored_classes or self.channels):
            raise ValueError("colors already names the stored classes; remove stored_classes and channels")
        check_targets(self.class_ids.classes, self.remap)
        check_sources(self.class_ids.stored or self.classes, self.remap)
        if self.class_ids.stored:
            check_stored(self.class_ids.classes, self.class_ids.stored, self.remap)
        return self

    def _check_templates(self) -> None:
        words = set(_OF_PHOTO)
        if self.photo:
            parts = [template_words(part) for part in self.photo.replace("\\", "/").split("/")]
            if any(part is None or len(part) > _MAX_WORDS for part in parts):
                raise ValueError(f"photo {self.photo!r}: write at most {_MAX_WORDS} plain words in braces per folder")
            if self.replace or self.pairs:
                raise ValueError("photo: give either photo, replace or pairs")
            own = {word for part in parts for word in part or ()}
            if taken := own & words:
                raise ValueError(f"photo {self.photo!r}: {{{min(taken)}}} already has a meaning; use another word")
            words |= own
        _check_template(self.pattern, "pattern", words)
        _check_template(self.valid, "valid", words)

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
        lists = (config.classes for task, config in self.maps().items() if TASKS[task].class_list == "classes")
        return next(lists, ())

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
