"""Teachers with a generator: accepted and rejected images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from distill.config.synthetic import FaultsConfig, SyntheticConfig
from distill.errors import DistillError, UsageError
from distill.images import Photo, encode_map, read_photo
from distill.labels import Label
from distill.labels.conversions import remap_classes
from distill.tasks import Task
from distill.teachers.answer_parser import parse_answer
from distill.teachers.answer_reading import AnswerRejected
from distill.teachers.base import ContentRefused, GeneratedImage, PromptSpec, TeacherResult
from distill.teachers.codecs.answer_image import decode_answer_image
from distill.teachers.factory import build_teacher
from distill.teachers.generative import GenerativeTeacher
from distill.teachers.quality.filter import QualityFilter
from distill.teachers.synthetic.generator import SyntheticGenerator, scene_photo

SIZE_HW = (32, 48)
RED_BLUE = {"cat": (255, 0, 0), "dog": (0, 0, 255)}
GREEN_GRAY = {"tree": (0, 255, 0), "road": (128, 128, 128)}


def flat(*colors: tuple[int, int, int]) -> np.ndarray:
    """Vertical stripes of equal width."""
    row = np.repeat(np.array(colors, np.uint8), SIZE_HW[1] // len(colors), axis=0)
    return np.broadcast_to(row, (SIZE_HW[0], *row.shape)).copy()


class Painter:
    """A named fake: hands out what a test puts into it."""

    def __init__(self, answers: list[tuple[PromptSpec, np.ndarray | DistillError | bytes]]) -> None:
        self._answers = answers

    def prompt_specs(self, photo: Photo) -> list[PromptSpec]:
        return [prompt_spec for prompt_spec, _ in self._answers]

    def generate(self, photo: Photo, prompt_spec: PromptSpec, *, seed: int, sample: int = 0) -> GeneratedImage:
        generated = next(generated for asked, generated in self._answers if asked == prompt_spec)
        if isinstance(generated, DistillError):
            raise generated
        data = generated if isinstance(generated, bytes) else encode_map(generated)
        return GeneratedImage(prompt_spec, data, "answer.png", "fake", cost_usd=0.5)


def photo() -> Photo:
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)
    return read_photo(encode_map(pixels), key="one", name="one.png")


def label_photo(
    answers: list[tuple[PromptSpec, np.ndarray | DistillError | bytes]], classes: tuple[str, ...] = ()
) -> Sequence[TeacherResult]:
    tasks = list(Task)
    names = classes or tuple(dict.fromkeys(name for prompt_spec, _ in answers for name in prompt_spec.legend))
    return GenerativeTeacher(Painter(answers), name="t", license="l", tasks=tasks, classes=names).label(photo())


def semantic(legend: dict) -> PromptSpec:
    return PromptSpec(Task.SEMANTIC, prompt=str(legend), legend=legend)


def test_an_image_becomes_a_label_with_provenance() -> None:
    (result,) = label_photo([(semantic(RED_BLUE), flat((255, 0, 0), (0, 0, 255)))])
    label = result.labels[Task.SEMANTIC]
    assert (label.value[:, :20] == 0).all() and (label.value[:, 28:] == 1).all()
    record = result.records[0]
    assert record["cost_usd"] == 0.5 and record["license"] == "l" and record["prompted_classes"] == ["cat", "dog"]
    assert record["quality"] > 0.8 and len(record["prompt_hash"]) == 16


def test_a_refusal_affects_only_its_prompt() -> None:
    depth = PromptSpec(Task.DEPTH)
    (result,) = label_photo([(depth, ContentRefused("will not")), (semantic(RED_BLUE), flat((255, 0, 0), (0, 0, 255)))])
    assert list(result.labels) == [Task.SEMANTIC]
    assert result.failures == [{"task": "depth", "kind": "refused", "reason": "will not"}]


@pytest.mark.parametrize("data", [b"", b"<html>503</html>", encode_map(flat((0, 0, 0)))[:60]])
def test_bytes_that_are_not_an_image_are_a_failure(data: bytes) -> None:
    (result,) = label_photo([(PromptSpec(Task.DEPTH), data)])
    assert not result.labels
    assert result.failures[0]["kind"] == "failed" and "answer.png" in result.failures[0]["reason"]


def test_swapped_images_are_decoded_with_a_note() -> None:
    answers = [
        (semantic(RED_BLUE), flat((0, 255, 0), (128, 128, 128))),
        (semantic(GREEN_GRAY), flat((255, 0, 0), (0, 0, 255))),
    ]
    first, second = label_photo(answers)
    assert first.labels[Task.SEMANTIC].classes == ("cat", "dog", "tree", "road")
    assert first.labels[Task.SEMANTIC].value[0, 0] == 2 and second.labels[Task.SEMANTIC].value[0, 0] == 0
    assert first.records[0]["prompted_classes"] == ["tree", "road"]
    assert "tree, road" in first.notes[0]["reason"] and "swapped" in first.notes[0]["reason"]
    assert not first.failures and not second.failures


def test_an_image_in_other_colors_is_rejected() -> None:
    (alone,) = label_photo([(semantic(RED_BLUE), flat((0, 255, 0), (128, 128, 128)))])
    assert not alone.labels and not alone.notes
    assert alone.failures[0]["kind"] == "rejected" and "0.0%" in alone.failures[0]["reason"]


def test_two_legends_give_two_results_with_one_class_list() -> None:
    first, second = label_photo(
        [
            (semantic(RED_BLUE), flat((255, 0, 0), (0, 0, 255))),
            (semantic(GREEN_GRAY), flat((0, 255, 0), (128, 128, 128))),
        ]
    )
    assert first.labels[Task.SEMANTIC].classes == ("cat", "dog", "tree", "road")
    assert second.labels[Task.SEMANTIC].value[0, 0] == 2


def test_legends_with_too_many_classes_are_refused() -> None:
    with pytest.raises(UsageError, match="300 classes in total"):
        GenerativeTeacher(
            Painter([]), name="t", license="l", tasks=[Task.SEMANTIC], classes=[f"c{i}" for i in range(300)]
        )


def test_classes_outside_the_list_become_ignore() -> None:
    valid = np.ones((1, 2), bool)
    label = Label(
        Task.SEMANTIC, np.array([[0, 1]], np.uint8), valid, valid.astype(np.float32), classes=("cat", "unicorn")
    )
    joined = remap_classes(label, ("dog", "cat"))
    assert joined.value.tolist() == [[1, 255]] and joined.confidence.tolist() == [[1, 0]]


def drifted() -> SyntheticConfig:
    faults = FaultsConfig(drift_probability=1.0, shift_px=20.0)
    return SyntheticConfig(size_hw=(288, 384), tasks=(Task.SEMANTIC,), faults=faults)


def accuracy(config: SyntheticConfig, quality_filter: QualityFilter | None, index: int) -> float:
    scene = scene_photo(index, config)
    truth = build_teacher(config.model_copy(update={"truth": True}), folder=Path()).label(scene)[0]
    (result,) = build_teacher(config, folder=Path(), quality_filter=quality_filter).label(scene)
    assert Task.SEMANTIC in result.labels
    label, exact = result.labels[Task.SEMANTIC], truth.labels[Task.SEMANTIC]
    both = label.valid & exact.valid
    return float((label.value == exact.value)[both].mean())


def test_registered_labels_are_aligned() -> None:
    config = drifted()
    unchecked = np.mean([accuracy(config, None, index) for index in range(3)])
    checked = np.mean([accuracy(config, QualityFilter(), index) for index in range(3)])
    assert 1 - checked < 0.5 * (1 - unchecked)


def test_labels_below_the_minimum_quality_are_rejected() -> None:
    config = drifted()
    (result,) = build_teacher(
        config, folder=Path(), quality_filter=QualityFilter(min_quality={Task.SEMANTIC: 1.0})
    ).label(scene_photo(0, config))
    assert not result.labels and not result.records
    assert result.failures[0]["kind"] == "rejected" and "quality" in result.failures[0]["reason"]


def test_instances_share_the_grid_of_the_first_image() -> None:
    def dots(size_hw: tuple[int, int], top: int) -> np.ndarray:
        generated = np.zeros((*size_hw, 3), np.uint8)
        generated[top : top + size_hw[0] // 4, : size_hw[1] // 2] = (255, 0, 0)
        return generated

    cup, plate = (PromptSpec(Task.INSTANCE, class_name=name) for name in ("cup", "plate"))
    (result,) = label_photo(
        [(cup, dots((64, 96), 0)), (plate, dots((32, 48), 16)), (PromptSpec(Task.DEPTH), flat((255, 55, 0)))]
    )
    label = result.labels[Task.INSTANCE]
    assert sorted(label.instance_classes.values()) == ["cup", "plate"]
    assert Task.DEPTH in result.labels


def spots(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    """An instance image: each (top, left, bottom, right) in a color of its own."""
    generated = np.zeros((64, 96, 3), np.uint8)
    for (top, left, bottom, right), color in zip(boxes, ((255, 0, 0), (0, 255, 0), (0, 0, 255)), strict=False):
        generated[top:bottom, left:right] = color
    return generated


def about(name: str, prompt: str = "") -> PromptSpec:
    return PromptSpec(Task.INSTANCE, prompt, class_name=name, background=(0, 0, 0))


def test_instances_of_two_answers_overlap_and_are_all_counted() -> None:
    (result,) = label_photo(
        [
            (about("person"), spots((0, 0, 60, 40), (0, 60, 60, 90))),
            (about("shirt"), spots((20, 4, 50, 36), (20, 64, 50, 86), (58, 40, 64, 60))),
        ]
    )
    label = result.labels[Task.INSTANCE]
    assert sorted(label.instance_classes.values()) == ["person"] * 2 + ["shirt"] * 3
    assert [record["instances"] for record in result.records] == [2, 3]
    assert label.valid.all() and len(label.layers) == 1
    assert label.instance_classes[label.value[15, 10]] == "shirt"
    assert label.instance_classes[label.layers[0][15, 10]] == "person"


def test_counts_are_those_of_the_stored_map() -> None:
    """The second answer has more pixels than the map that it is joined to: its smallest instance is lost."""
    small, large = np.zeros((16, 24, 3), np.uint8), np.zeros((64, 96, 3), np.uint8)
    small[:4, :6] = (255, 0, 0)
    large[20:40, 10:60], large[56:59, 92:95] = (255, 0, 0), (0, 255, 0)
    (result,) = label_photo([(about("cup"), small), (about("plate"), large)])
    label = result.labels[Task.INSTANCE]
    assert label.size_hw == (16, 24) and list(label.instance_classes.values()) == ["cup", "plate"]
    assert [record["instances"] for record in result.records] == [1, 1]


def test_a_second_answer_about_a_class_is_a_sample_of_its_own_and_said() -> None:
    first, second = label_photo(
        [(about("cup", "a"), spots((0, 0, 30, 40))), (about("cup", "b"), spots((30, 40, 60, 90)))]
    )
    assert len(first.labels[Task.INSTANCE].instance_classes) == len(second.labels[Task.INSTANCE].instance_classes) == 1
    assert not first.notes and "a second answer about cup" in second.notes[0]["reason"]


def normals_scene() -> tuple[SyntheticConfig, Photo, GeneratedImage]:
    config = SyntheticConfig(size_hw=(192, 256), tasks=(Task.NORMALS,))
    scene = scene_photo(3, config)
    generator = SyntheticGenerator(config)
    (prompt_spec,) = generator.prompt_specs(scene)
    return config, scene, generator.generate(scene, prompt_spec, seed=0)


def test_normals_that_face_away_are_rejected() -> None:
    _, scene, answer = normals_scene()
    good = decode_answer_image(answer.data, answer.name).rgb
    assert parse_answer(scene, answer, [], register=False).label.valid.any()
    for wrong in (255 - good, np.dstack([good[..., :2], 255 - good[..., 2:]])):
        with pytest.raises(AnswerRejected, match="away from the camera"):
            parse_answer(scene, replace(answer, data=encode_map(wrong)), [], register=False)


@pytest.mark.parametrize("side", [256, 400])
def test_an_image_with_bars_is_cropped(side: int) -> None:
    config = SyntheticConfig(size_hw=(160, 256), tasks=(Task.NORMALS, Task.DEPTH, Task.SEMANTIC))
    scene, generator = scene_photo(5, config), SyntheticGenerator(config)
    height = round(side * 160 / 256)
    for prompt_spec in generator.prompt_specs(scene):
        answer = generator.generate(scene, prompt_spec, seed=0)
        canvas = np.zeros((side, side, 3), np.uint8)
        whole = cv2.resize(
            decode_answer_image(answer.data, answer.name).rgb, (side, height), interpolation=cv2.INTER_NEAREST
        )
        canvas[(side - height) // 2 :][:height] = whole
        barred = replace(answer, data=encode_map(canvas))
        with pytest.raises(AnswerRejected, match="shapes are too different"):
            parse_answer(scene, barred, [], register=False)
        found, exact = (parse_answer(scene, each, [], register=True) for each in (barred, answer))
        both = found.label.valid & exact.label.valid
        assert both.mean() > 0.9 * exact.label.valid.mean()
        apart = np.abs(found.label.value.astype(np.float64) - exact.label.value)[both]
        assert np.median(apart) < 0.02 and found.generated.shape[:2] == (height, side)


def test_an_empty_image_gives_no_label() -> None:
    _, scene, answer = normals_scene()
    prompt_spec = PromptSpec(Task.DEPTH, "Paint the depth.")
    black = replace(answer, prompt_spec=prompt_spec, data=encode_map(np.zeros((192, 256, 3), np.uint8)))
    with pytest.raises(AnswerRejected, match=r"only 0\.0% of the generated image"):
        parse_answer(scene, black, [], register=False)
