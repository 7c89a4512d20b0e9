"""Conditions: what they mean, and that nothing else than a condition is read."""

from __future__ import annotations

from typing import Any

import pytest

from distill.datasets.operations.conditions import Field
from distill.datasets.operations.expression import parse
from distill.errors import UsageError

FIELDS = {
    "quality.depth": Field("number", lambda row: row.get("q")),
    "quality.normals": Field("number", lambda row: None),
    "name": Field("text", lambda row: row.get("name", "a/b.jpg")),
    "classes": Field("names", lambda row: row.get("classes"), ("car", "sky")),
    "license": Field("choice", lambda row: "mit", ("mit", "non-commercial"), lambda text: text.lower()),
    "share['car']": Field("number", lambda row: 0.5),
}
ROW: dict[str, Any] = {"q": 0.7, "classes": {"car"}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("quality.depth > 0.6", True),
        ("0.6 < quality.depth <= 0.7", True),
        ("quality.depth > 0.6 and 'sky' in classes", False),
        ("quality.depth < 0.6 or 'car' in classes", True),
        ("not ('sky' in classes)", True),
        ("'sky' not in classes", True),
        ("license == 'MIT'", True),
        ("license in ['mit', 'non-commercial']", True),
        ("'b.jpg' in name and name != 'c'", True),
        ("share['car'] >= 0.5", True),
        ("quality.depth > -1", True),
        ("quality.normals is None", True),
        ("quality.depth is not None", True),
        # Unknown values: neither the comparison nor its opposite is true.
        ("quality.normals > 0.5", None),
        ("not quality.normals > 0.5", None),
        ("quality.normals > 0.5 or quality.depth > 0.6", True),
        ("quality.normals > 0.5 and quality.depth > 0.9", False),
    ],
)
def test_conditions(text: str, value: bool | None) -> None:
    assert parse(text, FIELDS).condition(ROW) is value


def test_the_fields_in_use_are_known() -> None:
    assert parse("quality.depth > 0.6 and 'car' in classes", FIELDS).fields == {"quality.depth", "classes"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("qualty.depth > 0.6", r"no field qualty.depth .*did you mean quality.depth"),
        ("'carr' in classes", r"'carr' never occurs in classes .*did you mean car"),
        ("license != 'noncomercial'", r"never occurs in license .*did you mean non-commercial"),
        ("quality.depth > '0.6'", "is a number and '0.6' is a text"),
        ("classes == 'car'", "a list of names is compared with in"),
        ("quality.depth", "is a number and no condition"),
        ("1 < 2", "are no fields"),
        ("license < 'mit'", "names have no order"),
        ("quality.depth is True", "is not allowed"),
        ("quality.depth + 1 > 2", "is not allowed|are no fields"),
        ("__import__('os').system('true') == 0", "no fields|not allowed"),
        ("name.__class__ == 'x'", "no field name.__class__"),
        ("(lambda: 1)() == name", "not allowed"),
        ("[x for x in name] == name", "not allowed"),
        ("quality.depth > 0.6 and", "cannot be read"),
        ("x := 3", "cannot be read"),
        ("\0", "cannot be read"),
        ("(" * 900 + "name" + ")" * 900, "cannot be read|nested too deeply"),
        ("not " * 400 + "name == 'x'", "nested too deeply"),
        ("name == 'x' or " * 120 + "name == 'y'", "too long or nested too deeply"),
        ("name == '" + "x" * 3000 + "'", "at most 2000"),
        ("share[name] > 1", "not allowed|are no fields"),
        ("quality.depth > 1e999999 < name", "is a number|is a text"),
    ],
)
def test_everything_else_is_an_error_of_one_sentence(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(text, FIELDS)
