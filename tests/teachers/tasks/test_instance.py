"""Instances in the teachers where masks overlap: fusion, comparison with the truth and with classes, drawing."""

from __future__ import annotations

import numpy as np
import pytest

from distill.labels import Label
from distill.labels.instance_layers import mask_of, sort_layers, stack_masks
from distill.tasks import Task
from distill.teachers.base import PromptSpec
from distill.teachers.quality.cross_task import compare
from distill.teachers.quality.fusion import fuse_labels, hflip_label
from distill.teachers.registration.align import Registration, warp_label
from distill.teachers.tasks.instance import TASK

SIZE_HW = (40, 60)
PERSON = (2, 10, 38, 40)
SHIRT = (12, 12, 30, 38)
TAG = (14, 20, 20, 26)
DOG = (20, 45, 36, 58)


def mask(box: tuple[int, int, int, int], shift: int = 0) -> np.ndarray:
    top, left, bottom, right = box
    found = np.zeros(SIZE_HW, bool)
    found[top:bottom, left + shift : right + shift] = True
    return found


def people(things: dict[str, np.ndarray]) -> Label:
    """A valid label of these masks, ids in their order."""
    front, *behind = sort_layers(stack_masks(enumerate(things.values(), start=1), SIZE_HW))
    valid = np.ones(SIZE_HW, bool)
    names = {number: name.strip("2") for number, name in enumerate(things, start=1)}
    classes = tuple(dict.fromkeys(names.values()))
    return Label(Task.INSTANCE, front, valid, valid.astype(np.float32), None, classes, names, tuple(behind))


DRESSED = {"person": mask(PERSON), "shirt": mask(SHIRT), "tag": mask(TAG), "dog": mask(DOG)}


def masks_by_name(label: Label) -> dict[str, np.ndarray]:
    return {name: mask_of(label.instance_layers, number) for number, name in label.instance_classes.items()}


def test_fused_answers_keep_what_all_of_them_hide() -> None:
    moved = {name: mask(box, 1) for name, box in (("dog", DOG), ("tag", TAG), ("person", PERSON), ("shirt", SHIRT))}
    fused = fuse_labels([people(DRESSED), people(moved), people(DRESSED)])
    for name, found in masks_by_name(fused).items():
        np.testing.assert_array_equal(found, DRESSED[name])
    assert fused.value[16, 22] and len(fused.layers) == 2 and fused.valid.all()


def test_what_one_answer_in_three_hides_is_not_kept() -> None:
    fused = fuse_labels([people({"person": mask(PERSON)}), people(DRESSED), people({"person": mask(PERSON)})])
    assert list(fused.instance_classes.values()) == ["person"] and fused.layers == ()


def test_the_error_counts_whole_masks() -> None:
    truth = people(DRESSED)
    perfect = TASK.label_error(truth, truth)
    assert perfect is not None and perfect.error == 0 and perfect.right.all()
    flat = people({"person": mask(PERSON) & ~mask(SHIRT), "shirt": mask(SHIRT) & ~mask(TAG), "tag": mask(TAG)})
    found = TASK.label_error(flat, truth)
    area = {name: one.sum() for name, one in DRESSED.items()}
    ious = [1 - area["shirt"] / area["person"], 1 - area["tag"] / area["shirt"], 1.0]
    assert found is not None and found.error == pytest.approx(1 - 2 * sum(ious) / 7)
    # The dog is missed; behind the shirt is a person, but in front of it is not.
    np.testing.assert_array_equal(found.right, ~mask(DOG))


def test_an_instance_that_shows_what_is_behind_is_right_there() -> None:
    found = TASK.label_error(people({"person": mask(PERSON)}), people(DRESSED))
    assert found is not None and found.right[16, 22] and found.right[5, 15] and not found.right[25, 50]


def test_the_truth_of_one_class_is_what_lies_behind_the_others() -> None:
    restricted = TASK.restrict(people(DRESSED), people({"person": mask(PERSON)}))
    np.testing.assert_array_equal(restricted.value == 1, mask(PERSON))
    assert restricted.layers == () and restricted.instance_classes == {1: "person"}


def test_a_generated_image_shows_the_whole_mask_of_its_class() -> None:
    image = TASK.encode(people(DRESSED), PromptSpec(Task.INSTANCE, class_name="person"))
    np.testing.assert_array_equal(image.any(axis=-1), mask(PERSON))


@pytest.mark.parametrize(("seen", "agreement"), [(1, 1.0), (2, 1.0), (0, 0.0)])
def test_classes_agree_with_any_instance_at_a_pixel(seen: int, agreement: float) -> None:
    valid = np.ones(SIZE_HW, bool)
    value = np.where(mask(SHIRT), seen, 1).astype(np.uint8)
    classes = Label(Task.SEMANTIC, value, valid, valid.astype(np.float32), classes=("wall", "person", "shirt"))
    label = people({"person": np.ones(SIZE_HW, bool), "shirt": mask(SHIRT)})
    found = compare(label, classes)
    assert found is not None
    assert (found[1][mask(SHIRT)] == (1 if agreement else 0.5)).all()


def test_mirrored_and_shifted_labels_move_their_layers() -> None:
    label = people(DRESSED)
    for name, found in masks_by_name(hflip_label(label)).items():
        np.testing.assert_array_equal(found, DRESSED[name][:, ::-1])
    shifted = warp_label(label, SIZE_HW, "fill", Registration(shift_px=(0.0, 20.0)))
    for name, found in masks_by_name(shifted).items():
        np.testing.assert_array_equal(found[:, :40], DRESSED[name][:, 20:])
        assert not found[:, 40:].any() and not shifted.valid[:, 40:].any()
