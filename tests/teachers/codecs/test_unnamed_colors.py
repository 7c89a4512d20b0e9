"""Backgrounds and legend colors that a prompt leaves open are read from the image, and stated."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from distill.tasks import Task
from distill.teachers.base import RGB, PromptSpec
from distill.teachers.codecs.flat_colors import possible_backgrounds
from distill.teachers.codecs.unnamed_colors import Completion
from distill.teachers.tasks import teacher_task

SIZE_HW = (120, 160)
RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def canvas(background: RGB, *boxes: tuple[slice, slice, RGB]) -> np.ndarray:
    rgb = np.empty((*SIZE_HW, 3), np.uint8)
    rgb[:] = background
    for rows, columns, color in boxes:
        rgb[rows, columns] = color
    return rgb


CENTER = (slice(40, 90), slice(50, 110))
CORNER = (slice(5, 25), slice(5, 25))
OTHER_CORNER = (slice(90, 110), slice(130, 150))


def complete(rgb: np.ndarray, task: Task, **values: object) -> Completion:
    return teacher_task(task).complete(rgb, PromptSpec(task, **values))


@pytest.mark.parametrize("background", [BLACK, WHITE, (16, 170, 5), (88, 50, 82), (128, 128, 128)])
def test_a_background_without_a_name_never_becomes_an_instance(background: RGB) -> None:
    rgb = canvas(background, (*CENTER, RED), (*CORNER, BLUE))
    completion = complete(rgb, Task.INSTANCE, class_name="ball")
    assert completion.prompt_spec.background == background and "no background is named" in completion.notes[0]
    label = teacher_task(Task.INSTANCE).decode(rgb, completion.prompt_spec)
    assert len(label.instance_classes) == 2 and (label.value == 0).mean() > 0.7


def test_a_background_that_the_image_has_is_kept_without_a_remark() -> None:
    completion = complete(canvas(WHITE, (*CENTER, BLACK)), Task.INSTANCE, class_name="x", background=WHITE)
    assert completion.prompt_spec.background == WHITE and not completion.notes


@pytest.mark.parametrize("drawn", [(70, 40, 66), (100, 60, 95), (88, 50, 82)])
def test_a_background_near_the_named_color_is_read_as_it_was_drawn(drawn: RGB) -> None:
    """Farther from it than instances are from each other, it would become one."""
    rgb = canvas(drawn, (*CENTER, RED), (*CORNER, BLUE))
    completion = complete(rgb, Task.INSTANCE, class_name="ball", background=(88, 50, 82))
    assert completion.prompt_spec.background == drawn and not completion.notes
    label = teacher_task(Task.INSTANCE).decode(rgb, completion.prompt_spec)
    assert len(label.instance_classes) == 2 and (label.value == 0).mean() > 0.7


def test_a_named_background_that_the_image_does_not_have_is_replaced() -> None:
    completion = complete(canvas(BLACK, (*CENTER, WHITE)), Task.INSTANCE, class_name="x", background=WHITE)
    assert completion.prompt_spec.background == BLACK
    assert completion.notes == ("the named background #FFFFFF is not in the image; #000000 was taken for it",)


LARGE_INSTANCES = {
    "portrait": canvas(BLACK, (slice(15, 120), slice(0, 160), RED)),
    "left two thirds": canvas(BLACK, (slice(0, 120), slice(0, 105), RED)),
    "corners are left": canvas(RED, (slice(0, 30), slice(0, 40), BLACK), (slice(0, 30), slice(120, 160), BLACK)),
}


@pytest.mark.parametrize("name", LARGE_INSTANCES)
def test_an_instance_that_fills_much_of_the_image_is_not_swallowed(name: str) -> None:
    rgb = LARGE_INSTANCES[name]
    completion = complete(rgb, Task.INSTANCE, class_name="cat")
    assert completion.prompt_spec.background == BLACK and not completion.reject
    label = teacher_task(Task.INSTANCE).decode(rgb, completion.prompt_spec)
    assert list(label.instance_classes) == [1] and (label.value[rgb[..., 0] == 255] == 1).all()


def test_a_portrait_on_white_is_read() -> None:
    assert possible_backgrounds(canvas(WHITE, (slice(40, 120), slice(40, 120), RED))) == (WHITE,)


@pytest.mark.parametrize(
    "rgb",
    [
        canvas(RED, (slice(0, 120), slice(0, 88), BLUE)),
        canvas(WHITE, (slice(70, 120), slice(30, 120), BLACK)),
        np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8),
    ],
    ids=["two instances fill the image", "black at the border of white", "texture"],
)
def test_an_image_whose_background_is_unclear_is_rejected_by_that_reason(rgb: np.ndarray) -> None:
    assert "name it as background" in complete(rgb, Task.INSTANCE, class_name="cat").reject
    # A named background is never in question.
    assert not complete(rgb, Task.INSTANCE, class_name="cat", background=BLACK).reject


def test_black_of_a_semantic_image_is_the_background() -> None:
    legend = {"sky": GREEN, "cat": RED}
    rgb = canvas(BLACK, (slice(0, 40), slice(0, 160), GREEN), (*CENTER, RED))
    completion = complete(rgb, Task.SEMANTIC, legend=legend)
    assert completion.prompt_spec.legend == {**legend, "background": BLACK}
    label = teacher_task(Task.SEMANTIC).decode(rgb, completion.prompt_spec)
    assert label.valid.all() and label.classes == ("sky", "cat", "background")


def test_a_semantic_image_without_background_stays_without() -> None:
    completion = complete(canvas(BLUE, (*CENTER, RED)), Task.SEMANTIC, legend={"sky": BLUE, "cat": RED})
    assert "background" not in completion.prompt_spec.legend and not completion.notes


def test_a_background_key_is_honored() -> None:
    rgb = canvas((250, 250, 0), (*CENTER, RED))
    completion = complete(rgb, Task.SEMANTIC, legend={"cat": RED}, background=(255, 255, 0))
    assert completion.prompt_spec.legend == {"cat": RED, "background": (255, 255, 0)} and not completion.notes


def test_a_color_that_may_be_a_class_in_another_color_stays_invalid_and_is_stated() -> None:
    rgb = canvas((180, 90, 0), (*CENTER, RED))
    completion = complete(rgb, Task.SEMANTIC, legend={"cat": RED, "wall": (255, 192, 203)})
    assert "background" not in completion.prompt_spec.legend
    assert "has #B45A00, which no class of the legend has" in completion.notes[0]
    # With every class in the image, it can only be the background.
    completion = complete(rgb, Task.SEMANTIC, legend={"cat": RED})
    assert completion.prompt_spec.legend["background"] == (180, 90, 0)


def test_an_unreadable_color_is_the_only_one_left() -> None:
    rgb = canvas(BLACK, (*CENTER, RED), (*CORNER, (64, 255, 192)))
    completion = complete(rgb, Task.SEMANTIC, legend={"menu": RED}, unreadable={"pattern": "#40FFC"})
    assert completion.prompt_spec.legend == {"menu": RED, "background": BLACK, "pattern": (64, 255, 192)}
    assert any("'pattern' cannot be read ('#40FFC'); #40FFC0" in note for note in completion.notes)


@pytest.mark.parametrize(
    ("boxes", "unreadable", "reason"),
    [
        ([], {"a": "#12345"}, "no color of the image is left"),
        (
            [(*CORNER, GREEN), (slice(90, 110), slice(130, 150), BLUE)],
            {"a": "#12345"},
            "2 colors of the image are left",
        ),
        ([(*CORNER, GREEN)], {"a": "#12345", "b": "blurple"}, "one color of the image is left"),
    ],
    ids=["none", "two colors", "two classes"],
)
def test_an_unreadable_color_is_never_guessed(boxes: list, unreadable: dict[str, str], reason: str) -> None:
    rgb = canvas(BLACK, (*CENTER, RED), *boxes)
    completion = complete(rgb, Task.SEMANTIC, legend={"menu": RED}, unreadable=unreadable)
    assert not set(unreadable) & set(completion.prompt_spec.legend)
    assert all(any(name in note and reason in note for note in completion.notes) for name in unreadable)


def test_a_white_background_and_an_unreadable_color_are_told_apart() -> None:
    rgb = canvas(WHITE, (*CENTER, RED), (*CORNER, (64, 255, 192)))
    completion = complete(rgb, Task.REFERRING, legend={"menu": RED}, unreadable={"pattern": "#40FFC"})
    assert completion.prompt_spec.legend == {"menu": RED, "background": WHITE, "pattern": (64, 255, 192)}


def test_blends_at_borders_are_no_color_of_their_own() -> None:
    rgb = cv2.GaussianBlur(canvas(BLUE, (*CENTER, RED)), (0, 0), 1.2)
    completion = complete(rgb, Task.SEMANTIC, legend={"sky": BLUE, "cat": RED})
    assert not completion.notes and completion.prompt_spec.legend == {"sky": BLUE, "cat": RED}


@pytest.mark.parametrize("task", [Task.SEMANTIC, Task.REFERRING])
def test_a_flat_image_has_no_background(task: Task) -> None:
    completion = complete(canvas((90, 90, 90)), task, legend={"cat": RED})
    assert "background" not in completion.prompt_spec.legend
    assert not teacher_task(task).decode(canvas((90, 90, 90)), completion.prompt_spec).valid.any()


def test_black_outlines_are_not_the_background() -> None:
    rgb = canvas(WHITE, (slice(38, 92), slice(48, 112), BLACK), (*CENTER, RED))
    assert complete(rgb, Task.SEMANTIC, legend={"cat": RED}).prompt_spec.legend["background"] == WHITE
