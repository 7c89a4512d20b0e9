"""What a network of the transformers library can be asked, read from its config before it is opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.config.local import TransformersRecipe
from distill.errors import UsageError
from distill.tasks import DepthKind, Task
from distill.teachers.local.hub import find_source, read_config
from distill.teachers.prompts.templates import BACKGROUND

_ABILITIES = {
    "ForDensePrediction": (Task.DEPTH, Task.NORMALS, Task.SEMANTIC),
    "ForDepthEstimation": (Task.DEPTH,),
    "ForNormalEstimation": (Task.NORMALS,),
    "ForSemanticSegmentation": (Task.SEMANTIC,),
    "ForUniversalSegmentation": (Task.SEMANTIC, Task.INSTANCE),
    "Sam3Model": (Task.SEMANTIC, Task.INSTANCE),
}
"""End of an architecture's name to what it can do."""

_DEPTH_KINDS = {
    "depth_pro": DepthKind.METRIC,
    "zoedepth": DepthKind.METRIC,
    "glpn": DepthKind.METRIC,
    "tipsv2_dpt": DepthKind.METRIC,
    "prompt_depth_anything": DepthKind.METRIC,
    "dpt": DepthKind.AFFINE_INVARIANT_DISPARITY,
}
"""What a model's depth means, by model type; Depth Anything says it in its config."""


@dataclass(frozen=True)
class Network:
    """What can be known about a model from its config, without opening it.

    Attributes:
        source: Folder or hub id.
        architecture: Name of the class.
        tasks: What it will be asked.
        classes: semantic: the class list of its labels.
        model_classes: Names of its channels.
    """

    source: str
    architecture: str
    config: dict[str, Any]
    tasks: tuple[Task, ...]
    classes: tuple[str, ...]
    model_classes: tuple[str, ...]
    things: tuple[str, ...]

    @property
    def by_text(self) -> bool:
        """Whether it is asked for each class by name."""
        return self.architecture == "Sam3Model"

    @property
    def by_queries(self) -> bool:
        """Whether it answers with masks, each with a class."""
        return self.architecture.endswith("ForUniversalSegmentation")


def describe_network(recipe: TransformersRecipe, folder: Path) -> Network:
    """What the recipe and the model's config say together.

    Raises:
        NotHere: The model is on the hub and cannot be fetched.
        UsageError: No model there, one of a kind that is not known, or something is missing in the recipe.
    """
    source = find_source(recipe.model, folder)
    config = read_config(source, "config.json", recipe.revision)
    architecture = str((config.get("architectures") or [""])[0])
    ability = next((tasks for end, tasks in _ABILITIES.items() if architecture.endswith(end)), None)
    if ability is None:
        raise UsageError(
            f"{recipe.model}: {architecture or 'a model without an architecture'} is not known as a teacher",
            hint=f"known are *{', *'.join(_ABILITIES)}; anything else can be a function (docs/plugins.md)",
        )
    by_text = architecture == "Sam3Model"
    if by_text and not recipe.things:
        raise UsageError(f"{recipe.model}: is asked by text", hint='say for what: --set things="[car, person]"')
    unknown = [task for task in recipe.tasks if task not in ability]
    if unknown:
        raise UsageError(f"{recipe.model}: cannot do {', '.join(unknown)}; it does {', '.join(ability)}")
    names = (BACKGROUND, *recipe.things) if by_text else _class_names(config)
    strangers = [] if by_text else [thing for thing in recipe.things if thing not in names]
    if strangers:
        raise UsageError(f"{recipe.model}: knows no {', '.join(strangers)}", hint=f"it knows {', '.join(names)}")
    tasks = recipe.tasks or (Task.INSTANCE,) if by_text else recipe.tasks or ability
    _refuse_unsaid(recipe, config, tasks)
    return Network(source, architecture, config, tasks, recipe.classes or names, names, recipe.things or names)


def _class_names(config: dict[str, Any]) -> tuple[str, ...]:
    """The model's own names, each once."""
    names: dict[str, None] = {}
    for _, name in sorted((int(key), str(value)) for key, value in dict(config.get("id2label") or {}).items()):
        names[name if name not in names else f"{name} {len(names)}"] = None
    return tuple(names)


def _refuse_unsaid(recipe: TransformersRecipe, config: dict[str, Any], tasks: tuple[Task, ...]) -> None:
    """What neither model nor recipe says must not be guessed."""
    if Task.DEPTH in tasks and infer_depth_kind(recipe, config) is None:
        raise UsageError(
            f"{recipe.model}: does not say what its depth means", hint=f"--set depth_kind={' or '.join(DepthKind)}"
        )
    if Task.NORMALS in tasks and not recipe.frame:
        raise UsageError(
            f"{recipe.model}: does not say in which axes its normals are",
            hint="--set frame=opengl, opencv or signed axes such as +x-y-z; or leave them out with --set tasks=[...]",
        )


def infer_depth_kind(recipe: TransformersRecipe, config: dict[str, Any]) -> DepthKind | None:
    """What the model's depth means, by the recipe, the config, or the kind of model; None: nobody says."""
    if recipe.depth_kind is not None:
        return recipe.depth_kind
    kind = str(config.get("model_type", ""))
    if kind == "depth_anything":
        # The library's default, where a config says nothing, is relative.
        metric = config.get("depth_estimation_type", "relative") == "metric"
        return DepthKind.METRIC if metric else DepthKind.AFFINE_INVARIANT_DISPARITY
    return _DEPTH_KINDS.get(kind)
