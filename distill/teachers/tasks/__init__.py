"""Task objects of the teachers: one module per task, found by its name."""

from __future__ import annotations

from jaxtyping import UInt8
from numpy import ndarray

from distill.labels import Label
from distill.tasks import Task, task_module
from distill.teachers.base import PromptSpec
from distill.teachers.tasks.base import TeacherTask


def teacher_task(task: Task) -> TeacherTask:
    """Task object of the teachers.

    Raises:
        UsageError: The package has no module of this name.
    """
    found: TeacherTask = task_module("distill.teachers.tasks", task).TASK
    return found


def decode_answer(generated: UInt8[ndarray, "h w 3"], prompt_spec: PromptSpec) -> Label:
    """Label of a generated image, at the image's own size.

    Raises:
        UsageError: The prompt has an unknown colormap or frame, or a legend with equal colors.
    """
    return teacher_task(prompt_spec.task).decode(generated, prompt_spec)
