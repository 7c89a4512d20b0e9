"""YAML of others: values, errors with lines, aliases."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.config import read_yaml
from distill.config.yaml_text import YamlTextError, parse_yaml
from distill.errors import UsageError

BILLION = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def test_aliases_are_read_where_they_are_few() -> None:
    assert parse_yaml("base: &base {a: 1}\nother: {<<: *base, b: 2}\n") == {"base": {"a": 1}, "other": {"a": 1, "b": 2}}
    rows = [{"photo": f"{number}.jpg"} for number in range(300)]
    assert len(parse_yaml("\n".join(f"- photo: {row['photo']}" for row in rows))) == 300
    assert parse_yaml("") is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (BILLION, "aliases stand for more than 100,000 values"),
        (BILLION.replace("[1,", "[{x: 1},").replace("i: &i", "<<: &i"), "aliases stand for more"),
        ("a: &a [*a]", "aliases stand for more"),
        ("[" * 5000, "nested too deeply"),
        ("day: 2021-13-45", "month must be in 1..12"),
        ("number: " + "9" * 5000, "4300 digits"),
        ("x: !!int ''", "index out of range"),
        ("x: !!float 'abc'", "abc"),
        ("x: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: 1\na: 2", "line 2: the key 'a' is given twice"),
        ("a: [1, 2", "line 1: expected"),
        ("a: \x07", "special characters are not allowed"),
        ("? [a, b]\n: 1", "unhashable"),
    ],
)
def test_other_text_is_refused_in_one_line(text: str, problem: str) -> None:
    with pytest.raises(YamlTextError) as caught:
        parse_yaml(text)
    assert problem in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: 1\nb: ]\n")
    with pytest.raises(UsageError, match=r"a\.yaml, line 2: not valid YAML: "):
        read_yaml(path)
