"""Student specs: round trip, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill.errors import DistillError
from distill.spec import DepthSpec, InputSpec, SemanticSpec, StudentSpec, parse_spec, read_spec, write_spec

SPEC = StudentSpec(
    name="nano",
    backbone="test",
    input=InputSpec(size_hw=(64, 96)),
    depth=DepthSpec(),
    semantic=SemanticSpec(classes=("road", "car")),
)


def test_a_spec_comes_back_from_its_file(tmp_path: Path) -> None:
    write_spec(tmp_path / "spec.json", SPEC)
    assert read_spec(tmp_path / "spec.json") == SPEC
    assert SPEC.output_names == ("depth", "depth_confidence", "semantic", "semantic_confidence")


def test_a_spec_of_the_earlier_format_is_refused_with_the_next_step() -> None:
    old = {**json.loads(SPEC.to_json()), "format": 1, "earlier_key": 3}
    with pytest.raises(DistillError, match=r"run/spec.json: format 1 .* is not 2.*train the student again"):
        parse_spec(json.dumps(old), "run/spec.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a student spec: text"),
        (json.dumps({**json.loads(SPEC.to_json()), "name": "../escape"}), "not a student spec: name: .*plain name"),
        (json.dumps({**json.loads(SPEC.to_json()), "colour": 1}), "not a student spec: colour"),
    ],
)
def test_an_invalid_spec_names_the_key(text: str, message: str) -> None:
    with pytest.raises(DistillError, match=message):
        parse_spec(text, "spec.json")
