"""Lines along rows and columns that the photo does not show are found; borders of objects are not."""

from __future__ import annotations

import cv2
import numpy as np

from distill.teachers.quality.straight_lines import UNEXPLAINED, longest_unexplained_line
from distill.teachers.registration.align import IDENTITY, Registration

SIZE_HW = (300, 400)


def scene(*, boxes: bool = True) -> np.ndarray:
    """A disk, and a box whose sides are straight."""
    image = np.full((*SIZE_HW, 3), 60, np.uint8)
    cv2.circle(image, (120, 150), 90, (200, 80, 40), -1)
    if boxes:
        cv2.rectangle(image, (260, 40), (360, 260), (40, 160, 220), -1)
    return image


def test_borders_of_objects_are_no_lines() -> None:
    assert longest_unexplained_line(scene(), scene(), IDENTITY).share < UNEXPLAINED / 4
    noise = np.random.default_rng(0).normal(0, 12, (*SIZE_HW, 3))
    noisy = np.clip(scene() + noise, 0, 255).astype(np.uint8)
    assert longest_unexplained_line(noisy, scene(), IDENTITY).share < UNEXPLAINED


def test_a_line_that_the_photo_does_not_show_is_found() -> None:
    photo, answer = scene(boxes=False), scene(boxes=False)
    answer[:, :140] = 60
    line = longest_unexplained_line(answer, photo, IDENTITY)
    assert line.axis == 1 and abs(line.position - 140) <= 2
    assert UNEXPLAINED < line.share < 0.7  # the cut through the disk
    answer = scene(boxes=False)
    answer[250:] = 255
    line = longest_unexplained_line(answer, photo, IDENTITY)
    assert line.axis == 0 and abs(line.position - 250) <= 2 and line.share > 0.9


def test_lines_are_looked_for_where_the_registration_places_them() -> None:
    moved = np.roll(scene(), 30, axis=1)
    moved[:, :30] = 60
    assert longest_unexplained_line(moved, scene(), IDENTITY).share > UNEXPLAINED
    shifted = Registration(shift_px=(0.0, 30.0))
    assert longest_unexplained_line(moved, scene(), shifted).share < UNEXPLAINED / 4


def test_ends_of_bars_outside_the_photo_are_no_lines() -> None:
    """The photo, shrunk between two bars."""
    answer = np.full((*SIZE_HW, 3), 255, np.uint8)
    answer[30:270] = cv2.resize(scene(), (400, 240), interpolation=cv2.INTER_AREA)
    assert longest_unexplained_line(answer, scene(), IDENTITY).share > 0.9
    zoom = 0.8**0.5
    between = Registration(zoom=zoom, aspect=1 / 0.8)
    assert longest_unexplained_line(answer, scene(), between).share < UNEXPLAINED


def test_an_image_without_a_step_has_no_line() -> None:
    flat = np.full((*SIZE_HW, 3), 90, np.uint8)
    assert longest_unexplained_line(flat, scene(), IDENTITY).share == 0
