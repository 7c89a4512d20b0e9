"""Predictors: student, label shards, external model, mean baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.errors import DistillError, UsageError
from distill.evaluation.shard_index import ShardIndex
from distill.images import Photo
from distill.labels import Label
from distill.metrics import BASELINE_TASKS, MeanBaseline
from distill.shards import Sample, read_manifest, read_samples
from distill.tasks import BACKGROUND_INSTANCE, TASKS, DepthKind, Task

if TYPE_CHECKING:
    from distill.export.runners import Runner
    from distill.teachers.base import Teacher

BACKGROUND_NAME = "background"
"""Class of pixels that belong to none of the prompted classes."""


@runtime_checkable
class Predictor(Protocol):
    """Source of predictions that are compared with the truth."""

    name: str
    kind: str
    """``student``, ``labels``, ``model`` or ``baseline``."""
    tasks: tuple[Task, ...]
    depth_kind: DepthKind
    """Kind of its depth."""
    classes: tuple[str, ...]
    """Classes that its semantic ids index."""

    def predict(self, sample: Sample, rgb: UInt8[ndarray, "h w 3"]) -> dict[Task, Label]:
        """Predictions for one photo, at any size; tasks without a prediction are left out."""
        ...


class StudentPredictor:
    """A student or an exported file."""

    kind = "student"

    def __init__(self, name: str, runner: Runner) -> None:
        self.name, self._runner = name, runner
        spec = runner.spec
        self.tasks = spec.tasks
        if spec.semantic is not None and BACKGROUND_NAME in spec.semantic.classes:
            self.tasks = (*self.tasks, Task.REFERRING)  # its classes may be referring phrases
        self.depth_kind = spec.depth.depth_kind if spec.depth else DepthKind.METRIC
        self.classes = spec.semantic.classes if spec.semantic else ()

    def predict(self, sample: Sample, rgb: UInt8[ndarray, "h w 3"]) -> dict[Task, Label]:
        """Predictions at every pixel."""
        outputs = {name: value[0] for name, value in self._runner(rgb[None]).items()}
        return {
            task: label_of_output(task, outputs, depth_kind=self.depth_kind, classes=self.classes)
            for task in self.tasks
        }


def label_of_output(
    task: Task,
    outputs: Mapping[str, ndarray],
    *,
    depth_kind: DepthKind = DepthKind.METRIC,
    classes: tuple[str, ...] = (),
) -> Label:
    """Convert one image's outputs of a student to a label.

    Args:
        task: Task of the label; referring is read from the classes.
        outputs: Maps and confidences, without the batch dimension.
        depth_kind: Kind of the depth.
        classes: Names of the class ids.
    """
    info = TASKS[task]
    source = str(info.learned_as or task)
    value = outputs[source]
    if info.storage == "ids":
        value = value.astype(info.dtype, copy=False)
    names_instances = info.class_list == "instance_classes"
    return Label(
        task=task,
        value=value,
        valid=np.ones(value.shape[:2], bool),
        confidence=outputs[f"{source}_confidence"],
        depth_kind=depth_kind if info.has_depth_kind else None,
        classes=classes if info.class_list in ("classes", "referring") else (),
        instance_classes=_name_instances(value, outputs["semantic"], classes) if names_instances else {},
    )


def _name_instances(ids: ndarray, classes_at: ndarray, classes: tuple[str, ...]) -> dict[int, str]:
    """Instance id to the class of most of its pixels."""
    return {
        int(number): classes[int(np.bincount(classes_at[ids == number]).argmax())]
        for number in np.unique(ids)
        if number != BACKGROUND_INSTANCE
    }


class ShardPredictor:
    """Labels of a folder of shards; photos are found by content, else by key."""

    kind = "labels"

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self._manifest, self._shard_index = name, read_manifest(folder), ShardIndex(folder)
        self._label_errors: list[str] = []
        self.tasks, self.depth_kind, self.classes = (
            self._manifest.tasks,
            self._manifest.depth_kind,
            self._manifest.classes,
        )

    def predict(self, sample: Sample, rgb: UInt8[ndarray, "h w 3"]) -> dict[Task, Label]:
        """Labels of the same photo; empty if the set lacks it or its labels are damaged."""
        answers: dict[Task, Label] = {}
        try:
            found = self._shard_index.find(sample)
            if found is not None:
                for task in found.tasks:
                    answers[task] = found.label(task, self._manifest)
        except DistillError as error:
            self._label_errors.append(error.message)
        return answers

    @property
    def read_errors(self) -> tuple[str, ...]:
        """Shards and labels that could not be read, one sentence each."""
        return (*self._shard_index.read_errors, *self._label_errors)

    @property
    def matched_by_key(self) -> int:
        """Number of photos found by key alone, with other bytes than in the truth."""
        return self._shard_index.matched_by_key


class ModelPredictor:
    """External model, described by a teacher config."""

    kind = "model"

    def __init__(self, name: str, teacher: Teacher) -> None:
        self.name, self._teacher = name, teacher
        self.tasks, self.classes = tuple(teacher.tasks), tuple(teacher.classes)
        # The outputs are known only after a prediction; a gray image takes a second.
        blank = np.full((64, 64, 3), 128, np.uint8)
        probe = self._answer(Photo("probe", "a gray picture", b"", "png", blank, "", {}))
        self.depth_kind = probe[Task.DEPTH].depth_kind or DepthKind.METRIC if Task.DEPTH in probe else DepthKind.METRIC
        if Task.SEMANTIC in probe:
            self.classes = probe[Task.SEMANTIC].classes

    def predict(self, sample: Sample, rgb: UInt8[ndarray, "h w 3"]) -> dict[Task, Label]:
        """Predictions of the model."""
        name = str(sample.meta.get("name", sample.key))
        sha256 = str(sample.meta.get("photo_sha256", ""))
        return self._answer(Photo(sample.key, name, sample.photo, sample.photo_suffix, rgb, sha256, {}))

    def _answer(self, photo: Photo) -> dict[Task, Label]:
        return {task: label for result in self._teacher.label(photo) for task, label in result.labels.items()}


class BaselinePredictor:
    """Mean baseline: the same prediction for every photo."""

    name = kind = "baseline"

    def __init__(self, baseline: MeanBaseline) -> None:
        self._baseline = baseline
        self.tasks, self.depth_kind = baseline.tasks, baseline.depth_kind or DepthKind.METRIC
        self.classes = baseline.classes

    def predict(self, sample: Sample, rgb: UInt8[ndarray, "h w 3"]) -> dict[Task, Label]:
        """The mean of the training labels."""
        size_hw = (rgb.shape[0], rgb.shape[1])
        everywhere = np.ones(size_hw, bool)
        return {
            task: Label(
                task=task,
                value=self._baseline.predict(task, size_hw),
                valid=everywhere,
                confidence=everywhere.astype(np.float32),
                depth_kind=self.depth_kind if TASKS[task].has_depth_kind else None,
                classes=self.classes if TASKS[task].class_list == "classes" else (),
            )
            for task in self.tasks
        }


def fit_baseline(folder: Path, tasks: Sequence[Task]) -> BaselinePredictor:
    """Fit the mean baseline on a folder of training shards.

    Raises:
        UsageError: The shards have none of the tasks.
    """
    manifest, baseline = read_manifest(folder), MeanBaseline()
    for sample in read_samples(folder):
        for task in set(tasks) & set(sample.tasks):
            baseline.update(sample.label(task, manifest))
    if not set(tasks) & set(BASELINE_TASKS):
        raise UsageError(
            f"there is no mean baseline of {', '.join(tasks)}: a mean of {' or '.join(tasks)} says nothing",
            hint=f"leave --baseline out, or choose a --task of {', '.join(BASELINE_TASKS)}",
        )
    if not baseline.tasks:
        raise UsageError(
            f"{folder}: holds no label of {', '.join(tasks)} to fit the mean baseline on",
            hint="give --baseline the shards that the student learned from",
        )
    return BaselinePredictor(baseline)
