"""Photos are resized to a canvas without cropping, and labels are mapped back pixel for pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.errors import UsageError
from distill.labels import Label
from distill.tasks import DepthKind, Task
from distill.teachers.registration.align import resize_scale, warp_label
from distill.teachers.registration.canvas import RULES, Grid, fit_canvas, to_canvas

SIDES = st.integers(1, 160)
SIZES = st.tuples(SIDES, SIDES)


def read_back(canvas: np.ndarray, photo_hw: tuple[int, int], rule: str) -> Label:
    """What `place` makes of an answer that is the canvas itself: one channel, called a depth."""
    value = canvas[..., 0].astype(np.float32)
    return warp_label(
        Label(Task.DEPTH, value, np.ones(value.shape, bool), np.ones_like(value), DepthKind.METRIC), photo_hw, rule
    )


@settings(max_examples=150, deadline=None)
@given(photo_hw=SIZES, canvas_hw=SIZES, rule=st.sampled_from(RULES), slope=st.sampled_from([(1, 0), (0, 1), (1, 1)]))
def test_labels_are_mapped_back_to_the_photo(
    photo_hw: tuple[int, int], canvas_hw: tuple[int, int], rule: str, slope: tuple[int, int]
) -> None:
    down, right = ((np.arange(side) + 0.5) / side * 120 for side in photo_hw)
    photo = np.repeat((slope[0] * down[:, None] + slope[1] * right[None]).astype(np.uint8)[..., None], 3, axis=-1)
    canvas = to_canvas(photo, canvas_hw, rule, bars=(255, 255, 255))
    assert canvas.shape == (*canvas_hw, 3)
    placed = read_back(canvas, photo_hw, rule)
    assert placed.valid.all()  # nothing was cropped
    # One pixel of photo, canvas or label, whichever is coarsest along an axis, is what sampling may be off by.
    scale = resize_scale(photo_hw, canvas_hw, rule)
    coarsest = [120 * max(1, 1 / scale[i], photo_hw[i] / placed.size_hw[i]) / photo_hw[i] for i in (0, 1)]
    tolerance = slope[0] * coarsest[0] + slope[1] * coarsest[1] + 2
    rows, columns = ((np.arange(side) + 0.5) / side * 120 for side in placed.size_hw)
    expected = slope[0] * rows[:, None] + slope[1] * columns[None]
    assert np.abs(placed.value - expected).max() <= tolerance + 0.1 * 120 * max(slope) * (min(canvas_hw) < 8)


@given(size_hw=SIZES, rule=st.sampled_from(RULES), seed=st.integers(0, 9))
def test_a_photo_of_canvas_size_is_unchanged(size_hw: tuple[int, int], rule: str, seed: int) -> None:
    photo = np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    canvas = to_canvas(photo, size_hw, rule)
    assert (canvas == photo).all()
    assert canvas is not photo


@pytest.mark.parametrize("photo_hw", [(300, 400), (301, 400), (299, 397)])
def test_contain_is_exact_between_pixels(photo_hw: tuple[int, int]) -> None:
    """Rounding bars to whole pixels would move the photo by up to half a pixel."""
    down = (np.arange(photo_hw[0]) + 0.5) / photo_hw[0] * 250
    photo = np.repeat(np.repeat(down.astype(np.uint8)[:, None], photo_hw[1], axis=1)[..., None], 3, axis=-1)
    canvas = to_canvas(photo, (777, 1024), "contain")
    scale = resize_scale(photo_hw, (777, 1024), "contain")[0]
    rows = np.arange(200, 600)
    expected = ((rows + 0.5 - 777 / 2) / scale + photo_hw[0] / 2) / photo_hw[0] * 250
    assert abs((canvas[rows, 500, 0] + 0.5 - expected).mean()) < 0.1 * 250 / 777  # a tenth of a pixel


def test_bars_have_their_color() -> None:
    canvas = to_canvas(np.full((50, 100, 3), 200, np.uint8), (100, 100), "contain", bars=(1, 2, 3))
    assert (canvas[:25] == (1, 2, 3)).all()
    assert (canvas[75:] == (1, 2, 3)).all()
    assert (canvas[25:75] == 200).all()


KNOWN = ((1024, 1024), (848, 1264), (1264, 848), (896, 1200), (1200, 896), (768, 1376), (1376, 768))


@pytest.mark.parametrize(
    ("photo_hw", "canvas_hw"),
    [((480, 640), (896, 1200)), ((4000, 6000), (848, 1264)), ((1080, 1920), (768, 1376)), ((500, 500), (1024, 1024))],
)
def test_the_shape_decides(photo_hw: tuple[int, int], canvas_hw: tuple[int, int]) -> None:
    assert fit_canvas(photo_hw, KNOWN) == canvas_hw
    assert fit_canvas(photo_hw[::-1], KNOWN) == canvas_hw[::-1]


def test_among_equal_shapes_the_smallest_lossless_size_is_used() -> None:
    squares = [(2048, 2048), (512, 512), (1024, 1024)]
    assert fit_canvas((600, 600), squares) == (1024, 1024)
    assert fit_canvas((512, 512), squares) == (512, 512)
    assert fit_canvas((5000, 5000), squares) == (2048, 2048)


@settings(max_examples=200, deadline=None)
@given(
    photo_hw=st.tuples(st.integers(8, 6000), st.integers(8, 6000)),
    multiple=st.sampled_from([1, 8, 16, 32, 64]),
    max_pixels=st.sampled_from([4096, 512 * 512, 1024 * 1024]),
)
def test_sizes_are_on_the_grid(photo_hw: tuple[int, int], multiple: int, max_pixels: int) -> None:
    height, width = fit_canvas(photo_hw, Grid(multiple, max_pixels))
    assert height % multiple == width % multiple == 0
    assert height * width <= max_pixels
    shape = photo_hw[1] / photo_hw[0]
    if max_pixels >= 512 * 512 and multiple <= 16 and 0.3 < shape < 3 and min(photo_hw) > 100:
        assert abs(math.log(width / height / shape)) < 0.05


def test_a_photo_on_the_grid_keeps_its_size() -> None:
    assert fit_canvas((768, 1024), Grid(16)) == (768, 1024)
    assert fit_canvas((96, 128), Grid(16)) == (96, 128)


def test_small_photos_are_enlarged_to_the_minimum() -> None:
    height, width = fit_canvas((96, 128), Grid(16, min_pixels=1000 * 1000))
    assert 0.95e6 < height * width <= 1024 * 1024
    assert abs(width / height - 4 / 3) < 0.02


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: fit_canvas((10, 10), []),
        lambda: fit_canvas((0, 10), KNOWN),
        lambda: fit_canvas((10, 10), [(0, 5)]),
        lambda: to_canvas(np.zeros((4, 4, 3), np.uint8), (8, 8), "cover"),
        lambda: to_canvas(np.zeros((4, 4, 3), np.uint8), (0, 8)),
        lambda: Grid(64, max_pixels=1000),
    ],
    ids=["no sizes", "empty photo", "empty canvas", "cropping", "no canvas", "empty grid"],
)
def test_invalid_canvases_are_refused(wrong: object) -> None:
    with pytest.raises(UsageError):
        wrong()  # type: ignore[operator]
