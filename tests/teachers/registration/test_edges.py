"""Edge points are on borders at sub-pixel accuracy; bars are found, plain backgrounds are not bars."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.teachers.registration.edges import edge_field, edge_points
from distill.teachers.registration.letterbox import content_box, letterbox_edges, letterbox_lines


def disc(size_hw: tuple[int, int], radius: float) -> np.ndarray:
    """A red disc on green in the middle, smooth at the border as an area average is."""
    rows, columns = (np.arange(side) + 0.5 - side / 2 for side in size_hw)
    inside = np.clip(radius + 0.5 - np.hypot(rows[:, None], columns[None]), 0, 1)[..., None]
    return np.rint(inside * (220, 30, 30) + (1 - inside) * (20, 160, 60)).astype(np.uint8)


@pytest.mark.parametrize("radius", [20.0, 33.3, 41.7])
def test_edge_points_are_on_their_border(radius: float) -> None:
    points = edge_points(disc((110, 141), radius))
    distance = np.hypot(*points.position.T)
    assert len(points) > 4 * radius
    assert abs(distance.mean() - radius) < 0.1
    assert distance.std() < 0.25
    # Normals point across the border, whichever way.
    assert np.abs((points.normal * points.position).sum(axis=1) / distance).mean() > 0.98


def test_flipped_points_are_those_of_the_flipped_image() -> None:
    picture = disc((90, 120), 30.0)
    picture[20:40, 30:50] = (0, 0, 200)
    turned = edge_points(np.ascontiguousarray(picture[:, ::-1]))
    same = edge_points(picture).flip((1, -1))
    # Ties between neighbors may be broken the other way.
    apart = np.linalg.norm(turned.position[:, None] - same.position[None], axis=-1).min(axis=1)
    assert (apart < 0.05).mean() > 0.97
    assert abs(len(turned) - len(same)) < 0.03 * len(same)


def test_directions_ignore_the_sign_of_a_border() -> None:
    picture = disc((80, 80), 20.0)
    field, negative = edge_field(picture), edge_field(255 - picture)
    assert np.allclose(field, negative, atol=1e-4)
    assert np.abs(field).max() > 0.2


def bar_ends(generated: np.ndarray, photo: np.ndarray) -> list[tuple[int, float]]:
    return letterbox_edges(letterbox_lines(generated), generated.shape[:2], photo)


def letterboxed(picture: np.ndarray, bars: tuple[int, int, int, int], color: int) -> np.ndarray:
    top, bottom, left, right = bars
    return cv2.copyMakeBorder(picture, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(color,) * 3)


BARS = st.sampled_from([0, 2, 5, 17])


@given(bars=st.tuples(BARS, BARS, BARS, BARS), color=st.sampled_from([0, 128, 255]), seed=st.integers(0, 99))
def test_bars_are_found(bars: tuple[int, int, int, int], color: int, seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    top, bottom, left, right = bars
    answer = letterboxed(picture, bars, color)
    assert content_box(answer) == (top, top + 60, left, left + 80)
    found = bar_ends(answer, picture)
    middle = answer.shape[0] / 2, answer.shape[1] / 2
    expected = [(0, top - middle[0], top), (0, top + 60 - middle[0], bottom)]
    expected += [(1, left - middle[1], left), (1, left + 80 - middle[1], right)]
    assert [axis for axis, _ in found] == [axis for axis, _, bar in expected if bar]
    for (_, place), (_, right_place, _) in zip(found, [one for one in expected if one[2]], strict=True):
        assert abs(place - right_place) < 0.8


def test_an_object_on_a_background_has_no_bars() -> None:
    assert (
        bar_ends(disc((100, 140), 30.0), np.zeros((100, 140, 3), np.uint8) + np.arange(140, dtype=np.uint8)[:, None])
        == []
    )


def test_bars_of_the_photo_are_ignored() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    film = letterboxed(picture, (10, 10, 0, 0), 0)
    assert len(bar_ends(film, picture)) == 2
    assert bar_ends(film, film) == []


def test_one_color_has_no_bars_and_no_edge_points() -> None:
    flat = np.full((40, 50, 3), 77, np.uint8)
    assert content_box(flat) == (0, 40, 0, 50)
    assert bar_ends(flat, flat) == []
    assert len(edge_points(flat)) == 0


@given(size=st.tuples(st.integers(1, 12), st.integers(1, 12)), seed=st.integers(0, 9))
def test_tiny_images_do_not_crash(size: tuple[int, int], seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    top, bottom, left, right = content_box(picture)
    assert 0 <= top < bottom <= size[0]
    assert 0 <= left < right <= size[1]
    bar_ends(picture, picture)
    edge_points(picture)
