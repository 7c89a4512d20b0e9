"""Labels of one photo are compared only where both prompts allow it."""

from __future__ import annotations

import numpy as np
import pytest

from distill.images import Photo
from distill.labels import Label
from distill.tasks import Task
from distill.teachers.base import TeacherResult
from distill.teachers.quality.filter import QualityFilter, score_result

SIZE_HW = (96, 128)


def result_of(asked: list[str]) -> TeacherResult:
    """Walls everywhere, and a box that the classes do not show."""
    everywhere, sure = np.ones(SIZE_HW, bool), np.ones(SIZE_HW, np.float32)
    numbers = np.zeros(SIZE_HW, np.uint16)
    numbers[30:60, 40:90] = 1
    walls = np.zeros(SIZE_HW, np.uint8)
    walls[:, 64:] = 2
    return TeacherResult(
        {
            Task.SEMANTIC: Label(Task.SEMANTIC, walls, everywhere, sure, classes=("wall", "box", "door")),
            Task.INSTANCE: Label(
                Task.INSTANCE, numbers, everywhere, sure, classes=("box",), instance_classes={1: "box"}
            ),
        },
        [
            {"task": "semantic", "prompted_classes": asked},
            {"task": "instance", "class": "box", "prompted_classes": ["box"]},
        ],
    )


@pytest.mark.parametrize(("asked", "compared"), [(["wall", "door", "box"], True), (["wall", "door"], False)])
def test_a_class_outside_the_prompt_is_not_missing(asked: list[str], compared: bool) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (*SIZE_HW, 3)).astype(np.uint8)
    result = result_of(asked)
    score_result(Photo("a", "", b"", "png", rgb, "0" * 64, {}), result, QualityFilter())
    for record, task in zip(result.records, (Task.SEMANTIC, Task.INSTANCE), strict=True):
        assert ("cross_task" in record["quality_parts"]) is compared
        assert result.labels[task].classes == result_of(asked).labels[task].classes
    if compared:
        assert result.records[0]["quality_parts"]["cross_task"] < 0.8
        assert float(result.labels[Task.SEMANTIC].confidence[45, 65]) < 1


def test_a_label_below_the_minimum_quality_is_rejected() -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (*SIZE_HW, 3)).astype(np.uint8)
    result = result_of(["wall", "door", "box"])
    score_result(
        Photo("a", "", b"", "png", rgb, "0" * 64, {}), result, QualityFilter(min_quality={Task.SEMANTIC: 0.999})
    )
    assert set(result.labels) == {Task.INSTANCE}
    assert [record["task"] for record in result.records] == ["instance"]
    (failure,) = result.failures
    assert failure["kind"] == "rejected"
    assert "is below 1.00" in failure["reason"]


def depth_result(value: np.ndarray) -> TeacherResult:
    everywhere = np.ones(value.shape, bool)
    label = Label(Task.DEPTH, value.astype(np.float32), everywhere, np.full(value.shape, 0.3, np.float32))
    return TeacherResult({Task.DEPTH: label}, [{"task": "depth"}])


def scene() -> Photo:
    rgb = np.full((*SIZE_HW, 3), 60, np.uint8)
    rgb[20:70, 10:60], rgb[50:, 80:] = 200, 140
    return Photo("a", "", b"", "png", rgb, "0" * 64, {})


def test_a_label_that_says_nothing_is_rejected_by_default_and_scored_without_checks() -> None:
    flat = np.full(SIZE_HW, 3.0)
    result = depth_result(flat)
    score_result(scene(), result, QualityFilter())
    assert not result.labels
    assert "is below 0.05 (empty or constant)" in result.failures[0]["reason"]
    for rule in (None, QualityFilter(register=False), QualityFilter(min_quality={Task.DEPTH: 0.0})):
        result = depth_result(flat)
        score_result(scene(), result, rule, generated=False)
        assert result.records[0]["quality"] < 0.05
        assert Task.DEPTH in result.labels


def test_the_quality_is_no_confidence_and_the_confidence_stays_that_of_its_source() -> None:
    value = np.where(scene().rgb[..., 0] > 100, 2.0, 5.0)
    result = depth_result(value)
    score_result(scene(), result, QualityFilter(), generated=False)
    assert result.records[0]["quality"] > 0.8
    assert "color_validity" not in result.records[0]["quality_parts"]
    assert float(result.labels[Task.DEPTH].confidence.mean()) == pytest.approx(0.3)
    weighted = depth_result(value)
    score_result(scene(), weighted, QualityFilter(full_weight_above={Task.DEPTH: 1.0}), generated=False)
    assert float(weighted.labels[Task.DEPTH].confidence.mean()) < 0.3


def test_a_flat_label_of_one_surface_is_not_held_against_it() -> None:
    wall = Photo("a", "", b"", "png", np.full((*SIZE_HW, 3), 120, np.uint8), "0" * 64, {})
    result = depth_result(np.full(SIZE_HW, 3.0))
    score_result(wall, result, QualityFilter(), generated=False)
    assert result.records[0]["quality"] > 0.8


def test_a_label_that_was_brought_is_kept_by_default_with_a_remark() -> None:
    photo, flat = scene(), np.full(SIZE_HW, 20.0)
    result = depth_result(flat)
    score_result(photo, result, QualityFilter(), generated=False)
    assert result.labels
    assert result.records[0]["quality"] < 0.05
    (note,) = result.notes
    assert "is below 0.05" in note["reason"]
    assert "kept" in note["reason"]
    limited = depth_result(flat)
    score_result(photo, limited, QualityFilter(min_quality={Task.DEPTH: 0.05}), generated=False)
    assert not limited.labels
