"""Any Python function as specialist teacher.

The function takes uint8 RGB (h, w, 3) and returns a mapping of task to map, each covering the whole image, in its shape
but at any size (or stretched, cropped or padded as ``resize_mode`` of the output states):

* ``depth`` (h, w): meters, or the output's depth kind;
* ``normals`` (h, w, 3): vectors in the output's frame;
* ``semantic`` (h, w): ids, or (classes, h, w): logits or probabilities;
* ``instance`` (h, w): ids, 0 = background, with ``instance_classes`` {id: name} where there is more than one class;
* ``edges`` (h, w): logits or probabilities;
* ``depth_confidence``, ... (h, w) in [0, 1]: optional; 0 where the map is undefined. NaN is invalid, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from distill.config.adapters import CallableConfig
from distill.errors import DistillError, describe_error
from distill.images import Photo
from distill.labels import Label
from distill.tasks import BACKGROUND_INSTANCE, IGNORE_INSTANCE, TASKS, Task
from distill.teachers.adapters.photo_shape import check_shape
from distill.teachers.base import Specialist, Teacher
from distill.teachers.builder_options import TeacherContext
from distill.teachers.functions import Function, describe_as, find_function, source_digest
from distill.teachers.predictive import PredictiveTeacher
from distill.teachers.registration.align import warp_label
from distill.teachers.tasks import teacher_task
from distill.teachers.tasks.instance import label_of_numbers
from distill.teachers.tasks.map_files import whole_numbers


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
        except (DistillError, KeyboardInterrupt):
            raise
        except BaseException as error:  # foreign code, which may exit: its failure costs this photo, not the job
            raise DistillError(f"{photo.name}: {reference} failed: {describe_error(error)}") from error
        if not isinstance(given, Mapping):
            raise DistillError(
                f"{reference} returned a {type(given).__name__} instead of a mapping of task to map",
                hint="return {'depth': map}, for example",
            )
        labels = {task: self._read(task, given, photo) for task in self._config.tasks}
        for output in self._config.outputs:
            task = Task(output.task)
            reader = teacher_task(task)
            if reason := reader.contradiction(labels[task], labels, output.frame) or reader.reject(labels[task]):
                raise DistillError(f"{reference}: {reason}", hint="check outputs, such as frame")
        return list(labels.values())

    def _read(self, task: Task, given: Mapping[str, Any], photo: Photo) -> Label:
        reference = self._config.function
        if str(task) not in given:
            raise DistillError(
                f"{reference} returned {', '.join(map(str, given)) or 'no map'}, but not {task}", hint="fix outputs"
            )
        values, resize_mode = to_numbers(given[str(task)], f"{reference}: {task}"), None
        if TASKS[task].class_list == "instance_classes":
            label = _read_instances(values, given, self._config)
        else:
            output = next(output for output in self._config.outputs if output.task is task)
            resize_mode = output.resize_mode
            if TASKS[task].average == "vote" and values.ndim == 2:
                output = output.model_copy(update={"values": "ids"})
            reader = teacher_task(task)
            label = reader.label_from_planes(reader.planes(values, reference), output, reference)
        label = _with_confidence(label, given.get(f"{task}_confidence"), reference)
        if resize_mode is None:
            check_shape(label.size_hw, photo, f"{reference}: {task}")
        return warp_label(label, photo.size_hw, resize_mode or "fill")


def to_numbers(given: Any, where: str) -> Shaped[ndarray, ...]:
    """Array of a map that foreign code returned: array, tensor, image or nested list; axes of length one are removed.

    Raises:
        DistillError: Not a map of real numbers.
    """
    try:
        held = given.detach().cpu() if hasattr(given, "detach") else given
        if getattr(held, "dtype", None) is not None and str(held.dtype) == "torch.bfloat16":
            held = held.float()
        values = np.asarray(held)
    except Exception as error:  # foreign types convert in their own way
        raise DistillError(
            f"{where} is a {type(given).__name__} that is no array: {describe_error(error)}",
            hint="return a numpy array",
        ) from error
    if values.dtype.kind not in "buif" or not values.size:
        raise DistillError(
            f"{where} is a {type(given).__name__} of {values.dtype} and shape {values.shape}, not a map of numbers",
            hint="return a numpy array",
        )
    return values.squeeze() if values.ndim > 2 else values


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


def _read_instances(values: Shaped[ndarray, ...], given: Mapping[str, Any], config: CallableConfig) -> Label:
    if values.ndim != 2:
        raise DistillError(
            f"{config.function}: instance has shape {values.shape}", hint="return one map of instance ids (h, w)"
        )
    ids, valid = whole_numbers(values, (IGNORE_INSTANCE,), config.function)
    listed = given.get("instance_classes") or {}
    try:
        names = {int(i): str(name) for i, name in dict(listed).items()}
    except (TypeError, ValueError) as error:
        raise DistillError(
            f"{config.function}: instance_classes is a {type(listed).__name__}", hint="return a mapping of id to class"
        ) from error
    if valid.any() and ids[valid].max() >= IGNORE_INSTANCE:
        raise DistillError(f"{config.function}: instance ids must be at most {IGNORE_INSTANCE - 1}")
    label = label_of_numbers(ids, valid, config.function)
    numbers = [int(i) for i in np.unique(label.value[label.valid]) if i != BACKGROUND_INSTANCE]
    if len(config.things) > 1 and (missing := [i for i in numbers if i not in names]):
        raise DistillError(
            f"{config.function}: instance {missing[0]} has no entry in instance_classes, and things has "
            f"{len(config.things)} classes",
            hint="return the class of every instance",
        )
    classes = {i: names.get(i, config.things[0]) for i in numbers}
    if strangers := set(classes.values()) - set(config.things):
        raise DistillError(f"{config.function}: instances of {', '.join(sorted(strangers))}, not in things")
    return replace(label, classes=config.things, instance_classes=classes)


def _with_confidence(label: Label, confidence: Any, reference: str) -> Label:
    """The label with the function's own confidence, if there is one."""
    if confidence is None:
        return label
    own = np.nan_to_num(to_numbers(confidence, f"{reference}: {label.task}_confidence").astype(np.float32), nan=0.0)
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
