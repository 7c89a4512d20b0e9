"""Json of samples with the same keys and types."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from distill.labels.sample_json import from_uniform, to_uniform
from distill.tasks import Task
from distill.teachers.quality.calibration import PARTS
from distill.teachers.registration.align import Registration

RECORD = {"task": "depth", "teacher": "t", "license": "MIT", "quality": 0.5, "cost_usd": 0.04}
METAS: list[dict[str, Any]] = [
    {"name": "a.jpg", "records": [RECORD], "instances": [], "referring": []},
    {
        "name": "b.jpg",
        "size_hw": [4, 5],
        "depth_kind": "metric",
        "origin": {"frame": 7},
        "records": [
            {**RECORD, "quality_parts": {"content": 1.0, "agreement": 0.25}, "notes": ["n"], "background": [0, 0, 0]},
            {**RECORD, "registration": json.loads(json.dumps(asdict(Registration((1.5, 0.0)))))},
        ],
        "instances": [{"id": 1, "class": "cup", "pixels": 9, "visible_pixels": 9, "covered": ""}],
        "referring": ["the man", "background"],
        "failures": [{"task": "normals", "kind": "rejected", "reason": "flat"}],
        "of_another_program": {"list": [1, None]},
    },
]


def signature(value: Any) -> Any:
    """Types of a json value, as a loader infers columns."""
    if isinstance(value, dict):
        return {name: signature(one) for name, one in sorted(value.items())}
    if isinstance(value, list):
        return [json.loads(one) for one in sorted({json.dumps(signature(one)) for one in value})]
    return type(value).__name__


def test_all_samples_have_the_same_keys_and_types() -> None:
    tasks = (Task.DEPTH, Task.INSTANCE, Task.REFERRING)
    first, second = (signature(to_uniform(meta, tasks)) for meta in METAS)
    assert first == second
    assert "NoneType" not in json.dumps(first) and "[]" not in json.dumps(first)


def test_lists_of_tasks_that_a_set_does_not_have_are_empty() -> None:
    values = to_uniform(METAS[0], (Task.DEPTH,))
    assert values["instances"] == values["referring"] == []


@pytest.mark.parametrize("meta", METAS)
@pytest.mark.parametrize("tasks", [(), (Task.INSTANCE, Task.REFERRING)])
def test_the_values_come_back(meta: dict[str, Any], tasks: tuple[Task, ...]) -> None:
    values = json.loads(json.dumps(to_uniform(meta, tasks)))
    assert from_uniform(values) == meta
    assert to_uniform(from_uniform(values), tasks) == values


@pytest.mark.parametrize(
    "meta",
    [
        {
            "records": [{"quality": True, "prompt": 3, "registration": {"shift_px": [1]}}],
            "instances": [],
            "referring": [],
        },
        {"name": 3, "size_hw": [1, 2, 3], "details": "no json", "records": [], "instances": [], "referring": []},
        {"details": {"a": 1}, "origin": {"path": "x"}, "records": [], "instances": [], "referring": []},
    ],
)
def test_values_of_other_types_are_kept(meta: dict[str, Any]) -> None:
    assert from_uniform(json.loads(json.dumps(to_uniform(meta, ())))) == meta


@pytest.mark.parametrize("meta", [{}, {"name": "a", "records": None, "instances": 7, "details": 5}, {"records": [1]}])
def test_json_of_other_programs_is_read(meta: dict[str, Any]) -> None:
    assert {name: from_uniform(meta).get(name) for name in meta} == meta


def test_all_parts_of_a_score_and_of_a_registration_have_a_key() -> None:
    record = to_uniform({}, ())["records"][0]
    assert set(record["quality_parts"]) == set(PARTS)
    assert set(record["registration"]) == set(asdict(Registration()))
