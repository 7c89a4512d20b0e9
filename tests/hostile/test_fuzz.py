"""A few changed files of each reader; `python -m tests.hostile.fuzz --minutes 5` tries many."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.hostile.fuzz import TARGETS, check, example


@pytest.mark.parametrize("name", TARGETS)
def test_changed_files_lead_to_values_or_sentences(name: str, tmp_path: Path) -> None:
    target, rng = TARGETS[name], random.Random(0)
    for number in range(5 if name == "video" else 15):
        folder = tmp_path / str(number)
        folder.mkdir()
        check(target, example(target, rng), folder)


@pytest.mark.parametrize("name", TARGETS)
def test_the_files_that_are_changed_are_good(name: str, tmp_path: Path) -> None:
    import json

    target = TARGETS[name]
    for number, data in enumerate(target.seeds()):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = folder / target.name
        path.write_bytes(json.dumps(data).encode() if target.as_json else data)
        if name != "reply":  # one of them is an error
            target.read(path)
