"""Student specs: round trip, refusals."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

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


_BACKTICKS = "`id`"


@pytest.mark.parametrize(
    "changes",
    [
        *(
            {"name": name}
            for name in ("nano$(id)", "a;b", _BACKTICKS, "a|b", "a\nb", "-rf", "a'b", 'a"b', "~", "a b ", "..")
        ),
        *({"input": {"name": name}} for name in ("x;id", "$(id)", "", "a b", "1x", "x" * 65)),
        *({"input": {"size_hw": size}} for size in ([0, 64], [64, -1], [64, 10**9], [64])),
        {"input": {"max_batch": 0}},
        {"input": {"fixed_size_hw": [10**6, 10**6]}},
        {"backbone": "a/../../b c"},
        {"semantic": {"classes": []}},
        {"semantic": {"classes": [f"c{number}" for number in range(256)]}},
        {"semantic": {"classes": ["x" * 201]}},
        {"semantic": {"classes": [""]}},
        {"semantic": {"classes": "car"}},
        {"instance": {"classes": ["absent"], "max_instances": 8}},
        {"depth": {"max_depth_m": "inf"}},
        {"depth": {"max_depth_m": -1}},
        {"licenses": ["x" * 20_001]},
        {"provenance": {"key": 5}},
        {"licenses": 5},
    ],
)
def test_foreign_values_of_a_spec_are_refused_in_one_sentence(changes: dict[str, Any]) -> None:
    values = json.loads(SPEC.to_json())
    for key, value in changes.items():
        values[key] = {**(values.get(key) or {}), **value} if isinstance(value, dict) else value
    with pytest.raises(DistillError, match=r"spec.json: not a student spec") as caught:
        parse_spec(json.dumps(values), "spec.json")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("name", ["nano", "nano_v2", "Tiefe-2", "straße", "a.b", "a b", "é"])
def test_ordinary_names_of_students_are_accepted(name: str) -> None:
    assert parse_spec(json.dumps({**json.loads(SPEC.to_json()), "name": name}), "spec.json").name == name


def test_a_spec_that_is_not_a_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "spec.json")
    with pytest.raises(DistillError, match="not a regular file"):
        read_spec(tmp_path / "spec.json")
