"""Legend colors decode exactly; ambiguous colors are ignored."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import pdist

from distill.errors import UsageError
from distill.tasks import IGNORE_SEMANTIC, Task
from distill.teachers.base import PromptSpec
from distill.teachers.codecs.palette import decode_palette_rgb, encode_palette_rgb
from distill.teachers.prompts.colors import hex_of, palette, parse_color
from distill.teachers.tasks import decode_answer

LEGEND = {"road": (128, 64, 128), "sky": (70, 130, 180), "person": (220, 20, 60), "background": (0, 0, 0)}

color = st.tuples(*[st.integers(0, 255)] * 3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("red", (255, 0, 0)),
        ("green", (0, 255, 0)),
        ("pure yellow", (255, 255, 0)),
        ("light purple", (212, 196, 227)),
        ("Light Blue", (173, 216, 230)),
        ("#80C000", (128, 192, 0)),
        ("#fff", (255, 255, 255)),
        ("<255, 165, 0>", (255, 165, 0)),
        ("RGB(88, 50, 82)", (88, 50, 82)),
        ("(64, 192, 64)", (64, 192, 64)),
        ([1, 2, 3], (1, 2, 3)),
        ("solid white color", (255, 255, 255)),
    ],
)
def test_color_spellings_are_parsed(text: str | list[int], expected: tuple[int, int, int]) -> None:
    assert parse_color(text) == expected


@pytest.mark.parametrize("text", ["", "no such color", "#12345", "(1, 2)", "(1, 2, 300)", [1, 2], [0.5, 0, 0], "color"])
def test_invalid_colors_are_refused(text: str | list[int]) -> None:
    with pytest.raises(UsageError):
        parse_color(text)


@given(color)
def test_hex_round_trip(value: tuple[int, int, int]) -> None:
    assert parse_color(hex_of(value)) == value


@settings(max_examples=50, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20)), elements=st.integers(0, 3)))
def test_round_trip_is_exact(ids: np.ndarray) -> None:
    label = decode_palette_rgb(encode_palette_rgb(ids, LEGEND), LEGEND)
    assert label.valid.all()
    np.testing.assert_array_equal(label.value, ids)
    assert label.classes == tuple(LEGEND)


@settings(max_examples=30, deadline=None)
@given(st.lists(color, min_size=1, max_size=20, unique=True), st.integers(0, 2**32 - 1))
def test_the_nearest_color_wins(colors: list[tuple[int, int, int]], seed: int) -> None:
    legend = {f"class {i}": value for i, value in enumerate(colors)}
    generated = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    label = decode_palette_rgb(generated, legend)
    distance = np.linalg.norm(generated[:, :, None].astype(float) - np.array(colors, float), axis=-1)
    ordered = np.sort(distance, axis=-1)
    np.testing.assert_array_equal(label.value[label.valid], distance.argmin(-1)[label.valid])
    assert np.all(ordered[..., 0][label.valid] <= 40)
    if len(colors) > 1:
        assert np.all((ordered[..., 1] - ordered[..., 0])[label.valid] >= 12)


def test_the_order_of_the_legend_changes_only_ids() -> None:
    ids = np.random.default_rng(0).integers(0, 4, (50, 50)).astype(np.uint8)
    generated = encode_palette_rgb(ids, LEGEND)
    turned = dict(reversed(LEGEND.items()))
    label = decode_palette_rgb(generated, turned)
    assert [label.classes[i] for i in label.value.ravel()] == [list(LEGEND)[i] for i in ids.ravel()]


def test_distant_and_ambiguous_colors_are_ignored() -> None:
    legend = {"a": (0, 0, 0), "b": (60, 0, 0)}
    generated = np.repeat(np.array([[[30, 0, 0], [120, 120, 0], [5, 0, 0]]], np.uint8), 3, axis=1)
    label = decode_palette_rgb(generated, legend)
    assert label.value[0, 1::3].tolist() == [IGNORE_SEMANTIC, IGNORE_SEMANTIC, 0]
    assert label.confidence[0, 1] == label.confidence[0, 4] == 0


def test_blends_across_a_third_class_are_ignored() -> None:
    legend = {"red": (255, 0, 0), "purple": (140, 12, 120), "blue": (0, 0, 255)}
    row = np.array([[255, 0, 0]] * 4 + [[128, 0, 128]] + [[0, 0, 255]] * 4, np.uint8)
    label = decode_palette_rgb(np.repeat(row[None], 9, axis=0), legend)
    assert label.value[4].tolist() == [0] * 4 + [IGNORE_SEMANTIC] + [2] * 4


def test_referring_labels_have_a_background_class() -> None:
    prompt_spec = PromptSpec(Task.REFERRING, legend={"the cat": (255, 255, 255)}, background=(0, 0, 0))
    generated = np.zeros((8, 8, 3), np.uint8)
    generated[2:5, 2:5] = 255
    label = decode_answer(generated, prompt_spec)
    assert label.task is Task.REFERRING
    assert label.classes == ("the cat", "background")
    assert (label.value == 0).sum() == 9


@pytest.mark.parametrize(
    "legend",
    [{}, {"a": (1, 2, 3), "b": (1, 2, 3)}, {str(i): (i // 256, i % 256, 0) for i in range(300)}],
    ids=["empty", "equal colors", "300 classes"],
)
def test_invalid_legends_are_refused(legend: dict[str, tuple[int, int, int]]) -> None:
    with pytest.raises(UsageError, match="legend"):
        decode_answer(np.zeros((8, 8, 3), np.uint8), PromptSpec(Task.SEMANTIC, legend=legend))


@pytest.mark.parametrize(("count", "least"), [(2, 200), (8, 120), (20, 80), (40, 60), (80, 44), (150, 33)])
def test_palette_colors_are_distinguishable(count: int, least: float) -> None:
    for seed in (0, 1):
        colors = palette(count, background=(0, 0, 0), seed=seed)
        assert len(set(colors)) == count
        assert pdist(np.array(colors)).min() >= least
        assert min(np.linalg.norm(value) for value in np.array(colors)) >= least


def test_palettes_are_reproducible() -> None:
    assert palette(30, seed=5) == palette(30, seed=5)
    assert palette(30, seed=5) != palette(30, seed=6)


@pytest.mark.parametrize("count", [0, 256])
def test_invalid_palette_sizes_are_refused(count: int) -> None:
    with pytest.raises(UsageError):
        palette(count)
