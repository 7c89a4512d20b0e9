"""Drawers of label maps, by task."""

from __future__ import annotations

import numpy as np
import pytest

from distill.tasks import TASKS, Task
from distill.visualization.colormaps import INVALID_RGB
from distill.visualization.label_drawers import DRAWERS, DrawingFacts, drawer_of


def test_every_task_has_a_drawer() -> None:
    assert {info.drawing for info in TASKS.values()} <= set(DRAWERS)


def test_edges_are_yellow_over_a_dimmed_photo() -> None:
    photo = np.full((4, 6, 3), 200, np.uint8)
    probability = np.zeros((4, 6), np.float32)
    probability[1, 2], probability[2, 2] = 1.0, np.nan
    drawn = drawer_of(Task.EDGES).draw_over(photo, probability, DrawingFacts())
    assert drawn[1, 2].tolist() == [255, 214, 0]
    assert np.abs(drawn[0, 0].astype(int) - 120).max() <= 1  # 0.6 of the photo
    assert (drawn[2, 2] == drawn[0, 0]).all()  # a value that is not finite is no edge


def test_edges_alone_are_gray_and_invalid_pixels_marked() -> None:
    probability = np.array([[0.0, 0.5, 1.0]], np.float32)
    valid = np.array([[True, True, False]])
    drawn = drawer_of(Task.EDGES).draw(probability, valid, DrawingFacts())
    assert drawn[0, 0].tolist() == [0, 0, 0] and drawn[0, 1].tolist() == [128, 128, 128]
    assert tuple(drawn[0, 2]) == INVALID_RGB


@pytest.mark.parametrize("task", list(Task))
def test_a_legend_never_changes_the_width(task: Task) -> None:
    image = np.zeros((40, 120, 3), np.uint8)
    facts = DrawingFacts(classes=("road", "car"))
    assert drawer_of(task).add_legend(image, facts).shape[1] == 120
