"""What was found once is not looked for again, and nothing depends on the memory of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from distill.config.synthetic import FaultsRecipe, SyntheticRecipe
from distill.tasks import Task
from distill.teachers import answer_parser as reading
from distill.teachers.base import Answer, Question
from distill.teachers.factory import build_teacher
from distill.teachers.quality.filter import Checks
from distill.teachers.registration.align import Placement
from distill.teachers.registration.cache import Placements
from distill.teachers.synthetic.generator import scene_photo

RECIPE = SyntheticRecipe(
    size_hw=(96, 128), tasks=(Task.SEMANTIC, Task.NORMALS), faults=FaultsRecipe(drift_share=1.0, shift_px=9.0)
)


def test_another_threshold_looks_for_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = scene_photo(0, RECIPE)
    first = build_teacher(RECIPE, folder=tmp_path, checks=Checks(), store=tmp_path / "answers").teach(photo)[0]

    def looked(*_: object, **__: object) -> Placement:
        raise AssertionError("looked for again")

    monkeypatch.setattr(reading, "estimate", looked)
    strict = Checks(full_quality={Task.NORMALS: 1.0})
    again = build_teacher(RECIPE, folder=tmp_path, checks=strict, store=tmp_path / "answers", offline=True)
    second = again.teach(photo)[0]
    assert [record.get("placement") for record in second.records] == [
        record.get("placement") for record in first.records
    ]
    if Task.NORMALS in first.labels:
        assert second.labels[Task.NORMALS].confidence.sum() < first.labels[Task.NORMALS].confidence.sum()
    # The guard can fail: without the memory it is looked for again.
    with pytest.raises(AssertionError, match="looked for again"):
        build_teacher(RECIPE, folder=tmp_path, checks=strict).teach(photo)


def test_placements_come_back_as_they_were_and_only_for_their_own_answer(tmp_path: Path) -> None:
    photo, question = scene_photo(0, RECIPE), Question(Task.DEPTH)
    answer = Answer(question, b"bytes", "name", "model")
    placement = Placement(shift_px=(1.5, -2.0), zoom=1.01, residual_px=0.3, score=0.7)
    Placements(tmp_path).keep(photo, answer, question, placement)
    known = Placements(tmp_path)
    assert known.find(photo, answer, question) == placement
    assert known.find(photo, replace(answer, data=b"others"), question) is None
    assert known.find(photo, answer, replace(question, canvas="stretch")) is None


def test_a_damaged_memory_costs_time_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "placements.sqlite").write_bytes(b"no database at all" * 100)
    known = Placements(tmp_path)
    photo, question = scene_photo(0, RECIPE), Question(Task.DEPTH)
    answer = Answer(question, b"bytes", "name", "model")
    known.keep(photo, answer, question, Placement())
    assert known.find(photo, answer, question) is None
