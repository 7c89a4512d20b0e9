"""Legend entries whose color cannot be read are kept with their text, and contradictions are refused."""

from __future__ import annotations

import pytest

from distill.errors import UsageError
from distill.teachers.prompts.legend_parser import named_colors, parse_legend

RED = (255, 0, 0)


@pytest.mark.parametrize(
    ("clause", "name", "text"),
    [
        ("The patterns on the wall is #40FFC.", "patterns on the wall", "#40FFC"),
        ("The menu is #GGFF00.", "menu", "#GGFF00"),
        ("The menu is #1234567.", "menu", "#1234567"),
        ("The tongs are (255, 0).", "tongs", "(255, 0)"),
        ("The tongs are RGB(255, 0, 300).", "tongs", "RGB(255, 0, 300)"),
        ("The tongs are cerulean.", "tongs", "cerulean"),
        ("The tongs are represented by purpel.", "tongs", "purpel"),
    ],
)
def test_an_unreadable_color_is_not_dropped(clause: str, name: str, text: str) -> None:
    found = parse_legend(f"A segmentation of the image. The wall is red. {clause}")
    assert found.colors == {"wall": RED} and found.unreadable == {name: text}


def test_unreadable_colors_of_json_style_are_kept() -> None:
    found = parse_legend('using {"menu": "#40FFC", "tongs": <255, 0>, "wall": "red"}')
    assert found.colors == {"wall": RED} and found.unreadable == {"menu": "#40FFC", "tongs": "<255, 0>"}


@pytest.mark.parametrize(
    "sentence",
    ["The image is sharp.", "Each cup is represented by a unique, solid color.", "This image is a per-pixel labeling."],
)
def test_other_sentences_are_no_entries(sentence: str) -> None:
    found = parse_legend(f"{sentence} The wall is red.")
    assert found.colors == {"wall": RED} and not found.unreadable


@pytest.mark.parametrize(
    "prompt", ["cat: red, dog: #0000ff, background: black", "The cat is red. The dog is #0000ff. The rest is black."]
)
def test_lists_and_names_of_the_background(prompt: str) -> None:
    assert parse_legend(prompt).colors == {"cat": RED, "dog": (0, 0, 255), "background": (0, 0, 0)}


def test_a_class_with_two_colors_is_refused() -> None:
    with pytest.raises(UsageError, match="'cat' two colors"):
        parse_legend("The cat is red. The cat is blue.")


@pytest.mark.parametrize(
    ("legend", "reason"),
    [
        ({"cat": None}, "'cat' has no color"),
        ({"cat": "#12345"}, "'cat': '#12345' is not a known color"),
        ({"Background": "red", "background": "blue"}, "'background' is given twice"),
    ],
)
def test_wrong_legends_of_files_are_refused_by_class(legend: dict[str, object], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        named_colors(legend, "legend")
