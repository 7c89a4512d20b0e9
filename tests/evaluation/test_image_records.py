"""Stated confidence against measured error, image by image."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from distill.evaluation.image_records import ImageRecords
from distill.labels import Label
from distill.tasks import Task


class _Scorer:
    """A fake scorer that compares at the truth's size."""

    def scored_value(self, answer: Label, truth: Label) -> tuple[np.ndarray, np.ndarray]:
        return answer.value, answer.valid

    def counted(self, truth: Label, valid: np.ndarray) -> np.ndarray:
        return truth.valid & valid


class _Scores:
    """Fake scores of one task with one predictor."""

    task = Task.SEMANTIC
    scorers: ClassVar = {"student": _Scorer()}


def _label(ids: np.ndarray, confidence: np.ndarray) -> Label:
    return Label(Task.SEMANTIC, ids.astype(np.uint8), np.ones(ids.shape, bool), confidence, None, ("a", "b"))


def test_confidence_is_compared_with_the_error_of_the_same_pixels() -> None:
    truth = _label(np.zeros((60, 60)), np.ones((60, 60), np.float32))
    said, confidence = np.zeros((60, 60)), np.full((60, 60), 0.95, np.float32)
    said[:, 30:] = 1
    confidence[:, 30:] = 0.25
    records = ImageRecords(_Scores())
    records.add("photo", {"student": 0.5}, truth, {"student": _label(said, confidence)})
    records.add("other", {}, truth, {})
    low, high = records.reliability()
    assert (low["error"], high["error"]) == (1.0, 0.0)
    assert low["confidence"] == pytest.approx(0.25) and high["confidence"] == pytest.approx(0.95)
    assert [row["image"] for row in records.rows()] == ["photo", "other"]


def test_one_confidence_for_all_pixels_is_no_diagram() -> None:
    truth = _label(np.zeros((9, 9)), np.ones((9, 9), np.float32))
    records = ImageRecords(_Scores())
    records.add("photo", {"student": 0.0}, truth, {"student": truth})
    assert records.reliability() == []
