"""Evaluation as a function: open what is scored and what it is scored against."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distill.errors import DistillError, UsageError
from distill.evaluation.predictors import Contestant, LabelsContestant, ModelContestant, StudentContestant
from distill.shards import MANIFEST
from distill.teachers.base import Teacher
from distill.workflows.model import open_model


def open_contestants(subjects: Sequence[Path]) -> list[Contestant]:
    """One contestant per path: a run folder, an exported file, or a folder of shards.

    Raises:
        UsageError: A path is none of these.
    """
    found: list[Contestant] = []
    for path, name in zip(subjects, _names(subjects), strict=True):
        if path.suffix in (".yaml", ".yml"):
            found.append(ModelContestant(name, open_teacher_model(path)))
        elif path.is_dir() and ((path / MANIFEST).is_file() or any(path.glob("shard-*.tar"))):
            found.append(LabelsContestant(name, path))
        else:
            found.append(StudentContestant(name, open_model(path)))
    return found


def open_teacher_model(path: Path) -> Teacher:
    """The model that a recipe describes; only files of weights, which cost nothing to ask and hold no code.

    Raises:
        UsageError: No recipe, or one of another kind: of a teacher that paints or reads answers, or that is code.
    """
    from distill.config import load_recipe, read_yaml
    from distill.teachers.factory import build_teacher, recipe_type

    kind = str(read_yaml(path).get("kind", ""))
    if kind != _MODEL:
        raise UsageError(
            f"{path}: a recipe of kind {kind or 'nothing'}; evaluate asks {_MODEL} models itself",
            hint="label the truth's photos with distill label, and give the folder of shards",
        )
    return build_teacher(load_recipe(recipe_type(kind), path), folder=path.parent)


_MODEL = "onnx"


def _names(subjects: Sequence[Path]) -> list[str]:
    """Short names that differ: the last part of each path, with as many parents as it takes."""
    resolved = [path.resolve() for path in subjects]
    if len(set(resolved)) < len(resolved):
        raise UsageError("a subject is given twice", hint="name each subject once")
    for depth in range(1, max(len(path.parts) for path in resolved) + 1):
        names = ["/".join(path.parts[-depth:]) for path in resolved]
        if len(set(names)) == len(names):
            return names
    raise DistillError("the subjects cannot be told apart by name")
