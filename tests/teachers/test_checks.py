"""Labels of one photo are held against each other, and only where both could say the same."""

from __future__ import annotations

import numpy as np
import pytest

from distill.images import Photo
from distill.labels import Label
from distill.tasks import Task
from distill.teachers.base import Lesson
from distill.teachers.quality.filter import Checks, score_lesson

SIZE_HW = (96, 128)


def lesson_of(asked: list[str]) -> Lesson:
    """Walls everywhere, and a box that the classes do not show."""
    everywhere, sure = np.ones(SIZE_HW, bool), np.ones(SIZE_HW, np.float32)
    numbers = np.zeros(SIZE_HW, np.uint16)
    numbers[30:60, 40:90] = 1
    walls = np.zeros(SIZE_HW, np.uint8)
    walls[:, 64:] = 2
    return Lesson(
        {
            Task.SEMANTIC: Label(Task.SEMANTIC, walls, everywhere, sure, classes=("wall", "box", "door")),
            Task.INSTANCE: Label(
                Task.INSTANCE, numbers, everywhere, sure, classes=("box",), instance_classes={1: "box"}
            ),
        },
        [{"task": "semantic", "asked_classes": asked}, {"task": "instance", "class": "box", "asked_classes": ["box"]}],
    )


@pytest.mark.parametrize(("asked", "compared"), [(["wall", "door", "box"], True), (["wall", "door"], False)])
def test_a_class_that_was_not_asked_for_is_not_missed(asked: list[str], compared: bool) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (*SIZE_HW, 3)).astype(np.uint8)
    lesson = lesson_of(asked)
    score_lesson(Photo("a", "", b"", "png", rgb, "0" * 64, {}), lesson, Checks())
    for record, task in zip(lesson.records, (Task.SEMANTIC, Task.INSTANCE), strict=True):
        assert ("geometry" in record["quality_parts"]) is compared
        assert lesson.labels[task].classes == lesson_of(asked).labels[task].classes
    if compared:
        assert lesson.records[0]["quality_parts"]["geometry"] < 0.8
        assert float(lesson.labels[Task.SEMANTIC].confidence[45, 65]) < 1


def test_a_label_below_the_least_quality_is_dropped_with_its_records_and_the_reason_is_kept() -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (*SIZE_HW, 3)).astype(np.uint8)
    lesson = lesson_of(["wall", "door", "box"])
    score_lesson(Photo("a", "", b"", "png", rgb, "0" * 64, {}), lesson, Checks(min_quality={Task.SEMANTIC: 0.999}))
    assert set(lesson.labels) == {Task.INSTANCE}
    assert [record["task"] for record in lesson.records] == ["instance"]
    (failure,) = lesson.failures
    assert failure["kind"] == "rejected"
    assert "is below 1.00" in failure["reason"]
