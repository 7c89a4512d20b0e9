"""Answer store: keys, round trip, damage, offline, full disk, format."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.config.synthetic import SyntheticConfig
from distill.errors import DistillError, UsageError
from distill.files import write_atomic
from distill.images import Photo, encode_map, read_photo
from distill.tasks import Task
from distill.teachers.base import ContentRefused, GeneratedImage, PromptSpec
from distill.teachers.factory import build_teacher
from distill.teachers.labeling.job import Job
from distill.teachers.store import answers
from distill.teachers.store.answers import AnswerStore
from distill.teachers.store.caching_generator import CachingGenerator
from distill.teachers.store.ledger import Ledger
from distill.teachers.store.maintenance import collect_garbage, export_answers, verify
from distill.teachers.store.records import (
    EMPTY,
    IMAGE,
    REFUSED,
    AnswerCorrupt,
    AnswerKey,
    AnswerMissing,
    StoreFull,
    sniff_suffix,
)
from distill.teachers.synthetic.generator import SyntheticGenerator, scene_photo
from distill.workflows.label.run import run_label

PNG = encode_map(np.zeros((8, 8, 3), np.uint8))
PHOTO = read_photo(PNG, key="a", name="a.png")
ANSWER_KEY = AnswerKey("ab" * 32, "Draw the depth.", "editor-1", {"size": [1, 2]}, 3, 1)
PROMPT_SPEC = PromptSpec(Task.SEMANTIC, "Draw.", legend={"b": (1, 2, 3), "a": (4, 5, 6)})


class CountingGenerator:
    """Records its prompts; refuses those that contain "refuse"."""

    model = "counting-1"

    def __init__(self) -> None:
        self.prompts: list[tuple[str, int, int]] = []

    def prompt_specs(self, photo: Photo) -> list[PromptSpec]:
        return [PROMPT_SPEC]

    def parameters(self, photo: Photo, prompt_spec: PromptSpec) -> dict[str, Any]:
        return {}

    def generate(self, photo: Photo, prompt_spec: PromptSpec, *, seed: int, sample: int = 0) -> GeneratedImage:
        self.prompts.append((prompt_spec.prompt, seed, sample))
        if "refuse" in prompt_spec.prompt:
            raise ContentRefused("I will not")
        return GeneratedImage(prompt_spec, PNG, "fresh", self.model, cost_usd=0.5, seed=seed)


@given(st.sampled_from(["photo_sha256", "prompt", "model", "parameters", "seed", "sample"]), st.integers(4, 99))
def test_key_depends_on_all_its_parts(part: str, value: int) -> None:
    changed = {"x": value} if part == "parameters" else value if part in ("seed", "sample") else str(value)
    assert replace(ANSWER_KEY, **{part: changed}).digest != ANSWER_KEY.digest
    assert replace(ANSWER_KEY).digest == ANSWER_KEY.digest


def test_answer_round_trip(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path)
    assert store.get(ANSWER_KEY.digest) is None
    kept = store.put(ANSWER_KEY, IMAGE, PNG, prompt_spec=PROMPT_SPEC, cost_usd=0.25, model_version="editor-1.2")
    found = AnswerStore(tmp_path).get(ANSWER_KEY.digest)
    assert found is not None and found.data == PNG and found.meta == json.loads(json.dumps(kept.meta))
    answer = found.answer(PROMPT_SPEC)
    assert (answer.cost_usd, answer.model, answer.seed) == (0.25, "editor-1.2", 3)
    assert list(store.all_keys()) == [ANSWER_KEY.digest]
    assert found.meta["prompt_spec"]["legend"] == [["b", [1, 2, 3]], ["a", [4, 5, 6]]]


@pytest.mark.parametrize(("kind", "error"), [(REFUSED, ContentRefused), (EMPTY, DistillError)])
def test_stored_answer_without_an_image_raises_its_reason(tmp_path: Path, kind: str, error: type[Exception]) -> None:
    AnswerStore(tmp_path).put(ANSWER_KEY, kind, reason="blocked for safety")
    with pytest.raises(error, match="blocked for safety"):
        AnswerStore(tmp_path).get(ANSWER_KEY.digest).answer(PROMPT_SPEC)


def test_image_without_a_record_is_no_answer(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path)
    store.put(ANSWER_KEY, IMAGE, PNG)
    (
        tmp_path / ANSWER_KEY.digest[:2] / f"{ANSWER_KEY.digest}.json"
    ).unlink()  # as a kill between the two files leaves it
    assert store.get(ANSWER_KEY.digest) is None and not store.contains(ANSWER_KEY.digest)


def test_damaged_answer_is_an_error(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path)
    store.put(ANSWER_KEY, IMAGE, PNG)
    path = tmp_path / ANSWER_KEY.digest[:2] / f"{ANSWER_KEY.digest}.png"
    path.write_bytes(PNG[:-1] + b"x")
    with pytest.raises(DistillError, match="damaged"):
        store.get(ANSWER_KEY.digest)


def test_generator_runs_once_per_prompt_and_sample(tmp_path: Path) -> None:
    counting = CountingGenerator()
    for _ in range(2):
        generator = CachingGenerator(counting, AnswerStore(tmp_path), license="test")
        for sample in (0, 1):
            assert generator.generate(PHOTO, PROMPT_SPEC, seed=7, sample=sample).data == PNG
        for _ in range(2):
            with pytest.raises(ContentRefused, match="I will not"):
                generator.generate(PHOTO, replace(PROMPT_SPEC, prompt="refuse this"), seed=7)
    assert counting.prompts == [("Draw.", 7, 0), ("Draw.", 7, 1), ("refuse this", 7, 0)]


def test_changed_decoding_uses_the_stored_image(tmp_path: Path) -> None:
    counting = CountingGenerator()
    generator = CachingGenerator(counting, AnswerStore(tmp_path))
    generator.generate(PHOTO, PROMPT_SPEC, seed=0)
    generator.generate(PHOTO, replace(PROMPT_SPEC, resize_mode="fill", frame="opencv"), seed=0)
    assert len(counting.prompts) == 1


def test_offline_does_not_run_the_generator(tmp_path: Path) -> None:
    counting = CountingGenerator()
    with pytest.raises(AnswerMissing, match="no answer is stored"):
        CachingGenerator(counting, AnswerStore(tmp_path), cached_only=True).generate(PHOTO, PROMPT_SPEC, seed=0)
    assert counting.prompts == []


def test_new_and_stored_images_give_the_same_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = SyntheticConfig(scenes=2, size_hw=(48, 64), faults="moderate")
    photo = scene_photo(0, config)
    fresh = build_teacher(config, folder=tmp_path, store=tmp_path / "answers").label(photo)
    monkeypatch.setattr(SyntheticGenerator, "generate", None)
    again = build_teacher(config, folder=tmp_path, store=tmp_path / "answers", offline=True).label(photo)
    assert [teacher_result.records for teacher_result in fresh] == [teacher_result.records for teacher_result in again]
    assert [teacher_result.failures for teacher_result in fresh] == [
        teacher_result.failures for teacher_result in again
    ]
    for one, other in zip(fresh, again, strict=True):
        assert all(np.array_equal(label.value, other.labels[task].value) for task, label in one.labels.items())


@pytest.mark.parametrize(
    ("data", "suffix"), [(PNG, "png"), (b"\xff\xd8\xff\xe0", "jpg"), (b"RIFF1234WEBPVP8", "webp"), (b"<html>", "bin")]
)
def test_suffix_follows_from_the_bytes(data: bytes, suffix: str) -> None:
    assert sniff_suffix(data) == suffix


def test_damaged_image_is_generated_again(tmp_path: Path) -> None:
    counting, store = CountingGenerator(), AnswerStore(tmp_path)
    generator = CachingGenerator(counting, store)
    generator.generate(PHOTO, PROMPT_SPEC, seed=0)
    (key,) = store.all_keys()
    for damage in (store.path(store.get(key)), tmp_path / key[:2] / f"{key}.json"):
        damage.write_bytes(b"{")
        with pytest.raises(DistillError, match=r"damaged|cannot be read"):
            CachingGenerator(counting, store, cached_only=True).generate(PHOTO, PROMPT_SPEC, seed=0)
        assert generator.generate(PHOTO, PROMPT_SPEC, seed=0).data == PNG
        assert store.get(key) is not None
    assert len(counting.prompts) == 3


def test_full_disk_stops_the_run_and_it_can_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = SyntheticConfig(scenes=3, size_hw=(48, 64))
    job = Job(out=tmp_path / "out", config=config, folder=tmp_path, inputs=(), store=tmp_path / "answers")
    kept: list[Any] = []

    def write(path: Path, data: bytes, *, private: bool) -> None:
        if len(kept) == 5:
            raise DistillError(f"{path}: cannot be written: No space left on device", hint="free space")
        kept.append(path)
        write_atomic(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(answers, "write_atomic", write)
        with pytest.raises(StoreFull, match="No space left") as caught:
            run_label(job, workers=1)
    assert "run the same command again" in caught.value.hint
    assert not list((tmp_path / "out").glob("shard-*"))
    assert {path.name for path in (tmp_path / "out").glob(".stats/*")} <= {"lock", "plan.json"}
    result = run_label(job, workers=1).to_dict()
    assert result["complete"] and sum(result["labels"].values()) == 9 and not result["unanswered"]


def test_store_of_another_version_is_refused(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path)
    path = store.path(store.put(ANSWER_KEY, IMAGE, PNG)).with_suffix(".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 1}))
    with pytest.raises(UsageError, match="holds answers of format 1, and this version of distill reads format 2"):
        AnswerStore(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"bytes": "x"},
        {"bytes": -1},
        {"bytes": 10**30},
        {"kind": "program"},
        {"suffix": "../../x"},
        {"sha256": 5},
        {"cost_usd": -100.0},
        {"cost_usd": "NaN"},
        {"answer_key": [1]},
        {"photo": ["a"]},
        {"license": None},
    ],
)
def test_a_foreign_record_is_a_damaged_answer(tmp_path: Path, changes: dict[str, Any]) -> None:
    store = AnswerStore(tmp_path)
    meta = store.put(ANSWER_KEY, IMAGE, PNG).meta
    path = tmp_path / ANSWER_KEY.digest[:2] / f"{ANSWER_KEY.digest}.json"
    path.write_text(json.dumps({**meta, **changes}))
    with pytest.raises(AnswerCorrupt, match="not the record of an answer"):
        store.get(ANSWER_KEY.digest)
    assert verify(store).damaged and collect_garbage(store, forget=("damaged",), apply=False)["damaged"] == 1


def test_links_of_a_foreign_store_are_neither_read_nor_followed(tmp_path: Path) -> None:
    outside, store = tmp_path / "outside", AnswerStore(tmp_path / "store")
    outside.mkdir()
    (outside / "private.png").write_bytes(PNG)
    (outside / f"{'e' * 64}.png").write_bytes(b"not ours")
    meta = store.put(ANSWER_KEY, IMAGE, PNG).meta
    image = store.folder / ANSWER_KEY.digest[:2] / f"{ANSWER_KEY.digest}.png"
    image.unlink()
    image.symlink_to(outside / "private.png")
    (store.folder / "ee").symlink_to(outside)
    (store.folder / "batches").symlink_to(outside)
    with pytest.raises(AnswerCorrupt, match="a link"):
        store.get(ANSWER_KEY.digest)
    image.with_suffix(".json").write_text(json.dumps({**meta, "bytes": 0}))
    with pytest.raises(AnswerCorrupt, match="damaged"):
        store.get(ANSWER_KEY.digest)
    assert export_answers(store, tmp_path / "out")["answers"] == 0 and not list((tmp_path / "out/answers").iterdir())
    collect_garbage(store, forget=("damaged",), apply=True)
    assert {path.name for path in outside.iterdir()} == {"private.png", f"{'e' * 64}.png"}


def test_paid_answers_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path / "answers")
    store.put(ANSWER_KEY, IMAGE, PNG)
    Ledger(store.folder).close()
    assert store.folder.stat().st_mode & 0o777 == 0o700
    files = [path for path in store.folder.rglob("*") if path.is_file()]
    assert len(files) >= 3 and all(path.stat().st_mode & 0o077 == 0 for path in files)
