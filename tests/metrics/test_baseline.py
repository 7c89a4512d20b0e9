"""The mean baseline."""

from __future__ import annotations

import numpy as np
import pytest

from distill.errors import DistillError
from distill.labels import Label
from distill.metrics import MeanBaseline
from distill.tasks import DepthKind, Task


def _label(task: Task, value: np.ndarray, valid: np.ndarray | None = None, **more: object) -> Label:
    valid = np.ones(value.shape[:2], bool) if valid is None else valid
    depth_kind = more.pop("depth_kind", DepthKind.METRIC if task is Task.DEPTH else None)
    return Label(task, value, valid, valid.astype(np.float32), depth_kind=depth_kind, **more)


def test_depth_is_the_mean_of_what_was_valid() -> None:
    predictor = MeanBaseline((2, 2))
    hole = np.array([[True, True], [False, False]])
    predictor.update(_label(Task.DEPTH, np.full((2, 2), 2.0, np.float32)))
    predictor.update(_label(Task.DEPTH, np.full((2, 2), 6.0, np.float32), hole))
    np.testing.assert_allclose(predictor.predict(Task.DEPTH, (2, 2)), [[4, 4], [2, 2]])


def test_sky_does_not_pull_the_mean() -> None:
    predictor = MeanBaseline((1, 2))
    predictor.update(_label(Task.DEPTH, np.array([[2.0, 25_000.0]], np.float32)))
    np.testing.assert_allclose(predictor.predict(Task.DEPTH, (1, 2)), [[2, 2]])


def test_normals_are_the_mean_direction_at_unit_length() -> None:
    predictor = MeanBaseline((3, 3))
    for axis in (1, 2):
        normals = np.zeros((3, 3, 3), np.float32)
        normals[..., axis] = 1
        predictor.update(_label(Task.NORMALS, normals))
    found = predictor.predict(Task.NORMALS, (6, 9))
    np.testing.assert_allclose(found, np.broadcast_to([0, 0.5**0.5, 0.5**0.5], (6, 9, 3)), atol=1e-6)


def test_semantic_is_the_most_frequent_class() -> None:
    predictor = MeanBaseline((1, 2))
    for ids in ([[0, 1]], [[2, 1]], [[2, 255]]):
        ids_map = np.array(ids, np.uint8)
        predictor.update(_label(Task.SEMANTIC, ids_map, ids_map != 255, classes=("a", "b", "c")))
    np.testing.assert_array_equal(predictor.predict(Task.SEMANTIC, (2, 4)), [[2, 2, 1, 1]] * 2)


def test_labels_larger_than_the_grid_are_averaged() -> None:
    predictor = MeanBaseline((2, 2))
    value = np.kron(np.array([[1.0, 3.0], [5.0, 7.0]], np.float32), np.ones((8, 8), np.float32))
    predictor.update(_label(Task.DEPTH, value))
    np.testing.assert_allclose(predictor.predict(Task.DEPTH, (2, 2)), [[1, 3], [5, 7]])


def test_mixed_depth_kinds_and_unseen_tasks_are_refused() -> None:
    predictor = MeanBaseline((2, 2))
    predictor.update(_label(Task.DEPTH, np.ones((2, 2), np.float32)))
    with pytest.raises(DistillError, match="more than one depth kind"):
        predictor.update(_label(Task.DEPTH, np.ones((2, 2), np.float32), depth_kind=DepthKind.SCALE_INVARIANT))
    with pytest.raises(DistillError, match="seen no normals label"):
        predictor.predict(Task.NORMALS, (2, 2))
