"""Several images per prompt: variants, decoding, fusion, costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distill.config.adapters import ReplayConfig
from distill.config.synthetic import FaultsConfig, SyntheticConfig
from distill.errors import DistillError, UsageError
from distill.images import Photo, encode_map, read_photo
from distill.tasks import Task
from distill.teachers.base import ContentRefused, GeneratedImage, PromptSpec, TeacherResult
from distill.teachers.codecs.palette import BACKGROUND
from distill.teachers.factory import build_teacher
from distill.teachers.generative import GenerativeTeacher
from distill.teachers.prompts.prompt_ensemble import SINGLE, PromptEnsemble, hflip_photo
from distill.teachers.quality.filter import QualityFilter
from distill.teachers.synthetic.generator import SyntheticTruth, scene_photo
from distill.teachers.tasks import teacher_task
from distill.teachers.tasks.referring import referring_prompt
from distill.teachers.tasks.semantic import semantic_prompt

SIZE_HW = (96, 128)
CONFIG = SyntheticConfig(size_hw=SIZE_HW)


def test_the_plain_prompt_is_first_and_samples_have_own_seeds() -> None:
    prompt_spec = semantic_prompt(["a", "b", "c"])
    variants = PromptEnsemble(num_answers=3, flip=True).variants(prompt_spec)
    assert variants[0].prompt_spec == prompt_spec and not variants[0].mirrored
    assert [variant.sample for variant in variants] == [0, 0, 1, 1, 2, 2]
    assert [variant.mirrored for variant in variants] == [False, True] * 3
    legends = {tuple(variant.prompt_spec.legend.items()) for variant in variants}
    assert len(legends) == 3
    assert {frozenset(variant.prompt_spec.legend.values()) for variant in variants} == {
        frozenset(prompt_spec.legend.values())
    }


def test_referring_prompts_are_not_used_for_the_mirrored_photo() -> None:
    assert len(PromptEnsemble(flip=True).variants(referring_prompt(["the left cat"]))) == 1


@pytest.mark.parametrize("task", [Task.DEPTH, Task.NORMALS, Task.SEMANTIC])
def test_labels_of_the_mirrored_photo_are_mirrored_back(task: Task) -> None:
    photo = scene_photo(3, CONFIG)
    config = CONFIG.model_copy(update={"tasks": (task,)})
    teacher = build_teacher(config, folder=Path(), prompt_ensemble=PromptEnsemble(flip=True))
    (result,) = teacher.label(photo)
    (truth,) = SyntheticTruth(config).predict(photo)
    verdict = teacher_task(task).label_error(result.labels[task], truth)
    assert verdict is not None and verdict.right[verdict.known].mean() > 0.97
    assert result.records[0]["agreement"] > 0.9
    assert [answer.get("mirrored", False) for answer in result.records[0]["answers"]] == [False, True]


def test_votes_over_permuted_legends_cancel_wrong_colors() -> None:
    faults = FaultsConfig(wrong_legend_probability=0.7)
    config = CONFIG.model_copy(update={"tasks": (Task.SEMANTIC,), "faults": faults})

    def wrong(prompt_ensemble: PromptEnsemble) -> float:
        errors = []
        for index in range(6):
            photo = scene_photo(index, config)
            (result,) = build_teacher(config, folder=Path(), prompt_ensemble=prompt_ensemble).label(photo)
            verdict = teacher_task(Task.SEMANTIC).label_error(
                result.labels[Task.SEMANTIC], SyntheticTruth(config).predict(photo)[0]
            )
            assert verdict is not None
            errors.append(float((~verdict.right)[verdict.known].mean()))
        return float(np.mean(errors))

    assert wrong(PromptEnsemble(num_answers=5)) < 0.5 * wrong(SINGLE)


class Fickle:
    """A named fake: its first answer is right, the next ones are whatever a test says."""

    def __init__(self, later: list[np.ndarray | DistillError]) -> None:
        self._later = later

    def prompt_specs(self, photo: Photo) -> list[PromptSpec]:
        return [PromptSpec(Task.REFERRING, prompt="?", legend={"cat": (255, 0, 0)})]

    def generate(self, photo: Photo, prompt_spec: PromptSpec, *, seed: int, sample: int = 0) -> GeneratedImage:
        generated = flat((255, 0, 0)) if sample == 0 else self._later[sample - 1]
        if isinstance(generated, DistillError):
            raise generated
        return GeneratedImage(prompt_spec, encode_map(generated), f"answer {sample}", "fake", cost_usd=0.5, seed=seed)


def flat(color: tuple[int, int, int]) -> np.ndarray:
    generated = np.zeros((*SIZE_HW, 3), np.uint8)
    generated[:, : SIZE_HW[1] // 2] = color
    return generated


def plain_photo() -> Photo:
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)
    return read_photo(encode_map(pixels), key="one", name="one.png")


def ask_fickle(later: list[np.ndarray | DistillError]) -> TeacherResult:
    generator = Fickle(later)
    prompt_ensemble = PromptEnsemble(num_answers=1 + len(later))
    teacher = GenerativeTeacher(
        generator, name="t", license="l", tasks=list(Task), classes=(), prompt_ensemble=prompt_ensemble
    )
    (result,) = teacher.label(plain_photo())
    return result


def test_an_unusable_image_is_recorded_with_its_cost() -> None:
    result = ask_fickle([flat((255, 0, 0)), np.full((*SIZE_HW, 3), 90, np.uint8)])
    assert Task.REFERRING in result.labels and not result.failures
    assert "one of 3 images was not used" in result.notes[-1]["reason"]
    assert sum(result.costs_usd) == 1.5 and result.records[0]["cost_usd"] == 1.0


def test_fewer_than_half_of_the_images_give_no_label() -> None:
    result = ask_fickle([ContentRefused("no"), ContentRefused("no")])
    assert not result.labels
    assert result.failures == [
        {"task": "referring", "kind": "rejected", "reason": "only 1 of 3 images could be used; no"}
    ]


def test_disagreement_lowers_confidence_and_score() -> None:
    def asked(faults: FaultsConfig) -> Sequence[TeacherResult]:
        config = CONFIG.model_copy(update={"tasks": (Task.NORMALS,), "faults": faults})
        quality_filter = QualityFilter(register=False)
        return build_teacher(
            config, folder=Path(), prompt_ensemble=PromptEnsemble(num_answers=3), quality_filter=quality_filter
        ).label(scene_photo(1, config))

    (same,), (apart,) = asked(FaultsConfig()), asked(FaultsConfig(drift_probability=1.0, shift_px=24.0))
    assert same.records[0]["quality_parts"]["agreement"] > apart.records[0]["quality_parts"]["agreement"] + 0.05
    assert same.records[0]["quality"] > apart.records[0]["quality"]


def test_the_mirrored_photo_has_another_hash() -> None:
    photo = scene_photo(0, CONFIG)
    mirrored = hflip_photo(replace(photo, origin={**photo.origin, "path": "somewhere"}))
    assert mirrored.sha256 != photo.sha256 and "path" not in mirrored.origin and "mirrored" in mirrored.name
    assert np.abs(mirrored.rgb[:, ::-1].astype(int) - photo.rgb).mean() < 3


def manifest(folder: Path, answers: list[np.ndarray], legends: list[dict[str, str]]) -> ReplayConfig:
    rows = []
    (folder / "one.png").write_bytes(plain_photo().data)
    for number, (generated, legend) in enumerate(zip(answers, legends, strict=True)):
        (folder / f"{number}.png").write_bytes(encode_map(generated))
        rows.append({"photo": "one.png", "task": "semantic", "answer": f"{number}.png", "legend": legend})
    import json

    (folder / "answers.json").write_text(json.dumps(rows))
    return ReplayConfig(answers=folder / "answers.json")


def test_stored_images_of_one_prompt_can_be_fused(tmp_path: Path) -> None:
    legends = [{"cat": "#FF0000", BACKGROUND: "#000000"}, {BACKGROUND: "#000000", "cat": "#00FF00"}]
    config = manifest(tmp_path, [flat((255, 0, 0)), flat((0, 255, 0))], legends)
    photo = replace(plain_photo(), origin={"path": str(tmp_path / "one.png")})
    apart = build_teacher(config, folder=tmp_path).label(photo)
    (fused,) = build_teacher(config, folder=tmp_path, prompt_ensemble=PromptEnsemble(fuse=True)).label(photo)
    assert len(apart) == 2
    assert fused.records[0]["agreement"] > 0.9
    assert (fused.labels[Task.SEMANTIC].value[:, :40] == 0).all()
    with pytest.raises(UsageError, match="cannot generate more samples"):
        build_teacher(config, folder=tmp_path, prompt_ensemble=PromptEnsemble(num_answers=2))
