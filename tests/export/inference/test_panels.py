"""Panels of overlays keep their places."""

from __future__ import annotations

import numpy as np
import pytest

from distill.export.inference.panels import MAX_PX, Panels
from distill.spec import SemanticSpec
from distill.tasks import Task
from tests.fakes.runner import SPEC, FakeRunner


def answers(size_hw: tuple[int, int]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    rgb = np.random.default_rng(1).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    return rgb, {name: value[0] for name, value in FakeRunner()(rgb[None]).items()}


@pytest.mark.parametrize("size_hw", [(90, 160), (160, 90), (720, 1280), (40, 400), (33, 47)])
@pytest.mark.parametrize("tasks", [("depth",), ("depth", "semantic"), ("depth", "normals", "semantic")])
def test_the_image_keeps_shape_and_position(size_hw: tuple[int, int], tasks: tuple[str, ...]) -> None:
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


def test_a_canvas_can_be_reused() -> None:
    panels = Panels(SPEC, (60, 80))
    first, second = answers((60, 80)), (np.zeros((60, 80, 3), np.uint8), answers((60, 80))[1])
    canvas = panels.draw(*first)
    assert np.array_equal(panels.draw(*second, canvas), panels.draw(*second))


def test_one_task_is_blended_over_the_image() -> None:
    rgb, outputs = answers((60, 80))
    panels = Panels(SPEC, (60, 80), Task.NORMALS)
    assert panels.size_hw == (60, 80)  # normals need no legend
    assert not np.array_equal(panels.draw(rgb, outputs), rgb)


def test_many_classes_get_no_legend() -> None:
    few = Panels(SPEC, (60, 80), Task.SEMANTIC).size_hw
    many = SPEC.model_copy(update={"semantic": SemanticSpec(classes=tuple(f"class {n}" for n in range(150)))})
    assert few[0] > 60 and Panels(many, (60, 80), Task.SEMANTIC).size_hw == (60, 80)
