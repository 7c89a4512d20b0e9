"""Semantic classes of the user (``--classes``), put into the config of a teacher."""

from __future__ import annotations

from pathlib import Path

from distill.config.local import TransformersConfig
from distill.config.prompt import PromptConfig
from distill.config.synthetic import SyntheticConfig
from distill.config.teacher_base import TeacherConfig
from distill.errors import UsageError
from distill.tasks import Task


def with_classes(config: TeacherConfig, classes: tuple[str, ...], folder: Path, name: str) -> TeacherConfig:
    """Return the config with these semantic classes.

    Generators are prompted for them. Transformers models that take text are prompted for them as well, and others map
    their own classes of the same names. The synthetic teacher must have them among its own.

    Args:
        config: Config of the teacher.
        classes: Class names.
        folder: Folder of the config's relative paths.
        name: Name in error messages.

    Raises:
        UsageError: The classes of this teacher are fixed, or a class is not among them.
        ModelUnavailable: The transformers model cannot be fetched.
    """
    prompts = getattr(config, "prompts", None)
    if isinstance(prompts, PromptConfig):
        tasks = prompts.tasks if Task.SEMANTIC in prompts.tasks else (*prompts.tasks, Task.SEMANTIC)
        changed = {**prompts.model_dump(mode="json"), "classes": list(classes), "tasks": list(tasks)}
        return config.model_copy(update={"prompts": PromptConfig.model_validate(changed)})
    if isinstance(config, TransformersConfig):
        return _transformers(config, classes, folder)
    if isinstance(config, SyntheticConfig):
        from distill.teachers.synthetic.scene import SYNTHETIC_CLASSES

        _check_known(classes, SYNTHETIC_CLASSES, name)
        return config
    raise UsageError(
        f"{name}: --classes is not possible with a teacher of kind {config.kind}, whose classes are fixed",
        hint="leave --classes out, or map its classes with classes and remap in its config",
    )


def _transformers(config: TransformersConfig, classes: tuple[str, ...], folder: Path) -> TransformersConfig:
    from distill.teachers.local.model_info import accepts_text, inspect_model

    tasks = config.tasks if Task.SEMANTIC in config.tasks else (*config.tasks, Task.SEMANTIC)
    if accepts_text(config, folder):
        return config.model_copy(update={"things": classes, "tasks": tasks})
    _check_known(classes, inspect_model(config, folder).model_classes, config.model)
    return config.model_copy(update={"classes": classes})


def _check_known(classes: tuple[str, ...], known: tuple[str, ...], name: str) -> None:
    unknown = [label for label in classes if label not in known]
    if unknown:
        raise UsageError(f"{name}: has no class {', '.join(unknown)}", hint=f"its classes are {', '.join(known)}")
