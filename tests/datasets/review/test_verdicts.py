"""Files of verdicts: what is refused, in a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distill.datasets.review.verdicts import parse_verdicts, read_verdicts
from distill.errors import UsageError

GOOD: dict[str, Any] = {
    "format": 1,
    "reviewed": {"name": "set", "sha256": "0" * 64, "teachers": ["hand"]},
    "verdicts": [
        {
            "key": "a",
            "task": "depth",
            "verdict": "reject",
            "ignore_classes": ["car"],
            "ignore_regions": [[[0, 0], [1, 0], [1, 0.5]]],
            "quality": 0.5,
            "quality_parts": {"content": 1.0},
        }
    ],
}


def changed(path: str, value: Any) -> bytes:
    values = json.loads(json.dumps(GOOD))
    *groups, name = path.split(".")
    place = values
    for group in groups:
        place = place[int(group)] if group.isdigit() else place[group]
    place[name] = value
    return json.dumps(values).encode()


def test_reads_what_the_page_writes() -> None:
    (verdict,) = parse_verdicts(json.dumps(GOOD).encode(), "file").verdicts
    assert verdict.masks and verdict.ignore_regions == (((0, 0), (1, 0), (1, 0.5)),)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (changed("format", 2), "format"),
        (changed("reviewed.sha256", "../x"), "reviewed.sha256"),
        (changed("verdicts.0.verdict", "maybe"), "verdicts.0.verdict"),
        (changed("verdicts.0.task", "smell"), "verdicts.0.task"),
        (changed("verdicts.0.ignore_regions", [[[0, 0], [2, 0], [1, 1]]]), "verdicts.0.ignore_regions"),
        (changed("verdicts.0.ignore_regions", [[[0, 0], [1, 0]]]), "verdicts.0.ignore_regions"),
        (changed("verdicts.0.quality", float("nan")), "not a file of verdicts"),
        (changed("verdicts.0.code", "x"), "verdicts.0.code"),
        (changed("verdicts", GOOD["verdicts"] * 2), "two verdicts"),
        (b"[" * 100_000, "not a file of verdicts"),
        (b"verdicts", "not a file of verdicts"),
    ],
)
def test_what_is_wrong_is_named(data: bytes, words: str) -> None:
    with pytest.raises(UsageError, match=words) as error:
        parse_verdicts(data, "file")
    assert "distill review" in str(error.value.hint)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_verdicts(tmp_path / "none.json")
