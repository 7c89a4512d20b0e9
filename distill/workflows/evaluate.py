"""Evaluation as a function: open what is scored and what it is scored against."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distill.errors import DistillError, UsageError
from distill.evaluation.predictors import ModelPredictor, Predictor, ShardPredictor, StudentPredictor
from distill.shards import MANIFEST
from distill.teachers.base import Teacher
from distill.workflows.model import open_model


def open_predictors(predictors: Sequence[Path]) -> list[Predictor]:
    """One predictor per path: a run folder, an exported file, or a folder of shards.

    Raises:
        UsageError: A path is none of these.
    """
    found: list[Predictor] = []
    for path, name in zip(predictors, _names(predictors), strict=True):
        if path.suffix in (".yaml", ".yml"):
            found.append(ModelPredictor(name, open_teacher_model(path)))
        elif path.is_dir() and ((path / MANIFEST).is_file() or any(path.glob("shard-*.tar"))):
            found.append(ShardPredictor(name, path))
        else:
            found.append(StudentPredictor(name, open_model(path)))
    return found


def open_teacher_model(path: Path) -> Teacher:
    """The model that a config describes; only files of weights, which cost nothing to ask and hold no code.

    Raises:
        UsageError: No config, or one of another kind: of a teacher that paints or reads answers, or that is code.
    """
    from distill.config import load_config, read_yaml
    from distill.teachers.factory import build_teacher, config_type

    kind = str(read_yaml(path).get("kind", ""))
    if kind != _MODEL:
        raise UsageError(
            f"{path}: a config of kind {kind or 'nothing'}; evaluate asks {_MODEL} models itself",
            hint="label the truth's photos with distill label, and give the folder of shards",
        )
    return build_teacher(load_config(config_type(kind), path), folder=path.parent)


_MODEL = "onnx"


def _names(predictors: Sequence[Path]) -> list[str]:
    """Short names that differ: the last part of each path, with as many parents as it takes."""
    resolved = [path.resolve() for path in predictors]
    if len(set(resolved)) < len(resolved):
        raise UsageError("a predictor is given twice", hint="name each predictor once")
    for depth in range(1, max(len(path.parts) for path in resolved) + 1):
        names = ["/".join(path.parts[-depth:]) for path in resolved]
        if len(set(names)) == len(names):
            return names
    raise DistillError("the predictors cannot be told apart by name")
