"""Tasks, classes and depth kind of a transformers model, from its config, without its weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.config.local import TransformersConfig
from distill.errors import UsageError
from distill.tasks import DepthKind, Task
from distill.teachers.codecs.palette import BACKGROUND
from distill.teachers.local.hub import find_source, read_config

_TEXT_PROMPTED = "Sam3Model"
_TASKS_OF_ARCHITECTURE = {
    "ForDensePrediction": (Task.DEPTH, Task.NORMALS, Task.SEMANTIC),
    "ForDepthEstimation": (Task.DEPTH,),
    "ForNormalEstimation": (Task.NORMALS,),
    "ForSemanticSegmentation": (Task.SEMANTIC,),
    "ForUniversalSegmentation": (Task.SEMANTIC, Task.INSTANCE),
    _TEXT_PROMPTED: (Task.SEMANTIC, Task.INSTANCE),
}
"""Suffix of an architecture's name to its tasks."""

_DEPTH_KINDS = {
    "depth_pro": DepthKind.METRIC,
    "zoedepth": DepthKind.METRIC,
    "glpn": DepthKind.METRIC,
    "tipsv2_dpt": DepthKind.METRIC,
    "prompt_depth_anything": DepthKind.METRIC,
    "dpt": DepthKind.AFFINE_INVARIANT_DISPARITY,
}
"""Depth kind by model type; Depth Anything declares it in its config."""


@dataclass(frozen=True)
class ModelInfo:
    """Facts about a model from its config.

    Attributes:
        source: Folder or hub id.
        architecture: Name of the class.
        tasks: Tasks that are used.
        classes: semantic: class list of its labels.
        model_classes: Names of its channels.
    """

    source: str
    architecture: str
    model_config: dict[str, Any]
    tasks: tuple[Task, ...]
    classes: tuple[str, ...]
    model_classes: tuple[str, ...]
    things: tuple[str, ...]

    @property
    def is_text_prompted(self) -> bool:
        """Whether it takes a class name as input."""
        return self.architecture == _TEXT_PROMPTED

    @property
    def is_query_based(self) -> bool:
        """Whether its outputs are masks with a class each."""
        return self.architecture.endswith("ForUniversalSegmentation")


def accepts_text(config: TransformersConfig, folder: Path) -> bool:
    """Whether the model is prompted with class names.

    Raises:
        ModelUnavailable: The model is on the hub and cannot be fetched.
    """
    model_config = read_config(find_source(config.model, folder), "config.json", config.revision)
    return _TEXT_PROMPTED in (model_config.get("architectures") or ())


def inspect_model(config: TransformersConfig, folder: Path) -> ModelInfo:
    """The facts from the teacher config and the model's config.

    Raises:
        ModelUnavailable: The model is on the hub and cannot be fetched.
        UsageError: There is no model, its architecture is not supported, or a key is missing in the config.
    """
    source = find_source(config.model, folder)
    model_config = read_config(source, "config.json", config.revision)
    architecture = str((model_config.get("architectures") or [""])[0])
    supported = next((tasks for end, tasks in _TASKS_OF_ARCHITECTURE.items() if architecture.endswith(end)), None)
    if supported is None:
        raise UsageError(
            f"{config.model}: {architecture or 'a model without an architecture'} is not supported as a teacher",
            hint=f"supported are *{', *'.join(_TASKS_OF_ARCHITECTURE)}; others can be functions (docs/plugins.md)",
        )
    is_text_prompted = architecture == _TEXT_PROMPTED
    if is_text_prompted and not config.things:
        raise UsageError(f"{config.model}: takes text prompts", hint='give them with --set things="[car, person]"')
    unknown = [task for task in config.tasks if task not in supported]
    if unknown:
        raise UsageError(f"{config.model}: cannot do {', '.join(unknown)}; it does {', '.join(supported)}")
    names = (BACKGROUND, *config.things) if is_text_prompted else _class_names(model_config)
    strangers = [] if is_text_prompted else [thing for thing in config.things if thing not in names]
    if strangers:
        raise UsageError(f"{config.model}: has no class {', '.join(strangers)}", hint=f"it has {', '.join(names)}")
    tasks = config.tasks or (Task.INSTANCE,) if is_text_prompted else config.tasks or supported
    _check_stated(config, model_config, tasks)
    return ModelInfo(source, architecture, model_config, tasks, config.classes or names, names, config.things or names)


def _class_names(model_config: dict[str, Any]) -> tuple[str, ...]:
    """The model's class names, made unique."""
    names: dict[str, None] = {}
    for _, name in sorted((int(key), str(value)) for key, value in dict(model_config.get("id2label") or {}).items()):
        names[name if name not in names else f"{name} {len(names)}"] = None
    return tuple(names)


def _check_stated(config: TransformersConfig, model_config: dict[str, Any], tasks: tuple[Task, ...]) -> None:
    """Raise for facts that neither the model nor the config declares.

    Raises:
        UsageError: Depth kind or frame is missing.
    """
    if Task.DEPTH in tasks and infer_depth_kind(config, model_config) is None:
        raise UsageError(
            f"{config.model}: does not declare its depth kind", hint=f"--set depth_kind={' or '.join(DepthKind)}"
        )
    if Task.NORMALS in tasks and not config.frame:
        raise UsageError(
            f"{config.model}: does not declare the axes of its normals",
            hint="--set frame=opengl, opencv or signed axes such as +x-y-z; or leave them out with --set tasks=[...]",
        )


def infer_depth_kind(config: TransformersConfig, model_config: dict[str, Any]) -> DepthKind | None:
    """Depth kind by the teacher config, the model's config, or the model type; None: unknown."""
    if config.depth_kind is not None:
        return config.depth_kind
    kind = str(model_config.get("model_type", ""))
    if kind == "depth_anything":
        # The library's default is relative.
        metric = model_config.get("depth_estimation_type", "relative") == "metric"
        return DepthKind.METRIC if metric else DepthKind.AFFINE_INVARIANT_DISPARITY
    return _DEPTH_KINDS.get(kind)
