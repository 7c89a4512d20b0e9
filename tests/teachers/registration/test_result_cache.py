"""Registrations are computed once; the cache never changes results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from distill.config.synthetic import FaultsConfig, SyntheticConfig
from distill.tasks import Task
from distill.teachers import answer_parser as reading
from distill.teachers.base import GeneratedImage, PromptSpec
from distill.teachers.factory import build_teacher
from distill.teachers.quality.filter import QualityFilter
from distill.teachers.registration.align import Registration
from distill.teachers.registration.result_cache import RegistrationCache
from distill.teachers.synthetic.generator import scene_photo

CONFIG = SyntheticConfig(
    size_hw=(96, 128), tasks=(Task.SEMANTIC, Task.NORMALS), faults=FaultsConfig(drift_probability=1.0, shift_px=9.0)
)


def test_another_threshold_uses_cached_registrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = scene_photo(0, CONFIG)
    first = build_teacher(CONFIG, folder=tmp_path, quality_filter=QualityFilter(), store=tmp_path / "answers").label(
        photo
    )[0]

    def looked(*_: object, **__: object) -> Registration:
        raise AssertionError("looked for again")

    monkeypatch.setattr(reading, "estimate_registration", looked)
    strict = QualityFilter(full_weight_above={Task.NORMALS: 1.0})
    again = build_teacher(CONFIG, folder=tmp_path, quality_filter=strict, store=tmp_path / "answers", offline=True)
    second = again.label(photo)[0]
    assert [record.get("registration") for record in second.records] == [
        record.get("registration") for record in first.records
    ]
    assert second.labels[Task.NORMALS].confidence.sum() < first.labels[Task.NORMALS].confidence.sum()
    # The guard can fail: without the memory it is looked for again.
    with pytest.raises(AssertionError, match="looked for again"):
        build_teacher(CONFIG, folder=tmp_path, quality_filter=strict).label(photo)


def test_cached_registrations_belong_to_their_image(tmp_path: Path) -> None:
    photo, prompt_spec = scene_photo(0, CONFIG), PromptSpec(Task.DEPTH)
    answer = GeneratedImage(prompt_spec, b"bytes", "name", "model")
    registration = Registration(shift_px=(1.5, -2.0), zoom=1.01, residual_px=0.3, score=0.7)
    RegistrationCache(tmp_path).put(photo, answer, prompt_spec, registration)
    known = RegistrationCache(tmp_path)
    assert known.get(photo, answer, prompt_spec) == registration
    assert known.get(photo, replace(answer, data=b"others"), prompt_spec) is None
    assert known.get(photo, answer, replace(prompt_spec, resize_mode="fill")) is None


def test_a_damaged_cache_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "registration.sqlite").write_bytes(b"no database at all" * 100)
    known = RegistrationCache(tmp_path)
    photo, prompt_spec = scene_photo(0, CONFIG), PromptSpec(Task.DEPTH)
    answer = GeneratedImage(prompt_spec, b"bytes", "name", "model")
    known.put(photo, answer, prompt_spec, Registration())
    assert known.get(photo, answer, prompt_spec) is None
