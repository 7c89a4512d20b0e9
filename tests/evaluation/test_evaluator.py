"""Bounds of the evaluation: maps of many megapixels are scored at a part of their pixels, and it is stated."""

from __future__ import annotations

import numpy as np
import pytest

from distill.evaluation import evaluator
from distill.labels import Label
from distill.tasks import Task


@pytest.mark.parametrize(
    ("size_hw", "scored_hw"), [((10, 10), (10, 10)), ((10, 11), (5, 5)), ((1, 500), (1, 166)), ((41, 99), (5, 14))]
)
def test_large_truth_is_scored_at_some_rows_and_columns(
    size_hw: tuple[int, int], scored_hw: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluator, "MAX_PIXELS", 100)
    values = np.arange(np.prod(size_hw), dtype=np.float32).reshape(size_hw)
    label = Label(Task.DEPTH, values, values >= 0, np.ones(size_hw, np.float32))
    warnings: list[str] = []
    found = evaluator._bounded(label, "a.jpg", warnings)
    assert found.size_hw == scored_hw and np.isin(found.value, values).all()
    assert bool(warnings) == (size_hw != scored_hw)
    assert all("a.jpg: its depth has" in text and "row and column is scored" in text for text in warnings)
