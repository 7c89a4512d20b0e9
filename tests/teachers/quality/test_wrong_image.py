"""Copies of the photo, flat images and images of another task are named; good images are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest

from distill.config.synthetic import SyntheticConfig
from distill.images import Photo, decode_rgb
from distill.tasks import Task
from distill.teachers.base import PromptSpec
from distill.teachers.codecs.depth import encode_depth_rgb
from distill.teachers.quality.straight_lines import StraightLine
from distill.teachers.quality.wrong_image import explain_wrong_image, shows_scene, similarity
from distill.teachers.registration.align import Registration
from distill.teachers.synthetic.generator import SyntheticGenerator, scene_photo
from distill.teachers.tasks import teacher_task
from distill.teachers.tasks.depth import depth_prompt

CONFIG = SyntheticConfig(size_hw=(192, 256), tasks=tuple(Task))
SCENE = 3001
NOUNS = {task: teacher_task(task).answer_noun for task in Task}


@cache
def photo() -> Photo:
    return scene_photo(SCENE, CONFIG)


@cache
def answers() -> dict[Task, tuple[PromptSpec, np.ndarray]]:
    generator = SyntheticGenerator(CONFIG)
    specs = generator.prompt_specs(photo())
    return {
        spec.task: (spec, decode_rgb(generator.generate(photo(), spec, seed=0).data, "answer")[0]) for spec in specs
    }


def explain(task: Task, image: np.ndarray, photo_rgb: np.ndarray | None = None, *, may_be_flat: bool = False) -> str:
    """The reason for an image, decoded if it can be."""
    spec, _ = answers()[task]
    rgb = photo().rgb if photo_rgb is None else photo_rgb
    label = teacher_task(task).decode(image, spec)
    usable = teacher_task(task).informative(label).mean() > 0.05 and not teacher_task(task).reject(label)
    return explain_wrong_image(rgb, image, spec, label if usable else None, may_be_flat=may_be_flat)


@pytest.mark.parametrize("task", list(Task))
def test_a_good_image_is_an_answer(task: Task) -> None:
    _, image = answers()[task]
    assert explain(task, image) == ""
    noise = np.random.default_rng(0).normal(0, 4, image.shape)
    assert explain(task, np.clip(image + noise, 0, 255).astype(np.uint8)) == ""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])
    assert explain(task, cv2.imdecode(data, cv2.IMREAD_COLOR)) == ""


@pytest.mark.parametrize("task", [Task.DEPTH, Task.NORMALS, Task.SEMANTIC, Task.INSTANCE, Task.EDGES])
@pytest.mark.parametrize("shown", [Task.DEPTH, Task.NORMALS, Task.SEMANTIC, Task.EDGES])
def test_an_image_of_another_task_is_named(task: Task, shown: Task) -> None:
    _, image = answers()[shown]
    if NOUNS[task] == NOUNS[shown]:
        return
    assert explain(task, image) == f"the answer looks like {NOUNS[shown]}, and {NOUNS[task]} was requested"


def test_instances_are_no_classes_on_the_same_background() -> None:
    _, image = answers()[Task.INSTANCE]
    street = PromptSpec(Task.SEMANTIC, legend={"ground": (0, 0, 0), "person": (220, 20, 61)})
    label = teacher_task(Task.SEMANTIC).decode(image, street)
    assert "colors of the answer are not those" in explain_wrong_image(photo().rgb, image, street, label)


def gray(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as it is": lambda image: image,
    "gray": gray,
    "mirrored": lambda image: np.ascontiguousarray(image[:, ::-1]),
    "negative": lambda image: 255 - image,
    "blurred": lambda image: cv2.GaussianBlur(image, (0, 0), 0.7),
    "twice as large": lambda image: cv2.resize(image, None, fx=2, fy=2),
    "warm and pale": lambda image: np.clip(image * np.array([0.6, 0.5, 0.4]) + 90, 0, 255).astype(np.uint8),
    "in colors of a map": lambda image: cv2.applyColorMap(gray(image), cv2.COLORMAP_JET),
}


@pytest.mark.parametrize("copy", list(COPIES))
@pytest.mark.parametrize("task", [Task.DEPTH, Task.INSTANCE, Task.EDGES])
def test_a_copy_of_the_photo_is_named(task: Task, copy: str) -> None:
    assert explain(task, COPIES[copy](photo().rgb)) == "the answer is a copy of the photo"


def test_a_shifted_copy_is_recognized_where_it_was_registered() -> None:
    moved = np.roll(photo().rgb, (9, -14), (0, 1))
    registration = Registration(shift_px=(9.0, -14.0))
    assert similarity(photo().rgb, moved)[0] < 0.5 < similarity(photo().rgb, moved, registration)[0]


def flat_image(kind: str) -> np.ndarray:
    image = np.full((192, 256, 3), (90, 140, 200), np.float32)
    if kind == "gradient":
        image += np.linspace(-30, 30, 256)[None, :, None]
    if kind == "vignette":
        image *= (
            1 - 0.4 * (np.hypot(*np.meshgrid(np.linspace(-1, 1, 256), np.linspace(-1, 1, 192))) ** 2)[..., None] / 2
        )
    if kind == "noise":
        image += np.random.default_rng(0).normal(0, 6, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("kind", ["one color", "gradient", "vignette", "noise"])
@pytest.mark.parametrize("task", list(Task))
def test_a_flat_image_of_a_scene_is_named(task: Task, kind: str) -> None:
    assert "the answer is flat" in explain(task, flat_image(kind))


def wall(*, bricks: bool = False) -> np.ndarray:
    image = np.full((384, 512, 3), (150, 135, 120), np.float32) + np.linspace(-25, 25, 512)[None, :, None]
    if bricks:
        image[::24] -= 50
        image[:, ::48] -= 50
    return np.clip(image + np.random.default_rng(1).normal(0, 4, image.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("bricks", [False, True])
def test_a_flat_image_of_one_surface_is_right(bricks: bool) -> None:
    photo_rgb = wall(bricks=bricks)
    assert shows_scene(photo().rgb) and not shows_scene(photo_rgb)
    facing = np.full((192, 256, 3), (128, 128, 255), np.uint8)
    assert explain(Task.NORMALS, facing, photo_rgb) == ""
    legend, _ = answers()[Task.SEMANTIC]
    everywhere = np.full((192, 256, 3), next(iter(legend.legend.values())), np.uint8)
    assert explain(Task.SEMANTIC, everywhere, photo_rgb) == ""


def test_nothing_found_is_accepted_on_request_only() -> None:
    black = np.zeros((192, 256, 3), np.uint8)
    assert "flat" in explain(Task.INSTANCE, black)
    assert explain(Task.INSTANCE, black, may_be_flat=True) == ""


@pytest.mark.parametrize("colormap", ["cube", "turbo", "gray", "jet"])
def test_depth_of_a_few_flat_surfaces_is_an_answer(colormap: str) -> None:
    depth = np.full((192, 256), 6.0)
    depth[120:] = 3.0
    depth[60:140, 40:110] = 2.0
    depth[20:40, 150:220] = 5.0
    spec = depth_prompt(colormap=colormap)
    task = teacher_task(Task.DEPTH)
    image = encode_depth_rgb(depth, colormap)
    assert explain_wrong_image(photo().rgb, image, spec, task.decode(image, spec)) == ""
    line = StraightLine(0, 120, 0.6)
    assert "60% of its side, at row 120" in explain_wrong_image(
        photo().rgb, image, spec, task.decode(image, spec), line=line
    )
    assert explain_wrong_image(photo().rgb, image, spec, task.decode(image, spec), line=replace(line, share=0.2)) == ""
    reason = explain_wrong_image(photo().rgb, image, spec, task.decode(image, spec), off_code=0.3)
    assert reason.startswith("30% of the answer is in areas whose colors are not those of a depth image")


def test_a_segmentation_in_pure_colors_with_edges_between_them_is_no_depth() -> None:
    image = np.zeros((192, 256, 3), np.uint8)
    image[:] = 255, 255, 0
    image[40:120, 60:200] = 255, 0, 0
    for top, green in ((10, 60), (36, 120), (120, 180)):  # a twentieth of the pixels has shades between pure colors
        image[top : top + 4, 40:220] = 255, green, 0
    spec, task = depth_prompt(), teacher_task(Task.DEPTH)
    assert explain_wrong_image(photo().rgb, image, spec, task.decode(image, spec))
