"""Bounds of the evaluation: maps of many megapixels are scored at a part of their pixels, and it is stated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import distill
from distill.evaluation import evaluator
from distill.labels import Label
from distill.tasks import Task
from tests.builders.truth import SIZE_HW, make_label, make_shards


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


def instance_of(name: str, *, in_first_only: bool = False) -> list[list[Label]]:
    """Labels of three photos with one instance each, or only in the first one."""
    ids = np.zeros(SIZE_HW, np.uint16)
    ids[4:12, 4:12] = 1
    one = make_label(Task.INSTANCE, ids, classes=(name,), instance_classes={1: name})
    none = make_label(Task.INSTANCE, np.zeros(SIZE_HW, np.uint16), classes=(name,))
    return [[one], [none if in_first_only else one], [none if in_first_only else one]]


@pytest.mark.parametrize(
    ("answer", "first_only", "words"),
    [
        ("cat", False, ["cgF1 of answer is undefined: it needs photos with and without instances"]),
        ("dog", False, ["instances of dog are not scored: the truth has no such class", "cgF1 of answer is undefined"]),
        ("Cat", True, []),
    ],
)
def test_instances_that_are_not_scored_and_scores_without_a_value_are_said(
    tmp_path: Path, answer: str, first_only: bool, words: list[str]
) -> None:
    true, given = instance_of("cat", in_first_only=first_only), instance_of(answer, in_first_only=first_only)
    truth = make_shards(tmp_path / "truth", lambda index, rng: true[index], instance_classes=("cat",))
    answers = make_shards(tmp_path / "answer", lambda index, rng: given[index], instance_classes=(answer,))
    warnings = distill.evaluate(answers, truth).to_dict()["warnings"]
    found = [text for text in warnings if "few images" not in text]
    assert len(found) == len(words) and all(any(word in text for text in found) for word in words)
