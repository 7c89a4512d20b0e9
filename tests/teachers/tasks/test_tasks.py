"""Every task has a teacher module, and its parts agree with its properties."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distill.config.prompt import PromptConfig
from distill.errors import UsageError
from distill.labels import Label
from distill.tasks import TASKS, Task
from distill.teachers.quality.cross_task import compare
from distill.teachers.quality.fusion import hflip_label
from distill.teachers.synthetic.traced_scene import photo_view
from distill.teachers.tasks import teacher_task

CONFIG = PromptConfig(tasks=tuple(Task), classes=["road", "car"], instances=["car"], referring=["the left car"])


@pytest.mark.parametrize("task", Task)
def test_true_labels_survive_encoding_and_decoding(task: Task) -> None:
    teacher, view = teacher_task(task), photo_view(0, 3, (96, 128))
    assert teacher.task is task
    truth = teacher.true_label(view)
    for prompt in teacher.synthetic_prompts(view, resize_mode="fill"):
        label = teacher.decode(teacher.encode(truth, prompt), prompt)
        assert label.task is task and label.size_hw == truth.size_hw and label.value.dtype == truth.value.dtype
        error = teacher.label_error(label, teacher.restrict(truth, label))
        assert error is not None and error.error < TASKS[task].good_below
        assert not teacher.reject(label) and teacher.content(label) > 0 and teacher.informative(label).any()


@pytest.mark.parametrize("task", Task)
def test_prompts_have_a_legend_and_a_background_as_the_task_states(task: Task) -> None:
    prompts = teacher_task(task).prompts(CONFIG, resize_mode="fill")
    assert prompts and all(prompt.task is task and prompt.prompt for prompt in prompts)
    assert all(bool(prompt.legend) == TASKS[task].has_legend for prompt in prompts)


@pytest.mark.parametrize("task", Task)
def test_mirroring_twice_is_the_identity(task: Task) -> None:
    label = teacher_task(task).true_label(photo_view(0, 3, (96, 128)))
    back = hflip_label(hflip_label(label))
    assert (back.value == label.value).all() and (back.valid == label.valid).all()


def test_each_pair_of_tasks_is_compared_by_one_of_them() -> None:
    pairs = [frozenset({task, other}) for task in Task for other in teacher_task(task).comparisons]
    assert len(set(pairs)) == len(pairs)
    view = photo_view(0, 3, (96, 128))
    labels = {task: teacher_task(task).true_label(view) for task in Task}
    for pair in pairs:
        one, other = (labels[task] for task in sorted(pair))
        found = compare(one, other)
        assert found is not None and found[0] > 0.6
        assert compare(other, one)[0] == found[0]  # type: ignore[index]


def test_a_task_without_a_module_is_refused() -> None:
    with pytest.raises(UsageError, match="optical_flow is not supported by teachers"):
        teacher_task("optical_flow")


def test_sources_that_a_task_does_not_have_are_refused(tmp_path: Path) -> None:
    referring = teacher_task(Task.REFERRING)
    assert not TASKS[Task.REFERRING].from_files and not TASKS[Task.REFERRING].from_network
    with pytest.raises(UsageError, match="cannot be read as referring"):
        referring.label_from_file(np.zeros((2, 2)), None, tmp_path)
    with pytest.raises(UsageError, match="cannot be read as referring"):
        referring.label_from_planes(np.zeros((1, 2, 2)), None, "net")
    assert isinstance(referring.true_label(photo_view(0, 3, (96, 128))), Label)


def test_normals_of_surfaces_that_no_camera_sees_are_impossible() -> None:
    """A ball before a wall: with red and blue swapped, half of the ball faces away."""
    y, x = np.mgrid[1:-1:96j, -1:1:128j]
    inside = x**2 + y**2 < 0.9
    value = np.zeros((96, 128, 3), np.float32)
    value[..., 2] = 1
    value[inside] = np.stack([x, y, np.sqrt(np.maximum(0, 1 - x**2 - y**2))], axis=-1)[inside]
    valid = np.ones(inside.shape, bool)
    task = teacher_task(Task.NORMALS)
    label = Label(Task.NORMALS, value, valid, valid.astype(np.float32))
    assert task.explain_impossible(label) == ""
    swapped = Label(Task.NORMALS, np.ascontiguousarray(value[..., ::-1]), valid, valid.astype(np.float32))
    assert "face away from the camera" in task.explain_impossible(swapped)
    nothing = Label(Task.NORMALS, value, ~valid, np.zeros(valid.shape, np.float32))
    assert task.explain_impossible(nothing) == ""
    depth = Label(Task.DEPTH, np.ones((4, 4), np.float32), np.ones((4, 4), bool), np.ones((4, 4), np.float32))
    assert teacher_task(Task.DEPTH).explain_impossible(depth) == ""
