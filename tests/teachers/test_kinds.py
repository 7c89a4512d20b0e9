"""Registry of teacher kinds."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import distill.teachers
from distill.config import load_config
from distill.config.adapters import CallableConfig
from distill.teachers.kinds import KINDS, Kind, kind_of, load_object


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_rows_can_be_imported(kind: Kind) -> None:
    references = [kind.builder, *filter(None, (kind.service, kind.own_photos))]
    assert all(callable(load_object(reference)) for reference in references)
    assert kind.config.model_fields["kind"].default == kind.name
    key = kind.required_key[0]
    assert not key or kind.config.model_fields[key].is_required()


def test_config_of_a_plugin_has_the_kind_of_its_type() -> None:
    values = {"kind": "brightness", "function": "mine:brightness", "outputs": [{"task": "depth"}]}
    assert kind_of(load_config(CallableConfig, values)) is KINDS["callable"]


def test_teachers_do_not_test_config_types() -> None:
    found = []
    for path in Path(distill.teachers.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
                names = {name.id for name in ast.walk(node.args[1]) if isinstance(name, ast.Name)}
                found += [f"{path.name}:{node.lineno}" for name in names if name.endswith("Config")]
    assert not found
