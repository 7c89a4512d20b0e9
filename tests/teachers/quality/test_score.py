"""The quality score falls for wrong labels, without ground truth."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from distill.labels import Label
from distill.tasks import IGNORE_SEMANTIC, DepthKind, Task
from distill.teachers.quality.cross_task import borders, compare
from distill.teachers.quality.off_code import NO_FLAWS, Flaws
from distill.teachers.quality.score import Quality, measure_parts, score_label
from distill.teachers.registration.align import IDENTITY, Registration
from distill.teachers.tasks.depth_normal_consistency import normals_of_depth

SIZE_HW = (192, 256)


def whole(task: Task, value: np.ndarray, confidence: float = 1.0, depth_kind: DepthKind | None = None) -> Label:
    valid = np.ones(value.shape[:2], bool)
    return Label(task, value, valid, np.full(valid.shape, confidence, np.float32), depth_kind, tuple("abcdef"))


def seen(
    label: Label, photo: np.ndarray, others: tuple[tuple[Label, float], ...] = (), registration: Registration = IDENTITY
) -> Quality:
    return score_label(label, measure_parts(label, photo, registrations=[registration]), others=others)


def room(tilt: float = 0.0) -> np.ndarray:
    """z-depth of a floor 1.5 m below a camera with 60 degrees of view, before a wall at 5 m."""
    height, width = SIZE_HW
    focal_px = height / 2 / np.tan(np.radians(30))
    down = (np.arange(height) + 0.5 - height / 2)[:, None] / focal_px + np.zeros((1, width))
    with np.errstate(divide="ignore"):
        floor = np.where(down > 0, 1.5 / np.maximum(down, 1e-9), np.inf)
    return np.minimum(floor, 5.0 + tilt * np.linspace(-1, 1, width)).astype(np.float32)


def room_normals() -> np.ndarray:
    floor = room() < 4.999
    return np.where(floor[..., None], (0, 1, 0), (0, 0, 1)).astype(np.float32)


def photo_of(ids: np.ndarray, seed: int = 0) -> np.ndarray:
    dice = np.random.default_rng(seed)
    shades = np.linspace(30, 220, 6)[np.minimum(ids, 5)][..., None] * np.array([1.0, 0.8, 0.6])
    return np.clip(shades + dice.normal(0, 3, (*ids.shape, 3)), 0, 255).astype(np.uint8)


def blocks(seed: int = 1) -> np.ndarray:
    cells = np.random.default_rng(seed).integers(0, 6, (4, 5)).astype(np.uint8)
    return cv2.resize(cells, SIZE_HW[::-1], interpolation=cv2.INTER_NEAREST)


def test_slopes_of_depth_are_the_normals_of_a_scene() -> None:
    normals = normals_of_depth(room(), 60.0)
    np.testing.assert_allclose(normals[170, 128], (0, 1, 0), atol=0.02)
    np.testing.assert_allclose(normals[40, 128], (0, 0, 1), atol=0.02)


def test_normals_that_fit_the_depth_score_higher() -> None:
    depth = whole(Task.DEPTH, room(), depth_kind=DepthKind.METRIC)
    photo = photo_of((room() < 4.999).astype(np.uint8) * 3)
    good = seen(whole(Task.NORMALS, room_normals()), photo, ((depth, 1.0),))
    turned = seen(whole(Task.NORMALS, room_normals()[..., [1, 0, 2]].copy()), photo, ((depth, 1.0),))
    assert good.parts["cross_task"] > 0.9
    assert turned.parts["cross_task"] < good.parts["cross_task"] - 0.1
    assert turned.score < good.score
    assert turned.pixels.mean() < good.pixels.mean()


def test_a_contradiction_counts_by_the_reliability_of_the_other_label() -> None:
    depth = whole(Task.DEPTH, room(), depth_kind=DepthKind.METRIC)
    turned = whole(Task.NORMALS, room_normals()[..., [1, 0, 2]].copy())
    blamed, halved, spared = (seen(turned, photo_of(blocks()), ((depth, trust),)) for trust in (1.0, 0.5, 0.0))
    assert blamed.parts["cross_task"] < halved.parts["cross_task"] < spared.parts["cross_task"] == 1
    assert blamed.pixels.mean() < halved.pixels.mean() < spared.pixels.mean()
    np.testing.assert_array_equal(spared.pixels, turned.confidence)


def test_relative_depth_is_not_compared_with_normals() -> None:
    depth = whole(Task.DEPTH, room() / 10, depth_kind=DepthKind.AFFINE_INVARIANT_DEPTH)
    parts = seen(whole(Task.NORMALS, room_normals()), photo_of(blocks()), ((depth, 1.0),)).parts
    assert "cross_task" not in parts


def test_borders_on_photo_edges_score_higher() -> None:
    ids = blocks()
    photo = photo_of(ids)
    right = seen(whole(Task.SEMANTIC, ids), photo)
    shifted = seen(whole(Task.SEMANTIC, np.roll(ids, (14, 17), (0, 1))), photo)
    assert right.parts["edge_alignment"] > 0.9
    assert shifted.parts["edge_alignment"] < 0.5
    assert shifted.score < right.score


@pytest.mark.parametrize("task", [Task.DEPTH, Task.NORMALS, Task.SEMANTIC])
def test_borders_are_in_the_gap_of_blended_colors(task: Task) -> None:
    left = np.arange(SIZE_HW[1]) < 100
    values: dict[Task, np.ndarray] = {
        Task.DEPTH: np.where(left, 2.0, 6.0).astype(np.float32),
        Task.NORMALS: np.where(left[:, None], (0, 1, 0), (0, 0, 1)).astype(np.float32),
        Task.SEMANTIC: left.astype(np.uint8),
    }
    value = values[task]
    label = whole(task, np.tile(value, (SIZE_HW[0],) + (1,) * value.ndim), depth_kind=DepthKind.METRIC)
    label.valid[:, 97:103] = False
    label.valid[:, 200:] = False  # a hole, and no border
    found = np.flatnonzero(borders(label).any(axis=0))
    assert found.size and found.min() >= 98 and found.max() <= 101


def test_sky_without_normals_does_not_lower_the_score() -> None:
    value, ids = room_normals(), (room() < 4.999).astype(np.uint8)
    sky, specks = whole(Task.NORMALS, value), whole(Task.NORMALS, value)
    sky.valid[:80] = False
    specks.valid[:] = np.random.default_rng(0).random(SIZE_HW) > 80 / SIZE_HW[0]
    for label in (sky, specks):
        label.confidence[~label.valid] = 0
    assert seen(sky, photo_of(ids)).parts["color_validity"] == pytest.approx(1.0)
    assert seen(specks, photo_of(ids)).parts["color_validity"] < 0.65


def test_a_missing_referred_object_lowers_the_score() -> None:
    ids = np.full(SIZE_HW, 2, np.uint8)
    ids[20:90, 30:100] = 0
    both = ids.copy()
    both[100:160, 150:230] = 1
    classes = ("the left box", "the right box", "background")
    found, missed = (replace(whole(Task.REFERRING, value), classes=classes) for value in (both, ids))
    assert seen(found, photo_of(both)).parts["content"] == 1
    assert seen(missed, photo_of(both)).parts["content"] == 0.5
    assert seen(missed, photo_of(both)).score < seen(found, photo_of(both)).score


def test_classes_are_compared_with_instances_of_the_same_names() -> None:
    ids = np.zeros(SIZE_HW, np.uint8)
    ids[20:90, 30:100], ids[100:160, 150:230] = 1, 2
    classes = ("wall", "box", "ball")
    semantic = replace(whole(Task.SEMANTIC, ids), classes=classes)
    swapped = replace(whole(Task.SEMANTIC, np.array([0, 2, 1], np.uint8)[ids]), classes=classes)
    numbers = np.where(ids == 1, 7, np.where(ids == 2, 3, 0)).astype(np.uint16)
    instances = replace(
        whole(Task.INSTANCE, numbers), classes=("ball", "box", "lamp"), instance_classes={7: "box", 3: "ball"}
    )
    agreed, everywhere = compare(semantic, instances) or (0, np.zeros(1))
    assert agreed == 1
    assert everywhere.min() == 1
    assert (compare(instances, swapped) or (1,))[0] == 0
    half = replace(semantic, value=np.where(ids == 2, 0, ids).astype(np.uint8))
    part, pixels = compare(half, instances) or (0, np.zeros(1))
    assert part == pytest.approx(70 * 70 / (70 * 70 + 60 * 80))
    np.testing.assert_array_equal(pixels < 1, ids == 2)
    others = replace(instances, classes=("lamp",), instance_classes={7: "lamp"})
    assert compare(semantic, others) is None


def test_uncertain_colors_lower_the_score() -> None:
    ids = blocks()
    photo = photo_of(ids)
    clear, dim = (seen(whole(Task.SEMANTIC, ids, confidence), photo) for confidence in (1.0, 0.4))
    assert dim.score < clear.score


def test_flaws_lower_the_score() -> None:
    ids = blocks()
    label = replace(whole(Task.SEMANTIC, ids.astype(np.uint8)), classes=("a", "b", "c", "d"))
    scores = [
        score_label(label, measure_parts(label, photo_of(ids), flaws=flaws)).score
        for flaws in (NO_FLAWS, Flaws(straight_line=0.2), Flaws(off_code=0.2), Flaws(off_code=0.2, straight_line=0.2))
    ]
    assert scores[0] > scores[1] > scores[3] and scores[0] > scores[2] > scores[3]


def test_a_rejected_registration_lowers_the_score() -> None:
    ids = blocks()
    lost = seen(whole(Task.SEMANTIC, ids), photo_of(ids), registration=Registration(accepted=False))
    assert lost.parts["registration"] == 0
    assert lost.score < seen(whole(Task.SEMANTIC, ids), photo_of(ids)).score


@pytest.mark.parametrize("task", [Task.DEPTH, Task.NORMALS, Task.SEMANTIC])
def test_an_empty_label_scores_zero(task: Task) -> None:
    value = {
        Task.DEPTH: np.zeros(SIZE_HW, np.float32),
        Task.NORMALS: np.zeros((*SIZE_HW, 3), np.float32),
        Task.SEMANTIC: np.full(SIZE_HW, IGNORE_SEMANTIC, np.uint8),
    }[task]
    depth_kind = DepthKind.METRIC if task is Task.DEPTH else None
    label = Label(task, value, np.zeros(SIZE_HW, bool), np.zeros(SIZE_HW, np.float32), depth_kind)
    quality = seen(label, photo_of(blocks()))
    assert quality.parts["color_validity"] == quality.parts["content"] == 0
    assert quality.score < 0.1


@pytest.mark.parametrize("task", [Task.DEPTH, Task.NORMALS])
def test_a_constant_label_has_no_content(task: Task) -> None:
    flat = (
        np.full(SIZE_HW, 2.0, np.float32)
        if task is Task.DEPTH
        else np.tile(np.array([0, 0, 1], np.float32), (*SIZE_HW, 1))
    )
    depth_kind = DepthKind.METRIC if task is Task.DEPTH else None
    assert seen(whole(task, flat, depth_kind=depth_kind), photo_of(blocks())).parts["content"] < 0.05
