"""Typed recipes of the teachers that need no network: replay, maps, onnx; `synthetic` has a module of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from distill.recipe import Recipe
from distill.tasks import IGNORE_SEMANTIC, MAX_CLASSES, Gauge, Task

Canvas = Literal["cover", "stretch", "contain"]


class ReplayRecipe(Recipe):
    """Answers that were painted elsewhere, listed in a manifest (YAML, JSON or CSV)."""

    kind: Literal["replay"] = "replay"
    answers: Path
    """The manifest; paths in it are relative to its folder."""
    model: str = "unknown"
    """Which model painted them."""
    licence: str = "unknown"
    """Licence class of the answers, such as ``research``, ``non-commercial``, ``commercial``."""
    canvas: Canvas = "cover"
    """How an answer lies over its photo unless its row says otherwise."""
    frame: str = "vision_banana"
    """Axis convention of painted normals unless the row says otherwise."""
    cost_usd: float = Field(default=0.0, ge=0)
    """What one answer cost, unless the row says otherwise."""


class MapRecipe(Recipe):
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
    gauge: Gauge = Gauge.METRIC
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
    def _remap_targets_exist(self) -> MapRecipe:
        check_remap(self.remap, self.classes)
        return self


class MapsRecipe(Recipe):
    """Label maps that already exist on disk: ground truth, or someone's pseudo-labels."""

    kind: Literal["maps"] = "maps"
    name: str = "maps"
    licence: str = "unknown"
    depth: MapRecipe | None = None
    normals: MapRecipe | None = None
    semantic: MapRecipe | None = None
    instance: MapRecipe | None = None

    @model_validator(mode="after")
    def _something_to_read(self) -> MapsRecipe:
        if not self.maps():
            raise ValueError("name at least one of depth, normals, semantic, instance")
        if self.semantic and not self.semantic.classes:
            raise ValueError("semantic.classes: name the classes")
        return self

    def maps(self) -> dict[Task, MapRecipe]:
        """The described tasks, in a fixed order."""
        found = {task: getattr(self, task, None) for task in Task}
        return {task: recipe for task, recipe in found.items() if recipe is not None}


class OnnxInputRecipe(Recipe):
    """How a foreign ONNX model wants its picture."""

    name: str = ""
    """The input's name; empty: its only input."""
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    colour: Literal["RGB", "BGR"] = "RGB"
    scale: float = 1.0 / 255.0
    """Pixels 0..255 are multiplied by it first (1.0: not scaled)."""
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    size_hw: tuple[int, int] | None = None
    """Needed when the model does not state its input size."""


class OnnxOutputRecipe(Recipe):
    """What one output of a foreign ONNX model means."""

    task: Literal[Task.DEPTH, Task.NORMALS, Task.SEMANTIC]
    name: str = ""
    """The output's name; empty: the first output."""
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    values: Literal["logits", "probabilities", "ids"] = "logits"
    """semantic: what the channels hold. One channel is one foreground class against background."""
    gauge: Gauge = Gauge.METRIC
    frame: str = "opengl"
    """normals: as in `MapRecipe.frame`."""
    classes: tuple[str, ...] = ()
    """semantic: the class list of the labels that are written."""
    model_classes: tuple[str, ...] = ()
    """semantic: names of the model's channels, in order; taken to be `classes` when empty."""
    remap: dict[int | str, str] = Field(default_factory=dict)
    """semantic: model class to a name in `classes`, or to ``ignore``; probabilities of merged classes are added."""
    min_confidence: float = Field(default=0.0, ge=0, le=1)
    """semantic: pixels below are invalid."""

    @model_validator(mode="after")
    def _classes_are_named(self) -> OnnxOutputRecipe:
        if self.task is Task.SEMANTIC and not self.classes:
            raise ValueError("classes: name the classes of a semantic output")
        check_remap(self.remap, self.classes)
        return self


class OnnxRecipe(Recipe):
    """Any ONNX model as specialist teacher."""

    kind: Literal["onnx"] = "onnx"
    name: str = ""
    """How provenance names it; empty: the file's name."""
    model: Path
    """The ONNX file: absolute, or relative to the working folder, the recipe's folder or ``$DISTILL_MODELS``."""
    licence: str = "unknown"
    input: OnnxInputRecipe = OnnxInputRecipe()
    outputs: tuple[OnnxOutputRecipe, ...]
    threads: int = Field(default=0, ge=0)
    """Threads of one session; 0: all cores."""

    @field_validator("outputs")
    @classmethod
    def _one_output_per_task(cls, outputs: tuple[OnnxOutputRecipe, ...]) -> tuple[OnnxOutputRecipe, ...]:
        tasks = [output.task for output in outputs]
        if not tasks or len(set(tasks)) != len(tasks):
            raise ValueError("describe at least one output, and each task once")
        return outputs


def check_remap(remap: dict[int | str, str], classes: tuple[str, ...]) -> None:
    """Refuse a class list that is too long or repeats itself, and a remapping to a class that is not in it."""
    if len(classes) > MAX_CLASSES:
        raise ValueError(f"{len(classes)} classes; ids are stored in 8 bits, so {MAX_CLASSES} is the most")
    if len(set(classes)) != len(classes):
        raise ValueError("a class is named twice")
    for stored, target in remap.items():
        if target != "ignore" and target not in classes:
            raise ValueError(f"remap {stored!r}: {target!r} is not among the classes {', '.join(classes)}")


def id_table(
    names: tuple[str, ...], classes: tuple[str, ...], remap: dict[int | str, str], num_ids: int
) -> tuple[int, ...]:
    """For each stored id its id in `classes`, or 255 (ignore): by `remap` (id or name) first, then by equal name.

    Args:
        names: Names of the stored ids, in order; may be empty.
        classes: The target list.
        remap: As in `MapRecipe.remap`.
        num_ids: How many stored ids there can be.
    """
    names = names or (classes if not remap or all(isinstance(key, int) for key in remap) else ())
    index = {name: position for position, name in enumerate(classes)}
    table = []
    for stored in range(num_ids):
        name = names[stored] if stored < len(names) else ""
        target = remap.get(stored, remap.get(name, name if name in index else "ignore"))
        table.append(index.get(target, IGNORE_SEMANTIC))
    return tuple(table)
