"""Depth maps of files: numbers that are no measurement."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distill.config import load_config
from distill.config.maps import MapConfig
from distill.errors import DistillError
from distill.tasks import Task
from distill.teachers.tasks import teacher_task


def load(stored: np.ndarray, **values: object) -> float:
    config = load_config(MapConfig, {"pattern": "{stem}.png", "scale": 0.001, **values})
    label = teacher_task(Task.DEPTH).label_from_file(stored, config, Path("map.png"))
    return float(label.valid.mean())


@pytest.mark.parametrize("share", [0.02, 0.6])
def test_the_largest_number_of_a_file_is_no_depth(share: float) -> None:
    stored = np.full((40, 50), 2500, np.uint16)
    stored[: max(1, int(40 * share))] = 65535
    with pytest.raises(DistillError, match="hold 65535") as caught:
        load(stored)
    assert "add 65535 to invalid" in str(caught.value.hint)
    assert load(stored, invalid=[0, 65535]) < 1
    assert load(stored, max_value=65.6) == 1


def test_a_few_of_the_largest_and_far_ones_are_depths() -> None:
    stored = np.full((40, 50), 2500, np.uint16)
    stored[0, :5] = 65535
    assert load(stored) == 1
    stored[:20] = 65535
    assert load(stored, scale=0.01) > 0  # 655 m: the sky of a rendered set
