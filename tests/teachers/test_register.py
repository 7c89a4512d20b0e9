"""Answers land on the photo where their canvas rule says, and nothing is invented on the way."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.errors import UsageError
from distill.labels import Label
from distill.tasks import IGNORE_SEMANTIC, Gauge, Task
from distill.teachers.register import CANVASES, Placement, place


def semantic(ids: np.ndarray) -> Label:
    valid = ids != IGNORE_SEMANTIC
    return Label(Task.SEMANTIC, ids, valid, valid.astype(np.float32), classes=tuple("abcdefgh"))


def painted_onto(photo: np.ndarray, size_hw: tuple[int, int], canvas: str) -> np.ndarray:
    """What a generator does: resize by the rule, then crop or pad around the centre."""
    height, width = photo.shape
    scale = (size_hw[0] / height, size_hw[1] / width)
    if canvas != "stretch":
        scale = ((max if canvas == "cover" else min)(scale),) * 2
    matrix = np.array(
        [
            [scale[1], 0, size_hw[1] / 2 - scale[1] * width / 2 + 0.5 * scale[1] - 0.5],
            [0, scale[0], size_hw[0] / 2 - scale[0] * height / 2 + 0.5 * scale[0] - 0.5],
        ]
    )
    return cv2.warpAffine(photo, matrix, size_hw[::-1], flags=cv2.INTER_NEAREST, borderValue=IGNORE_SEMANTIC)


def blocks(size_hw: tuple[int, int]) -> np.ndarray:
    cells = np.random.default_rng(0).integers(0, 8, (6, 9)).astype(np.uint8)
    return cv2.resize(cells, size_hw[::-1], interpolation=cv2.INTER_NEAREST)


@pytest.mark.parametrize("canvas", CANVASES)
@pytest.mark.parametrize("photo_hw", [(1051, 1440), (300, 402), (900, 500)])
@pytest.mark.parametrize("answer_hw", [(880, 1216), (512, 512)])
def test_places_invert_the_canvas(canvas: str, photo_hw: tuple[int, int], answer_hw: tuple[int, int]) -> None:
    truth = blocks(photo_hw)
    placed = place(semantic(painted_onto(truth, answer_hw, canvas)), photo_hw, canvas)
    height, width = placed.size_hw
    expected = truth[
        np.ix_(
            ((np.arange(height) + 0.5) * photo_hw[0] / height).astype(int),
            ((np.arange(width) + 0.5) * photo_hw[1] / width).astype(int),
        )
    ]
    inner = np.zeros(placed.size_hw, bool)
    inner[2:-2, 2:-2] = True
    kept = placed.valid & inner
    # Nearest sampling twice: borders between blocks may move by one pixel, half of the time.
    assert (placed.value == expected)[kept].mean() > 0.98
    if canvas != "cover":
        assert placed.valid[inner].all()


@settings(max_examples=60, deadline=None)
@given(
    photo_hw=st.tuples(st.integers(8, 200), st.integers(8, 200)),
    answer_hw=st.tuples(st.integers(1, 150), st.integers(1, 150)),
    canvas=st.sampled_from(CANVASES),
)
def test_the_map_is_never_finer_than_the_answer(
    photo_hw: tuple[int, int], answer_hw: tuple[int, int], canvas: str
) -> None:
    placed = place(semantic(np.zeros(answer_hw, np.uint8)), photo_hw, canvas)
    scale = [answer_hw[i] / photo_hw[i] for i in (0, 1)]
    finest = max(scale) if canvas == "cover" else min(scale)
    assert all(placed.size_hw[i] <= max(1, photo_hw[i] * min(1, finest) + 0.5) for i in (0, 1))
    if finest >= 1:
        assert placed.size_hw == photo_hw


def test_nothing_is_invented() -> None:
    depth = np.where(np.arange(100)[None] < 50, np.float32(1), np.float32(9)).repeat(80, axis=0)
    label = Label(Task.DEPTH, depth, np.ones(depth.shape, bool), np.ones(depth.shape, np.float32), Gauge.METRIC)
    placed = place(label, (60, 75))
    assert set(np.unique(placed.value[placed.valid])) == {1.0, 9.0}


def test_strips_that_were_cropped_away_are_invalid() -> None:
    placed = place(semantic(np.zeros((100, 100), np.uint8)), (100, 200), "cover")
    assert placed.size_hw == (100, 200)
    assert placed.valid[:, 50:150].all()
    assert not placed.valid[:, :50].any()
    assert not placed.valid[:, 150:].any()
    assert (placed.value[:, :50] == IGNORE_SEMANTIC).all()
    assert not placed.confidence[:, :50].any()


def test_a_drift_is_mended() -> None:
    truth = blocks((200, 300))
    placement = Placement(shift_px=(7.0, -5.0), zoom=1.04, aspect=1.01)
    vertical, horizontal = placement.scale_hw
    matrix = np.array(
        [
            [horizontal, 0, 150 - 5 - horizontal * 150 + 0.5 * horizontal - 0.5],
            [0, vertical, 107 - vertical * 99.5 - 0.5],
        ]
    )
    drifted = cv2.warpAffine(truth, matrix, (300, 200), flags=cv2.INTER_NEAREST, borderValue=IGNORE_SEMANTIC)
    mended = place(semantic(drifted), (200, 300), "cover", placement)
    assert (mended.value == truth)[mended.valid].mean() > 0.985
    assert (place(semantic(drifted), (200, 300)).value == truth).mean() < 0.9


def test_unknown_canvas_is_named() -> None:
    with pytest.raises(UsageError, match="tile"):
        place(semantic(np.zeros((8, 8), np.uint8)), (8, 8), "tile")
