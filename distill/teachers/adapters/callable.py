"""Any Python function as specialist teacher.

The function takes uint8 RGB (h, w, 3) and returns a mapping of task to map, each covering the whole image at any size:

* ``depth`` (h, w): meters, or the output's depth kind;
* ``normals`` (h, w, 3): vectors in the output's frame;
* ``semantic`` (h, w): ids, or (classes, h, w): logits or probabilities;
* ``instance`` (h, w): ids, 0 = background, with ``instance_classes`` {id: name} where there is more than one class;
* ``edges`` (h, w): logits or probabilities;
* ``depth_confidence``, ... (h, w) in [0, 1]: optional; 0 where the map is undefined. NaN is invalid, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from distill.config.adapters import CallableConfig
from distill.errors import DistillError
from distill.images import Photo
from distill.labels import Label
from distill.tasks import BACKGROUND_INSTANCE, IGNORE_INSTANCE, TASKS, Task
from distill.teachers.base import Specialist, Teacher
from distill.teachers.builder_options import TeacherContext
from distill.teachers.functions import Function, describe_as, find_function, source_digest
from distill.teachers.predictive import PredictiveTeacher
from distill.teachers.tasks import teacher_task


def specialist(**description: Any) -> Callable[[Function], Function]:
    """Describe a function, so that it is a teacher without a config file.

    Args:
        description: Keys of `distill.config.adapters.CallableConfig`: outputs, license, terms, things, settings.
    """
    return describe_as("callable", description)


class CallableSpecialist(Specialist):
    """A function as specialist."""

    def __init__(self, config: CallableConfig) -> None:
        self._config = config
        self._function = find_function(config.function)

    def fingerprint(self) -> list[str]:
        """Digest of the function's source file."""
        return [source_digest(self._config.function)]

    def predict(self, photo: Photo) -> list[Label]:
        """One label per output of the config.

        Raises:
            DistillError: The function failed on this photo, or its result differs from the config.
        """
        reference = self._config.function
        try:
            given = self._function(photo.rgb.copy(), **self._config.settings)
        except DistillError:
            raise
        except Exception as error:  # foreign code: its failure costs this photo, not the run
            raise DistillError(f"{photo.name}: {reference} failed: {type(error).__name__}: {error}") from error
        if not isinstance(given, Mapping):
            raise DistillError(f"{reference} returned a {type(given).__name__} instead of a mapping of task to map")
        return [self._read(task, given) for task in self._config.tasks]

    def _read(self, task: Task, given: Mapping[str, Any]) -> Label:
        reference = self._config.function
        if str(task) not in given:
            raise DistillError(
                f"{reference} returned {', '.join(map(str, given)) or 'no map'}, but not {task}", hint="fix outputs"
            )
        values = np.asarray(given[str(task)])
        if TASKS[task].class_list == "instance_classes":
            label = _read_instances(values, given, self._config)
        else:
            output = next(output for output in self._config.outputs if output.task is task)
            if TASKS[task].average == "vote" and values.ndim == 2:
                output = output.model_copy(update={"values": "ids"})
            reader = teacher_task(task)
            label = reader.label_from_planes(reader.planes(values, reference), output, reference)
        return _with_confidence(label, given.get(f"{task}_confidence"), reference)


def build_callable(config: CallableConfig, folder: Path, context: TeacherContext) -> Teacher:
    """The teacher of a function.

    Raises:
        UsageError: The function cannot be imported.
    """
    semantic = [output for output in config.outputs if TASKS[Task(output.task)].class_list == "classes"]
    return PredictiveTeacher(
        CallableSpecialist(config),
        name=config.name or config.function.rpartition(":")[2],
        license=config.license,
        terms=config.terms,
        tasks=config.tasks,
        classes=semantic[0].classes if semantic else (),
        quality_filter=context.quality_filter,
    )


def _read_instances(values: Shaped[ndarray, "h w"], given: Mapping[str, Any], config: CallableConfig) -> Label:
    if values.ndim != 2 or not np.issubdtype(values.dtype, np.integer) or values.min(initial=0) < 0:
        raise DistillError(f"{config.function}: instance ids must be integers from 0, in a map of shape (h, w)")
    if values.max(initial=0) > IGNORE_INSTANCE:
        raise DistillError(f"{config.function}: instance ids must be at most {IGNORE_INSTANCE - 1}")
    names = {int(i): str(name) for i, name in dict(given.get("instance_classes", {})).items()}
    value = values.astype(np.uint16)
    valid = value != IGNORE_INSTANCE
    ids = [int(i) for i in np.unique(value[valid]) if i != BACKGROUND_INSTANCE]
    classes = {i: names.get(i, config.things[0]) for i in ids}
    if strangers := set(classes.values()) - set(config.things):
        raise DistillError(f"{config.function}: instances of {', '.join(sorted(strangers))}, not in things")
    return Label(Task.INSTANCE, value, valid, valid.astype(np.float32), classes=config.things, instance_classes=classes)


def _with_confidence(label: Label, confidence: Any, reference: str) -> Label:
    """The label with the function's own confidence, if there is one."""
    if confidence is None:
        return label
    own = np.nan_to_num(np.asarray(confidence, np.float32), nan=0.0)
    if own.shape != label.size_hw:
        raise DistillError(f"{reference}: {label.task}_confidence is {own.shape}, its map {label.size_hw}")
    valid = label.valid & (own > 0)
    return Label(
        label.task,
        label.value,
        valid,
        np.where(valid, np.clip(own, 0, 1), np.float32(0)),
        label.depth_kind,
        label.classes,
        label.instance_classes,
    )
