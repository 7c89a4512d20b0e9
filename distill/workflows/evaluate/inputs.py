"""Inputs of an evaluation: predictors, ground truth, training images and class maps."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from distill.config import load_config, read_yaml
from distill.config.yaml_text import parse_yaml
from distill.errors import DistillError, UsageError
from distill.files import read_file
from distill.shards import MANIFEST, Sample, read_manifest, read_samples
from distill.workflows.arguments import StrPath

if TYPE_CHECKING:
    from distill.evaluation.ground_truth import GroundTruth
    from distill.evaluation.near_duplicates import NearDuplicateIndex
    from distill.evaluation.predictors import Predictor
    from distill.runtime.progress import Reporter
    from distill.teachers.base import Teacher

_MODEL_KIND = "onnx"
_PAIR_HINT = "write one 'predictor class: truth class' per line"


def open_predictors(paths: Sequence[Path], *, allow_native: bool = False) -> list[Predictor]:
    """Open one predictor per path: a run folder, an exported file, a folder of shards, or the config of a model.

    Raises:
        UsageError: A path is none of these, or is given twice.
    """
    from distill.evaluation.predictors import ModelPredictor, ShardPredictor, StudentPredictor
    from distill.workflows.open_model import open_model

    found: list[Predictor] = []
    for path, name in zip(paths, _short_names(paths), strict=True):
        if path.suffix in (".yaml", ".yml"):
            found.append(ModelPredictor(name, open_teacher_model(path)))
        elif path.is_dir() and ((path / MANIFEST).is_file() or any(path.glob("shard-*.tar"))):
            found.append(ShardPredictor(name, path))
        else:
            found.append(StudentPredictor(name, open_model(path, allow_native=allow_native)))
    return found


def open_teacher_model(path: Path) -> Teacher:
    """Open the ONNX model that a teacher config describes; other kinds cost money, or run code.

    Raises:
        UsageError: The file is not a config of this kind.
    """
    from distill.teachers.factory import build_teacher
    from distill.teachers.kinds import KINDS

    kind = reprlib.repr(read_yaml(path).get("kind", "")).strip("'")
    if kind != _MODEL_KIND:
        raise UsageError(
            f"{path}: a config of kind {kind or 'unknown'}; evaluate runs {_MODEL_KIND} models only",
            hint="label the images of the truth with distill label, and give the folder of shards",
        )
    return build_teacher(load_config(KINDS[kind].config, path), folder=path.parent)


def open_truth(dataset: str | None, path: Path) -> GroundTruth:
    """Open ground truth: shards, or a data set in its official layout."""
    if dataset is None:
        from distill.evaluation.ground_truth import ShardGroundTruth

        return ShardGroundTruth(path)
    from distill.evaluation.datasets import open_dataset

    return open_dataset(dataset, path)


def index_training_photos(folders: Sequence[Path], reporter: Reporter) -> NearDuplicateIndex | None:
    """Index the images of training shards by perceptual hash; None without shards."""
    from distill.evaluation.near_duplicates import NearDuplicateIndex

    if not folders:
        return None

    def samples() -> Iterator[Sample]:
        for folder in folders:
            yield from reporter.track(read_samples(folder), "training photos", read_manifest(folder).samples)

    return NearDuplicateIndex(samples())


def read_class_map(class_map: StrPath | Mapping[str, str | None] | None) -> Mapping[str, str | None]:
    """Read pairs of predictor class and truth class; mappings pass through.

    Raises:
        UsageError: The file cannot be read, or is not a mapping of names.
    """
    if class_map is None or isinstance(class_map, Mapping):
        return class_map or {}
    path = Path(class_map)
    try:
        pairs = parse_yaml(read_file(path).decode("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read as YAML", hint=_PAIR_HINT) from error
    if not isinstance(pairs, dict) or not all(
        isinstance(old, str) and (new is None or isinstance(new, str)) for old, new in pairs.items()
    ):
        raise UsageError(f"{path}: not a mapping of names to names", hint=_PAIR_HINT)
    return pairs


def _short_names(paths: Sequence[Path]) -> list[str]:
    """Shortest distinct names: the last part of each path, with as many parents as needed."""
    resolved = [path.resolve() for path in paths]
    if len(set(resolved)) < len(resolved):
        raise UsageError("a predictor is given twice", hint="name each predictor once")
    for depth in range(1, max(len(path.parts) for path in resolved) + 1):
        names = ["/".join(path.parts[-depth:]) for path in resolved]
        if len(set(names)) == len(names):
            return names
    raise DistillError("the predictors cannot be distinguished by name")
