"""Maps are stored like labels; panels keep their places."""

from __future__ import annotations

import numpy as np
import pytest

from distill.export.inference.map_encoding import describe_maps, encode_outputs
from distill.export.inference.panels import MAX_PX, Panels
from distill.labels import decode
from distill.spec import SemanticSpec
from distill.tasks import Task
from tests.fakes.runner import CLASSES, SPEC, FakeRunner


def answers(size_hw: tuple[int, int]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    rgb = np.random.default_rng(1).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    return rgb, {name: value[0] for name, value in FakeRunner()(rgb[None]).items()}


def test_maps_are_read_back_as_labels() -> None:
    _, outputs = answers((20, 30))
    files = encode_outputs(outputs, SPEC, confidence=True)
    assert set(files) == {f"{task}{end}.png" for task in SPEC.dense_tasks for end in ("", ".confidence")}
    depth = decode(Task.DEPTH, files)
    assert np.allclose(depth.value, outputs["depth"], rtol=2e-3) and depth.valid.all()
    assert np.allclose(depth.confidence, 0.5, atol=1 / 255)
    normals = decode(Task.NORMALS, files)
    assert np.einsum("hwc,hwc->hw", normals.value, outputs["normals"]).min() > 0.9999
    assert np.array_equal(decode(Task.SEMANTIC, files).value, outputs["semantic"])


def test_what_is_no_number_is_stored_as_invalid() -> None:
    _, outputs = answers((8, 8))
    outputs["depth"][0, 0] = np.nan
    outputs["normals"][0, 1] = np.nan
    files = encode_outputs(outputs, SPEC)
    assert np.argwhere(~decode(Task.DEPTH, files).valid).tolist() == [[0, 0]]
    assert np.argwhere(~decode(Task.NORMALS, files).valid).tolist() == [[0, 1]]


def test_every_map_says_how_to_read_it() -> None:
    described = describe_maps(SPEC)
    assert set(described) == set(SPEC.dense_tasks) and described["semantic"]["classes"] == list(CLASSES)
    assert described["depth"]["unit"] == "m"


@pytest.mark.parametrize("size_hw", [(90, 160), (160, 90), (720, 1280), (40, 400), (33, 47)])
@pytest.mark.parametrize("tasks", [("depth",), ("depth", "semantic"), ("depth", "normals", "semantic")])
def test_the_photo_keeps_its_shape_and_place(size_hw: tuple[int, int], tasks: tuple[str, ...]) -> None:
    spec = SPEC.model_copy(update={name: None for name in ("depth", "normals", "semantic") if name not in tasks})
    panels = Panels(spec, size_hw)
    rgb, outputs = answers(size_hw)
    canvas = panels.draw(rgb, outputs)
    assert canvas.shape == (*panels.size_hw, 3) and canvas.dtype == np.uint8
    height, width = panels.panel_hw
    assert height / width == pytest.approx(size_hw[0] / size_hw[1], rel=0.05)
    assert height * width * (1 + len(tasks)) <= 1.1 * max(MAX_PX, size_hw[0] * size_hw[1])
    if panels.panel_hw == size_hw:
        top, left = panels._places[0]
        assert np.array_equal(canvas[top : top + height, left : left + width], rgb)


def test_a_canvas_can_be_painted_over() -> None:
    panels = Panels(SPEC, (60, 80))
    first, second = answers((60, 80)), (np.zeros((60, 80, 3), np.uint8), answers((60, 80))[1])
    canvas = panels.draw(*first)
    assert np.array_equal(panels.draw(*second, canvas), panels.draw(*second))


def test_one_task_lies_over_the_photo() -> None:
    rgb, outputs = answers((60, 80))
    panels = Panels(SPEC, (60, 80), Task.NORMALS)
    assert panels.size_hw == (60, 80)  # normals need no legend
    assert not np.array_equal(panels.draw(rgb, outputs), rgb)


def test_many_classes_get_no_legend() -> None:
    few = Panels(SPEC, (60, 80), Task.SEMANTIC).size_hw
    many = SPEC.model_copy(update={"semantic": SemanticSpec(classes=tuple(f"class {n}" for n in range(150)))})
    assert few[0] > 60 and Panels(many, (60, 80), Task.SEMANTIC).size_hw == (60, 80)
