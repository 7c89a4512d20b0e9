"""The fast flood fill equals the paper's algorithm pixel for pixel."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.errors import DistillError
from distill.tasks import IGNORE_INSTANCE, Task
from distill.teachers.base import PromptSpec
from distill.teachers.codecs import instance as instances
from distill.teachers.codecs.flood_fill import FloodFill
from distill.teachers.codecs.instance import decode_instances_rgb, encode_instances_rgb, parts_of_only_instance
from distill.teachers.prompts.colors import palette
from distill.teachers.tasks import decode_answer, teacher_task

MOVES = [(y, x) for y in range(-2, 3) for x in range(-2, 3) if y * y + x * x in (1, 2, 5)]


def plain_flood(generated: np.ndarray, is_background: np.ndarray, tau: float) -> list[set[tuple[int, int]]]:
    """Steps 1 and 2 as the paper tells them, one pixel at a time."""
    height, width = is_background.shape
    colors = generated.astype(int)
    taken = is_background.copy()
    regions = []
    for seed in zip(*np.nonzero(~is_background), strict=True):
        if taken[seed]:
            continue
        taken[seed] = True
        region, queue = {seed}, [seed]
        while queue:
            y, x = queue.pop()
            for down, right in MOVES:
                near = (y + down, x + right)
                if not (0 <= near[0] < height and 0 <= near[1] < width) or taken[near]:
                    continue
                if ((colors[near] - colors[seed]) ** 2).sum() <= tau**2:
                    taken[near] = True
                    region.add(near)
                    queue.append(near)
        regions.append(region)
    return regions


def noisy_discs(seed: int, size: int, noise: float) -> np.ndarray:
    dice = np.random.default_rng(seed)
    picture = np.zeros((size, size, 3), np.uint8)
    for value in palette(6, seed=seed):
        center = tuple(int(c) for c in dice.integers(0, size, 2))
        cv2.circle(picture, center, int(dice.integers(3, 3 + size // 3)), value, -1)
    blurred = cv2.GaussianBlur(picture, (0, 0), 0.7).astype(float)
    return np.clip(blurred + dice.normal(0, noise, picture.shape), 0, 255).astype(np.uint8)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(9, 70), noise=st.floats(0, 12), least=st.integers(1, 40))
def test_flood_fill_equals_the_reference_implementation(seed: int, size: int, noise: float, least: int) -> None:
    picture = noisy_discs(seed, size, noise)
    is_background = (picture.astype(int) ** 2).sum(-1) < 14**2
    plain = [region for region in plain_flood(picture, is_background, 14.0) if len(region) >= least]
    found = []
    for (top, left), mask in FloodFill(picture, is_background, 14.0).components(float(least)):
        rows, columns = np.nonzero(mask)
        found.append({(int(y) + top, int(x) + left) for y, x in zip(rows, columns, strict=True)})
    assert found == plain


def test_regions_larger_than_the_first_window_are_complete() -> None:
    # A snake that leaves and enters every window: 8-connected, 600 px long.
    picture = np.zeros((300, 300, 3), np.uint8)
    for row in range(10, 290, 40):
        picture[row : row + 12, 10:290] = (0, 200, 50)
        picture[row : row + 40, (10 if row % 80 == 10 else 280) :][:, :10] = (0, 200, 50)
    label = decode_instances_rgb(picture, "snake")
    assert list(label.instance_classes) == [1]
    assert (label.value == 1).sum() == (picture[..., 1] > 0).sum()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), count=st.integers(0, 12))
def test_round_trip_up_to_names(seed: int, count: int) -> None:
    dice = np.random.default_rng(seed)
    ids = np.zeros((96, 128), np.uint16)
    for number, cell in enumerate(dice.permutation(12)[:count], start=1):
        top, left = 32 * (cell // 4) + 4, 32 * (cell % 4) + 4
        ids[top : top + int(dice.integers(8, 24)), left : left + int(dice.integers(8, 24))] = number
    label = decode_instances_rgb(encode_instances_rgb(ids, palette(12, seed=seed)), "box")
    assert label.valid.all()
    assert len(label.instance_classes) == count
    pairs = set(zip(ids.ravel().tolist(), label.value.ravel().tolist(), strict=True))
    assert len(pairs) == count + 1  # one to one
    assert (0, 0) in pairs


def test_ids_are_ordered_by_area_and_have_the_class() -> None:
    picture = np.zeros((100, 100, 3), np.uint8)
    picture[5:15, 5:15] = (255, 0, 0)
    picture[40:80, 40:80] = (0, 255, 0)
    label = decode_answer(picture, PromptSpec(Task.INSTANCE, class_name="box"))
    assert label.value[60, 60] == 1
    assert label.value[10, 10] == 2
    assert dict(label.instance_classes) == {1: "box", 2: "box"}
    assert label.classes == ("box",)


def test_parts_of_one_color_merge_only_when_close() -> None:
    picture = np.zeros((200, 400, 3), np.uint8)
    picture[50:90, 50:90] = picture[50:90, 100:140] = (250, 10, 10)  # a thing behind a pole
    picture[150:190, 350:390] = (250, 10, 10)  # far away: another one
    label = decode_instances_rgb(picture, "box")
    assert label.value[70, 70] == label.value[70, 120]
    assert label.value[170, 370] != label.value[70, 70]
    assert len(label.instance_classes) == 2


def test_halos_and_specks_become_ignore_not_background() -> None:
    picture = np.zeros((200, 200, 3), np.uint8)
    cv2.circle(picture, (100, 100), 60, (120, 0, 0), 2)  # a thin ring: a halo
    cv2.circle(picture, (100, 100), 59, (250, 0, 0), -1)
    picture[10, 10] = (0, 0, 200)
    label = decode_instances_rgb(picture, "ball")
    assert len(label.instance_classes) == 1
    assert label.value[10, 10] == label.value[100, 161] == IGNORE_INSTANCE
    assert not label.valid[10, 10]
    assert label.confidence[100, 161] == 0


def test_another_background_color() -> None:
    picture = np.full((60, 60, 3), (88, 50, 82), np.uint8)
    picture[20:40, 20:40] = 0
    label = decode_instances_rgb(picture, "hole", background=(88, 50, 82))
    assert len(label.instance_classes) == 1
    assert (label.value == 0).sum() == 60 * 60 - 400


def test_images_larger_than_those_of_any_generator_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instances, "MAX_PIXELS", 100)
    with pytest.raises(DistillError, match="20x10"):
        decode_instances_rgb(np.zeros((10, 20, 3), np.uint8), "thing")


def test_more_instances_than_colors_are_refused() -> None:
    with pytest.raises(DistillError, match="3 instances"):
        encode_instances_rgb(np.array([[0, 3, IGNORE_INSTANCE]], np.uint16), ((255, 0, 0),))


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 40), (3, 3)])
def test_thin_images_are_decoded(size_hw: tuple[int, int]) -> None:
    generated = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    label = decode_instances_rgb(generated, "thing")
    assert label.size_hw == size_hw


def test_separate_regions_of_one_color_are_counted() -> None:
    generated = np.zeros((100, 200, 3), np.uint8)
    for column in (10, 60, 110):
        generated[20:60, column : column + 30] = (230, 25, 75)
    value = decode_instances_rgb(generated, "box").value
    assert parts_of_only_instance(value) == 3
    [remark] = teacher_task(Task.INSTANCE).remarks(decode_instances_rgb(generated, "box"))
    assert remark == "its 3 separate regions have one color, and were taken for 1 instance"
    generated[20:60, 160:190] = (0, 130, 200)
    assert parts_of_only_instance(decode_instances_rgb(generated, "box").value) == 0
    assert parts_of_only_instance(np.zeros((4, 4), np.uint16)) == 0
