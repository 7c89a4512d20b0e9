"""Outputs of an engine against the spec."""

from __future__ import annotations

import numpy as np
import pytest

from distill.errors import DistillError
from distill.export.runners.base import Outputs, check_outputs
from distill.spec import InputSpec, SemanticSpec, StudentSpec

SPEC = StudentSpec(
    name="nano", backbone="resnet18", input=InputSpec(size_hw=(32, 32)), semantic=SemanticSpec(classes=("a", "b"))
)


def outputs(ids: int = 1, confidence: float = 0.5, shape: tuple[int, ...] = (1, 4, 6)) -> Outputs:
    values = {"semantic": np.full(shape, ids, np.int16), "semantic_confidence": np.full((1, 4, 6), confidence)}
    return {name: np.asarray(value) for name, value in values.items()}


@pytest.mark.parametrize("ids", [0, 1, 255])
def test_outputs_of_the_spec_are_accepted(ids: int) -> None:
    check_outputs(outputs(ids), SPEC, (1, 4, 6), "nano.onnx")


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (outputs(2), "semantic has ids beyond 1, the last of its spec"),
        (outputs(-1), "semantic has ids beyond 1"),
        (outputs(confidence=float("nan")), "confidence of semantic is not a number everywhere"),
        (outputs(shape=(1, 1, 1)), r"semantic has shape \(1, 1, 1\), not \(1, 4, 6\)"),
    ],
)
def test_other_outputs_are_refused(found: Outputs, sentence: str) -> None:
    with pytest.raises(DistillError, match=sentence):
        check_outputs(found, SPEC, (1, 4, 6), "nano.onnx")
