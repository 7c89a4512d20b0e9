"""Several answers to one question: asked in different ways, read back, fused, and paid for once each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distill.config.adapters import ReplayRecipe
from distill.config.synthetic import FaultsRecipe, SyntheticRecipe
from distill.errors import DistillError, UsageError
from distill.images import Photo, encode_map, read_photo
from distill.tasks import Task
from distill.teachers.base import Answer, Question, Refusal
from distill.teachers.factory import build_teacher
from distill.teachers.generative import PaintingTeacher
from distill.teachers.prompts.templates import BACKGROUND, referring_question, semantic_question
from distill.teachers.prompts.variants import ONCE, Asking, mirrored_photo
from distill.teachers.quality.filter import Checks
from distill.teachers.quality.label_error import judge
from distill.teachers.synthetic.generator import SyntheticTruth, scene_photo

SIZE_HW = (96, 128)
RECIPE = SyntheticRecipe(size_hw=SIZE_HW)


def test_the_plain_question_comes_first_and_each_sample_has_its_seed() -> None:
    question = semantic_question(["a", "b", "c"])
    variants = Asking(samples=3, flip=True).variants(question)
    assert variants[0].question == question and not variants[0].mirrored
    assert [variant.sample for variant in variants] == [0, 0, 1, 1, 2, 2]
    assert [variant.mirrored for variant in variants] == [False, True] * 3
    legends = {tuple(variant.question.legend.items()) for variant in variants}
    assert len(legends) == 3
    assert {frozenset(variant.question.legend.values()) for variant in variants} == {
        frozenset(question.legend.values())
    }


def test_words_that_may_say_left_are_not_asked_about_the_mirrored_photo() -> None:
    assert len(Asking(flip=True).variants(referring_question(["the left cat"]))) == 1


@pytest.mark.parametrize("task", [Task.DEPTH, Task.NORMALS, Task.SEMANTIC])
def test_answers_about_the_mirrored_photo_come_back_the_right_way_round(task: Task) -> None:
    photo = scene_photo(3, RECIPE)
    recipe = RECIPE.model_copy(update={"tasks": (task,)})
    teacher = build_teacher(recipe, folder=Path(), asking=Asking(flip=True))
    (lesson,) = teacher.teach(photo)
    (truth,) = SyntheticTruth(recipe).predict(photo)
    verdict = judge(lesson.labels[task], truth)
    assert verdict is not None and verdict.right[verdict.known].mean() > 0.97
    assert lesson.records[0]["agreement"] > 0.9
    assert [answer.get("mirrored", False) for answer in lesson.records[0]["answers"]] == [False, True]


def test_votes_over_permuted_legends_cancel_wrong_colors() -> None:
    faults = FaultsRecipe(wrong_legend_share=0.7)
    recipe = RECIPE.model_copy(update={"tasks": (Task.SEMANTIC,), "faults": faults})

    def wrong(asking: Asking) -> float:
        errors = []
        for index in range(6):
            photo = scene_photo(index, recipe)
            (lesson,) = build_teacher(recipe, folder=Path(), asking=asking).teach(photo)
            verdict = judge(lesson.labels[Task.SEMANTIC], SyntheticTruth(recipe).predict(photo)[0])
            assert verdict is not None
            errors.append(float((~verdict.right)[verdict.known].mean()))
        return float(np.mean(errors))

    assert wrong(Asking(samples=5)) < 0.5 * wrong(ONCE)


class Fickle:
    """A named fake: its first answer is right, the next ones are whatever a test says."""

    def __init__(self, later: list[np.ndarray | DistillError]) -> None:
        self._later = later

    def questions(self, photo: Photo) -> list[Question]:
        return [Question(Task.REFERRING, prompt="?", legend={"cat": (255, 0, 0)})]

    def paint(self, photo: Photo, question: Question, *, seed: int, sample: int = 0) -> Answer:
        painted = flat((255, 0, 0)) if sample == 0 else self._later[sample - 1]
        if isinstance(painted, DistillError):
            raise painted
        return Answer(question, encode_map(painted), f"answer {sample}", "fake", cost_usd=0.5, seed=seed)


def flat(color: tuple[int, int, int]) -> np.ndarray:
    painted = np.zeros((*SIZE_HW, 3), np.uint8)
    painted[:, : SIZE_HW[1] // 2] = color
    return painted


def plain_photo() -> Photo:
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)
    return read_photo(encode_map(pixels), key="one", name="one.png")


def ask_fickle(later: list[np.ndarray | DistillError]):
    generator = Fickle(later)
    asking = Asking(samples=1 + len(later))
    teacher = PaintingTeacher(generator, name="t", license="l", tasks=list(Task), classes=(), asking=asking)
    (lesson,) = teacher.teach(plain_photo())
    return lesson


def test_an_answer_that_cannot_be_used_is_noted_and_paid_for() -> None:
    lesson = ask_fickle([flat((255, 0, 0)), np.full((*SIZE_HW, 3), 90, np.uint8)])
    assert Task.REFERRING in lesson.labels and not lesson.failures
    assert "one of 3 answers was not used" in lesson.notes[0]["reason"]
    assert sum(lesson.paid_usd) == 1.5 and lesson.records[0]["cost_usd"] == 1.0


def test_fewer_than_half_of_the_answers_are_no_label() -> None:
    lesson = ask_fickle([Refusal("no"), Refusal("no")])
    assert not lesson.labels
    assert lesson.failures == [
        {"task": "referring", "kind": "rejected", "reason": "only 1 of 3 answers could be read; no"}
    ]


def test_disagreement_lowers_confidence_and_score() -> None:
    def asked(faults: FaultsRecipe):
        recipe = RECIPE.model_copy(update={"tasks": (Task.NORMALS,), "faults": faults})
        checks = Checks(register=False)
        return build_teacher(recipe, folder=Path(), asking=Asking(samples=3), checks=checks).teach(
            scene_photo(1, recipe)
        )

    (same,), (apart,) = asked(FaultsRecipe()), asked(FaultsRecipe(drift_share=1.0, shift_px=24.0))
    assert same.records[0]["quality_parts"]["agreement"] > apart.records[0]["quality_parts"]["agreement"] + 0.05
    assert same.records[0]["quality"] > apart.records[0]["quality"]


def test_the_mirrored_photo_is_another_photo() -> None:
    photo = scene_photo(0, RECIPE)
    mirrored = mirrored_photo(replace(photo, origin={**photo.origin, "path": "somewhere"}))
    assert mirrored.sha256 != photo.sha256 and "path" not in mirrored.origin and "mirrored" in mirrored.name
    assert np.abs(mirrored.rgb[:, ::-1].astype(int) - photo.rgb).mean() < 3


def manifest(folder: Path, answers: list[np.ndarray], legends: list[dict[str, str]]) -> ReplayRecipe:
    rows = []
    (folder / "one.png").write_bytes(plain_photo().data)
    for number, (painted, legend) in enumerate(zip(answers, legends, strict=True)):
        (folder / f"{number}.png").write_bytes(encode_map(painted))
        rows.append({"photo": "one.png", "task": "semantic", "answer": f"{number}.png", "legend": legend})
    import json

    (folder / "answers.json").write_text(json.dumps(rows))
    return ReplayRecipe(answers=folder / "answers.json")


def test_stored_answers_to_one_question_can_be_fused(tmp_path: Path) -> None:
    legends = [{"cat": "#FF0000", BACKGROUND: "#000000"}, {BACKGROUND: "#000000", "cat": "#00FF00"}]
    recipe = manifest(tmp_path, [flat((255, 0, 0)), flat((0, 255, 0))], legends)
    photo = replace(plain_photo(), origin={"path": str(tmp_path / "one.png")})
    apart = build_teacher(recipe, folder=tmp_path).teach(photo)
    (fused,) = build_teacher(recipe, folder=tmp_path, asking=Asking(fuse=True)).teach(photo)
    assert len(apart) == 2
    assert fused.records[0]["agreement"] > 0.9
    assert (fused.labels[Task.SEMANTIC].value[:, :40] == 0).all()
    with pytest.raises(UsageError, match="asked again"):
        build_teacher(recipe, folder=tmp_path, asking=Asking(samples=2))
