"""Legends as JSON objects, tables and lists; sentences without a legend have no pairs."""

from __future__ import annotations

import pytest

from distill.errors import UsageError
from distill.teachers.prompts.legend_lists import pairs_of_items, pairs_of_json
from distill.teachers.prompts.legend_parser import parse_legend

EXPECTED = {"wall": (255, 0, 0), "floor": (0, 0, 255)}


@pytest.mark.parametrize(
    "prompt",
    [
        'Palette: [{"name": "wall", "color": "#ff0000"}, {"name": "floor", "color": "#0000ff"}]',
        '{"wall": {"color": "#ff0000"}, "floor": {"color": [0, 0, 255]}}',
        '{"#ff0000": "wall", "blue": "floor"}',
        'Use {"palette": {"wall": "red", "floor": "blue"}} for the image.',
        '{"version": 1, "classes": [{"label": "wall", "rgb": [255, 0, 0]}, {"label": "floor", "rgb": [0, 0, 255]}]}',
        "Segment. | class | color |\n| wall | red |\n| floor | blue |",
        "Segmentation map: wall→red; floor→blue",
        "Classes: 1. wall - #FF0000 2. floor - #0000FF",
        "Use red for the wall and blue for the floor.",
        "Use (255, 0, 0) for the wall and (0, 0, 255) for the floor.",
        "Red: wall. Blue: floor.",
        "Colour the wall red and the floor blue",
        "wall (red), floor (blue)",
        "wall #ff0000, floor #0000ff",
    ],
)
def test_classes_and_colors_are_read_in_any_form(prompt: str) -> None:
    assert parse_legend(prompt).colors == EXPECTED and not parse_legend(prompt).unreadable


def test_colors_of_two_words_are_whole() -> None:
    found = parse_legend("Colour the wall light blue and the floor dark red")
    assert found.colors == {"wall": (173, 216, 230), "floor": (139, 0, 0)}


def test_one_object_is_one_class() -> None:
    assert parse_legend('[{"name": "wall", "color": "red"}]').colors == {"wall": (255, 0, 0)}
    found = parse_legend('[{"name": "wall", "color": "#ff00"}, {"name": "floor", "color": "blue"}]')
    assert found.colors == {"floor": (0, 0, 255)} and found.unreadable == {"wall": "#ff00"}


@pytest.mark.parametrize(
    "prompt",
    [
        "Segment the wall and the floor",
        "Generate a sharp image and a clean map",
        "wall (brick), floor (wood)",
        '{"0": "wall", "1": "floor"}',
        "[1, 2, 3] {broken",
        "{" * 5000,
        "a" * 5000,
        ", " * 5000,
    ],
)
def test_sentences_without_a_legend_have_no_pairs(prompt: str) -> None:
    assert pairs_of_json(prompt) == pairs_of_items(prompt) == []
    with pytest.raises(UsageError, match="no legend"):
        parse_legend(prompt)
