"""Background colors are found in prompts of any wording, and nowhere else."""

from __future__ import annotations

import pytest

from distill.teachers.prompts.background_parser import names_background, parse_background

WHITE, BLACK = (255, 255, 255), (0, 0, 0)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Masks for the balls. The background is set to #10aa05. Each ball has its color.", (16, 170, 5)),
        ("The background is set to white color. Each ball is different.", WHITE),
        ("Each croissant has a unique color. Background is RGB(88, 50, 82).", (88, 50, 82)),
        ("Different colors for different brands. The background will be black.", BLACK),
        ("Each tag is colored differently on a plain white background, no outlines", WHITE),
        ("One color per cup, everything else black", BLACK),
        ("One color per cup, with everything else in black.", BLACK),
        ("Make everything else white.", WHITE),
        ("Turn the background green.", (0, 255, 0)),
        ("the rest of the image should be rgb(1,2,3)", (1, 2, 3)),
        ("The rest of the picture stays (0, 0, 0).", BLACK),
        ('{"cat": "red", "background": "yellow"}', (255, 255, 0)),
        ('{"ears": <255, 165, 0>, "background": <125, 0, 125>}', (125, 0, 125)),
        ("no class: #123456", (18, 52, 86)),
        ("All other pixels are #000.", BLACK),
        ("Masks on a solid (12, 34, 56) background", (12, 34, 56)),
        ("background = 0xABCDEF", (171, 205, 239)),
        ("Use a pure white (#FFFFFF) background", WHITE),
        ("pitch black background", BLACK),
        ("Each box gets a unique flat color. The backdrop is lime.", (0, 255, 0)),
        ("Each box in a unique color, surroundings in #202020.", (32, 32, 32)),
        ("leave all non-box pixels white", WHITE),
        ("Everything that is not a car is rendered in solid black.", BLACK),
        ("against a white backdrop", WHITE),
        ("The background color is light gray; cups differ.", (211, 211, 211)),
    ],
)
def test_named_backgrounds_are_found(prompt: str, expected: tuple[int, int, int]) -> None:
    assert parse_background(prompt) == expected


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "Each piece of garlic is colored differently.",
        "The man in the background is green.",
        "Segment the cars in the background. Red is for trucks.",
        "Keep the background unchanged.",
        "Masks on a transparent background.",
        "The background is #10aa0.",
    ],
)
def test_prompts_without_a_readable_background_have_none(prompt: str) -> None:
    assert parse_background(prompt) is None


@pytest.mark.parametrize("name", ["background", "Background", "the background", "everything else", "rest of the image"])
def test_names_of_the_background(name: str) -> None:
    assert names_background(name)
    assert not names_background(f"cat in the {name}")
