"""Prompts have fixed wording, and legends can be parsed back from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from distill.errors import UsageError
from distill.tasks import DepthKind, Task
from distill.teachers.prompts.legend_parser import parse_legend
from distill.teachers.prompts.templates import FAMILIES, STYLES, prompt_hash
from distill.teachers.tasks.depth import depth_prompt
from distill.teachers.tasks.instance import instance_prompt
from distill.teachers.tasks.normals import normals_prompt
from distill.teachers.tasks.referring import referring_prompt
from distill.teachers.tasks.semantic import permute_legend, semantic_prompt

PUBLISHED = [
    (
        '{"cat": "red", "lock": "pink", "exit sign": "light purple", "background": "yellow"}',
        {"cat": (255, 0, 0), "lock": (255, 192, 203), "exit sign": (212, 196, 227), "background": (255, 255, 0)},
    ),
    (
        'using this color mapping: {"cat ears": <255, 165, 0>, "exit sign": <0, 0, 255>}',
        {"cat ears": (255, 165, 0), "exit sign": (0, 0, 255)},
    ),
    (
        "This image is a per-pixel class labeling of the input. The macaron cakes are represented by (255, 255, 0). "
        "The slice cakes are depicted in (64, 192, 64). The flowers are shown in (128, 0, 64). "
        "The tongs are (255, 0, 192).",
        {
            "macaron cakes": (255, 255, 0),
            "slice cakes": (64, 192, 64),
            "flowers": (128, 0, 64),
            "tongs": (255, 0, 192),
        },
    ),
    (
        "Generate a semantic segmentation visualization of the input. The menu is #80C000. "
        "The patterns on the wall is #40FFC0",
        {"menu": (128, 192, 0), "patterns on the wall": (64, 255, 192)},
    ),
    ("Segment the skateboard category in pure yellow (<255, 255, 0>)", {"skateboard": (255, 255, 0)}),
    (
        "A map. The stretching cat is rendered in green, the cat that is cleaning itself is in cyan.",
        {"stretching cat": (0, 255, 0), "cat that is cleaning itself": (0, 255, 255)},
    ),
    (
        "A segmentation map image. The area that corresponds to the man in pink t shirt is rendered solid white; "
        "the other man is rendered in green.",
        {"man in pink t shirt": (255, 255, 255), "other man": (0, 255, 0)},
    ),
    (
        "The background is black color. The game control device is represented by a solid yellow.",
        {"background": (0, 0, 0), "game control device": (255, 255, 0)},
    ),
    (
        "The pig not in the glass is rendered cyan, and the pig in the glass reflection is rendered yellow.",
        {"pig not in the glass": (0, 255, 255), "pig in the glass reflection": (255, 255, 0)},
    ),
    (
        'The "crescent"-shaped croissant instances are each represented by a unique, solid color. '
        "Background is RGB(88, 50, 82).",
        {"background": (88, 50, 82)},
    ),
]

word = st.text("abcdefghijklmnopqrstuvwxyz", min_size=2, max_size=8).filter(
    lambda text: text not in {"is", "are", "the"}
)
name = st.lists(word, min_size=1, max_size=3).map(" ".join).filter(lambda text: " and the " not in text)


@pytest.mark.parametrize(("prompt", "legend"), PUBLISHED)
def test_legends_of_published_prompts_are_parsed(prompt: str, legend: dict[str, tuple[int, int, int]]) -> None:
    assert parse_legend(prompt).colors == legend


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=25, deadline=None)
@given(names=st.lists(name, min_size=1, max_size=12, unique=True), seed=st.none() | st.integers(0, 99))
@example(names=["segment of a circle", "orange segment peel"], seed=None)
def test_legends_can_be_parsed_back_from_prompts(style: str, family: str, names: list[str], seed: int | None) -> None:
    prompt_spec = semantic_prompt(names, family, style=style, seed=seed)
    assert list(parse_legend(prompt_spec.prompt).colors.items()) == list(prompt_spec.legend.items())


def test_referring_legends_can_be_parsed_back() -> None:
    prompt_spec = referring_prompt(["the red car", "man on the left"], background=(0, 0, 0))
    legend = parse_legend(prompt_spec.prompt).colors
    assert legend.pop("background") == (0, 0, 0)
    assert legend == {
        "red car": prompt_spec.legend["the red car"],
        "man on the left": prompt_spec.legend["man on the left"],
    }


def test_permutation_keeps_names_and_colors_but_not_their_pairs() -> None:
    first = semantic_prompt(["road", "sky", "car", "person", "background"])
    turned = permute_legend(first, 3)
    assert set(turned.legend) == set(first.legend)
    assert set(turned.legend.values()) == set(first.legend.values())
    assert dict(turned.legend) != dict(first.legend)
    assert permute_legend(first, 3) == turned
    assert prompt_hash(permute_legend(first, 4)) != prompt_hash(turned)


def test_only_semantic_prompts_can_be_permuted() -> None:
    with pytest.raises(UsageError, match="depth"):
        permute_legend(depth_prompt(), 0)


def test_depth_prompts_define_their_decoding() -> None:
    assert depth_prompt().colormap == "cube"
    assert "black-red-yellow-green-cyan-blue-violet-white" in depth_prompt().prompt
    gray = depth_prompt("open_vision_banana")
    assert (gray.colormap, gray.depth_kind, gray.near_is_low) == ("gray", DepthKind.AFFINE_INVARIANT_DISPARITY, False)
    assert "viridis" in depth_prompt(colormap="viridis").prompt


def test_the_instance_prompt_names_class_and_background() -> None:
    prompt_spec = instance_prompt("price tag", background=(88, 50, 82))
    assert prompt_spec.task is Task.INSTANCE
    assert "price tag" in prompt_spec.prompt
    assert "#583252" in prompt_spec.prompt


@pytest.mark.parametrize("change", [{"prompt": "x"}, {"class_name": "cat"}, {"background": (1, 1, 1)}])
def test_the_hash_covers_everything_in_the_prompt(change: dict[str, Any]) -> None:
    prompt_spec = instance_prompt("dog")
    assert prompt_hash(prompt_spec) == prompt_hash(instance_prompt("dog"))
    assert prompt_hash(replace(prompt_spec, **change)) != prompt_hash(prompt_spec)


@pytest.mark.parametrize(
    "change", [{"resize_mode": "fill"}, {"frame": "opencv"}, {"colormap": "turbo"}, {"reader": "hues"}, {"lam": -2.0}]
)
def test_the_hash_ignores_keys_of_decoding(change: dict[str, Any]) -> None:
    prompt_spec = instance_prompt("dog")
    assert prompt_hash(replace(prompt_spec, **change)) == prompt_hash(prompt_spec)


def test_the_hash_depends_on_the_order_of_the_legend() -> None:
    prompt_spec = semantic_prompt({"a": (255, 0, 0), "b": (0, 255, 0)})
    turned = replace(prompt_spec, legend=dict(reversed(list(prompt_spec.legend.items()))))
    assert prompt_hash(turned) != prompt_hash(prompt_spec)


def test_hashes_equal_their_golden_values() -> None:
    """Changes only together with PROMPT_VERSION: stored labels are found by it."""
    assert prompt_hash(normals_prompt()) == "c3bf913f939ad5a7"


@pytest.mark.parametrize("names", [[], ["a", "a"], [""], ['say "x"'], ["a{b"]])
def test_invalid_names_are_refused(names: list[str]) -> None:
    with pytest.raises(UsageError):
        semantic_prompt(names)


def test_unknown_family_and_style_are_refused() -> None:
    with pytest.raises(UsageError, match="family"):
        depth_prompt("dalle")
    with pytest.raises(UsageError, match="style"):
        semantic_prompt(["a"], style="poem")


@pytest.mark.parametrize("prompt", ["", "Generate a depth map.", "Each piece of garlic is colored differently."])
def test_a_prompt_without_a_legend_is_an_error(prompt: str) -> None:
    with pytest.raises(UsageError, match="no legend"):
        parse_legend(prompt)
