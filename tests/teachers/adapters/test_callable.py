"""Python functions as teachers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from distill.config import load_config
from distill.config.adapters import CallableConfig
from distill.errors import DistillError, UsageError
from distill.images import Photo
from distill.labels import Label
from distill.tasks import IGNORE_SEMANTIC, DepthKind, Task
from distill.teachers.adapters.callable import CallableSpecialist
from distill.teachers.factory import build_teacher
from distill.teachers.functions import find_function, source_digest

PHOTO = Photo("k", "k.png", b"", "png", np.full((12, 16, 3), 100, np.uint8), "", {})


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    made = ModuleType("some_teacher")
    monkeypatch.setitem(sys.modules, "some_teacher", made)
    return made


def predict(module: ModuleType, function: Callable[..., object], **config: object) -> list[Label]:
    setattr(module, "function", function)  # noqa: B010
    return CallableSpecialist(load_config(CallableConfig, {"function": "some_teacher:function", **config})).predict(
        PHOTO
    )


def test_depth_normals_and_classes_become_labels(module: ModuleType) -> None:
    def function(rgb: np.ndarray, far: float) -> dict[str, object]:
        height, width = rgb.shape[:2]
        normals = np.zeros((height, width, 3), np.float32)
        normals[..., 2] = -2.0  # toward the camera in OpenCV axes, not of unit length
        planes = np.zeros((3, height, width), np.float32)
        planes[2] = 5.0
        return {"depth": np.full((height, width), far), "normals": normals, "semantic": planes}

    outputs = [
        {"task": "depth", "depth_kind": "metric"},
        {"task": "normals", "frame": "opencv"},
        {
            "task": "semantic",
            "classes": ["road", "car"],
            "model_classes": ["road", "car", "truck"],
            "remap": {"truck": "car"},
        },
    ]
    depth, normals, semantic = predict(module, function, outputs=outputs, settings={"far": 7.5})
    assert depth.depth_kind is DepthKind.METRIC and np.allclose(depth.value, 7.5)
    assert np.allclose(normals.value, (0, 0, 1))
    assert (semantic.value == 1).all() and semantic.confidence.min() > 0.9


def test_ids_confidence_and_holes(module: ModuleType) -> None:
    def function(rgb: np.ndarray) -> dict[str, object]:
        ids = np.array([[0, 1], [255, 1]])
        depth = np.array([[1.0, np.nan], [2.0, 3.0]])
        return {"semantic": ids, "depth": depth, "depth_confidence": np.array([[0.5, 1], [0, 1]])}

    outputs = [{"task": "semantic", "classes": ["a", "b"]}, {"task": "depth"}]
    semantic, depth = predict(module, function, outputs=outputs)
    assert semantic.value.tolist() == [[0, 1], [IGNORE_SEMANTIC, 1]]
    assert depth.valid.tolist() == [[True, False], [False, True]]
    assert depth.confidence.tolist() == [[0.5, 0], [0, 1]]


def test_instances(module: ModuleType) -> None:
    def function(rgb: np.ndarray) -> dict[str, object]:
        return {"instance": np.array([[0, 1], [2, 2]]), "instance_classes": {1: "cat", 2: "dog"}}

    (label,) = predict(module, function, things=["cat", "dog"])
    assert label.instance_classes == {1: "cat", 2: "dog"}
    with pytest.raises(DistillError, match="not in things"):
        predict(module, function, things=["cat"])


def test_the_function_cannot_change_the_photo(module: ModuleType) -> None:
    def function(rgb: np.ndarray) -> dict[str, object]:
        rgb[:] = 0
        return {"depth": np.ones(rgb.shape[:2])}

    predict(module, function, outputs=[{"task": "depth"}])
    assert (PHOTO.rgb == 100).all()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "instead of a mapping"),
        ({}, "no map, but not depth"),
        ({"depth": np.ones(4)}, "shape"),
        ({"depth": np.ones((2, 2)), "depth_confidence": np.ones((3, 3))}, "depth_confidence is"),
    ],
)
def test_wrong_results_are_usage_errors(module: ModuleType, given: object, words: str) -> None:
    with pytest.raises(DistillError, match=words):
        predict(module, lambda rgb: given, outputs=[{"task": "depth"}])


def test_a_failing_function_costs_one_photo(module: ModuleType) -> None:
    def function(rgb: np.ndarray) -> None:
        raise ZeroDivisionError("oh")

    with pytest.raises(DistillError, match="some_teacher:function failed: ZeroDivisionError: oh") as caught:
        predict(module, function, outputs=[{"task": "depth"}])
    assert not isinstance(caught.value, UsageError)


@pytest.mark.parametrize("reference", ["nowhere_at_all:f", "math:nothing", "math:pi"])
def test_references_that_are_not_callable_are_refused(reference: str) -> None:
    with pytest.raises(UsageError, match=reference.replace(".", r"\.")):
        find_function(reference)


@pytest.mark.parametrize("function", ["math", "math:", ":f", "os.system", "a b:c", "a:b()"])
def test_only_references_are_accepted(function: str) -> None:
    with pytest.raises(UsageError, match=r"package\.module:function"):
        load_config(CallableConfig, {"function": function, "outputs": [{"task": "depth"}]})


def test_the_teacher_carries_license_and_terms(module: ModuleType) -> None:
    setattr(module, "function", lambda rgb: {"depth": np.ones(rgb.shape[:2])})  # noqa: B010
    config = load_config(
        CallableConfig,
        {
            "function": "some_teacher:function",
            "outputs": [{"task": "depth"}],
            "license": "MIT",
            "terms": "https://example.org",
        },
    )
    teacher = build_teacher(config, folder=Path())
    (result,) = teacher.label(PHOTO)
    assert (result.records[0]["license"], result.records[0]["terms"]) == ("MIT", "https://example.org")
    assert teacher.tasks == (Task.DEPTH,)


def test_another_source_file_changes_the_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "changing_teacher.py").write_text("def f(rgb): return {}\n")
    first = source_digest("changing_teacher:f")
    (tmp_path / "changing_teacher.py").write_text("def f(rgb): return {'depth': 1}\n")
    assert first and source_digest("changing_teacher:f") != first
