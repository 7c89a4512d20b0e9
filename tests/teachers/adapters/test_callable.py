"""Python functions as teachers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from distill.config import load_config
from distill.config.adapters import CallableConfig
from distill.errors import DistillError, UsageError
from distill.images import Photo
from distill.labels import Label
from distill.tasks import IGNORE_SEMANTIC, DepthKind, Task
from distill.teachers.adapters.callable import CallableSpecialist
from distill.teachers.factory import build_teacher
from distill.teachers.functions import find_function, source_digest
from distill.teachers.synthetic.traced_scene import photo_view

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


class Stubborn(BaseException):
    def __str__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize("error", [SystemExit(3), Stubborn(), MemoryError(), KeyError(), StopIteration("a\nb")])
def test_exceptions_of_any_class_cost_one_photo(module: ModuleType, error: BaseException) -> None:
    def function(rgb: np.ndarray) -> None:
        raise error

    with pytest.raises(DistillError, match=rf"k\.png: some_teacher:function failed: {type(error).__name__}"):
        predict(module, function, outputs=[{"task": "depth"}])


DEPTH = np.linspace(1, 5, 192, dtype=np.float32).reshape(12, 16)
IDS = (np.arange(192) % 2).reshape(12, 16)


def tensor(values: np.ndarray) -> object:
    torch = pytest.importorskip("torch")
    return torch.from_numpy(values).requires_grad_()


@pytest.mark.parametrize(
    "given",
    [
        DEPTH.tolist(),
        DEPTH[None],
        DEPTH[..., None],
        DEPTH[None, None],
        DEPTH.astype(np.float64),
        DEPTH[::2, ::2],
        Image.fromarray(DEPTH),
        tensor(DEPTH),
    ],
)
def test_maps_of_any_array_type(module: ModuleType, given: object) -> None:
    (label,) = predict(module, lambda rgb: {"depth": given}, outputs=[{"task": "depth"}])
    assert label.value.mean() == pytest.approx(DEPTH.mean(), rel=0.1) and label.valid.all()


@pytest.mark.parametrize(
    "given", [IDS, IDS > 0, IDS.astype(np.float32), IDS.astype(np.uint8)[None], Image.fromarray(IDS > 0)]
)
def test_ids_of_any_array_type(module: ModuleType, given: object) -> None:
    (label,) = predict(module, lambda rgb: {"semantic": given}, outputs=[{"task": "semantic", "classes": ["a", "b"]}])
    assert (label.value == IDS).all()


NORMALS = np.broadcast_to(np.float32([0, 0, 1]), (12, 16, 3))
SCORES = np.random.default_rng(0).normal(size=(2, 12, 16)).astype(np.float32)
PROBABILITIES = np.stack([0.3 + 0 * DEPTH, 0.7 + 0 * DEPTH])
TWO = {"task": "semantic", "classes": ["a", "b"]}


@pytest.mark.parametrize(
    ("output", "given", "words"),
    [
        ({"task": "depth"}, None, "NoneType of object"),
        ({"task": "depth"}, "depth.png", "str of <U9"),
        ({"task": "depth"}, (DEPTH, IDS[:3]), "tuple that is no array"),
        ({"task": "depth"}, DEPTH.T, "height and width swapped"),
        ({"task": "depth"}, np.ones((96, 96)), "another shape.*resize_mode"),
        ({"task": "depth"}, DEPTH * 1000, "beyond 90 m.*return meters"),
        ({"task": "depth"}, DEPTH + 1j, "complex64"),
        ({"task": "depth"}, np.ones((12, 16, 3)), "12 channels instead of 1"),
        ({"task": "normals"}, NORMALS.transpose(2, 0, 1), r"\(3, 12, 16\), channel first"),
        ({"task": "normals"}, np.full((12, 16, 3), (128, 128, 255), np.uint8), "normals are colors"),
        ({"task": "normals"}, np.full((12, 16, 3), (0.5, 0.5, 1)), "normals are colors"),
        ({"task": "normals", "frame": "opencv"}, NORMALS, "away from the camera"),
        (TWO, IDS * 255, r"255 \(50"),
        (TWO, IDS * 7, r"id 7 \(50"),
        (TWO, -IDS, r"id -1 \(50"),
        (TWO, IDS * 300, r"id 300 \(50"),
        (TWO, IDS * 0.5, "whole numbers"),
        (TWO, SCORES.transpose(1, 2, 0), "last axis"),
        (TWO, SCORES.round().astype(int), "values: ids"),
        (TWO, PROBABILITIES, "values: probabilities"),
        ({**TWO, "values": "probabilities"}, SCORES, "values: logits"),
        (TWO, np.zeros((3, 12, 16), np.float32), "3 channels instead of 2"),
    ],
)
def test_maps_that_cannot_be_meant_are_refused(
    module: ModuleType, output: dict[str, object], given: object, words: str
) -> None:
    with pytest.raises(DistillError, match=rf"some_teacher:function.*{words}"):
        predict(module, lambda rgb: {str(output["task"]): given}, outputs=[output])


def test_a_square_map_covers_the_photo_if_the_output_states_it(module: ModuleType) -> None:
    output = {"task": "depth", "resize_mode": "fill"}
    (label,) = predict(module, lambda rgb: {"depth": np.full((96, 96), 2.0)}, outputs=[output])
    assert label.size_hw == (12, 16) and label.valid.all()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"instance": IDS * 1.5}, "whole numbers"),
        ({"instance": IDS[None].repeat(3, 0)}, "shape"),
        ({"instance": -IDS}, "-1 is no number"),
        ({"instance": IDS, "instance_classes": {}}, "instance 1 has no entry"),
        ({"instance": IDS, "instance_classes": 3}, "instance_classes is a int"),
    ],
)
def test_instances_that_cannot_be_meant_are_refused(module: ModuleType, given: object, words: str) -> None:
    with pytest.raises(DistillError, match=words):
        predict(module, lambda rgb: given, things=["cat", "dog"])


def test_normals_in_other_axes_than_the_depth_are_refused(module: ModuleType) -> None:
    view = photo_view(0, 3, (96, 128))
    truth = view.trace()
    photo = replace(PHOTO, rgb=np.zeros((96, 128, 3), np.uint8))

    def given(rgb: np.ndarray) -> dict[str, object]:
        return {"depth": truth.depth_m, "normals": truth.normals}

    setattr(module, "function", given)  # noqa: B010
    outputs = [{"task": "depth"}, {"task": "normals", "frame": "directx"}]
    values = {"function": "some_teacher:function", "outputs": outputs}
    with pytest.raises(DistillError, match="frame: opengl instead of directx"):
        CallableSpecialist(load_config(CallableConfig, values)).predict(photo)
