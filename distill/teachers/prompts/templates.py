"""The sentence asked per task and teacher family, versioned and hashed.

Families: ``vision_banana`` (a generalist tuned to paint decodable answers, as in arXiv 2604.20329),
``open_vision_banana`` (its open re-implementation: gray relative inverse depth), ``editor`` (untuned image editors:
Nano Banana, FLUX, Qwen). `distill.teachers.prompts.legend_parser` reads legends back out of sentences.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from distill.errors import UsageError
from distill.tasks import DepthKind, Task
from distill.teachers.base import RGB, PromptSpec
from distill.teachers.codecs.palette import BACKGROUND
from distill.teachers.prompts.colors import hex_of, palette
from distill.teachers.prompts.legend_parser import parse_legend

__all__ = [
    "BACKGROUND",
    "FAMILIES",
    "PROMPT_VERSION",
    "STYLES",
    "depth_prompt",
    "instance_prompt",
    "normals_prompt",
    "parse_legend",
    "permute_legend",
    "prompt_hash",
    "referring_prompt",
    "semantic_prompt",
]

PROMPT_VERSION = 2
"""Raised whenever a sentence below changes; part of `prompt_hash`, so two versions are never mixed up."""

FAMILIES = ("vision_banana", "open_vision_banana", "editor")
STYLES = ("json_rgb", "json_hex", "prose_rgb", "prose_hex")

_CUBE = (
    "Predict the metric depth of this scene as an image. "
    "Visualized in the rainbow (black-red-yellow-green-cyan-blue-violet-white) color palette."
)
_MAPPED = "Predict the metric depth of this scene as an image. Visualized in the {colormap} colormap."
_GRAY = "Generate relative inverse depth: near points bright, far points dark, matching input pixels."
_EDITOR_GRAY = (
    "Turn this photo into a grayscale relative depth map: near points bright, far points dark. "
    "Keep framing, outlines and image size exactly as they are. No text, no borders."
)
_NORMALS = "Generate a surface normal map of the input image."
_EDITOR_NORMALS = (
    "Turn this photo into a camera-space surface normal map: surfaces facing left pinkish red, facing up light green, "
    "facing the camera light blue. Keep framing, outlines and image size exactly as they are. No text, no borders."
)
_EDITOR_TAIL = " Use flat, opaque, pure colors without outlines, shading or text. Keep the framing exactly as it is."


def depth_prompt(family: str = "vision_banana", *, colormap: str = "cube", resize_mode: str = "cover") -> PromptSpec:
    """Depth: metric along the cube path (or a colormap) for the tuned family, gray disparity for the others."""
    _check_family(family)
    if family != "vision_banana":
        prompt = _GRAY if family == "open_vision_banana" else _EDITOR_GRAY
        return PromptSpec(
            Task.DEPTH,
            prompt,
            colormap="gray",
            depth_kind=DepthKind.AFFINE_INVARIANT_DISPARITY,
            near_is_low=False,
            resize_mode=resize_mode,
        )
    prompt = _CUBE if colormap == "cube" else _MAPPED.format(colormap="grayscale" if colormap == "gray" else colormap)
    return PromptSpec(Task.DEPTH, prompt, colormap=colormap, resize_mode=resize_mode)


def normals_prompt(
    family: str = "vision_banana", *, frame: str = "vision_banana", resize_mode: str = "cover"
) -> PromptSpec:
    """Surface normals, painted in the named frame."""
    _check_family(family)
    return PromptSpec(
        Task.NORMALS, _EDITOR_NORMALS if family == "editor" else _NORMALS, frame=frame, resize_mode=resize_mode
    )


def semantic_prompt(
    classes: Sequence[str] | Mapping[str, RGB],
    family: str = "vision_banana",
    *,
    style: str = "json_rgb",
    seed: int | None = None,
    resize_mode: str = "cover",
) -> PromptSpec:
    """Every pixel by class; colors are chosen for the classes unless they are given.

    Args:
        classes: Names, or names with colors.
        family: Who is asked.
        style: How the legend is written; one of `STYLES`. Hex and numbers are obeyed more exactly than color names.
        seed: Shuffles colors and order of the legend; None leaves both as they are.
        resize_mode: How the answer will lie over the photo.
    """
    _check_family(family)
    legend = dict(classes) if isinstance(classes, Mapping) else _colored(classes)
    prompt_spec = PromptSpec(Task.SEMANTIC, legend=legend, resize_mode=resize_mode)
    if seed is not None:
        return permute_legend(prompt_spec, seed, family=family, style=style)
    return replace(prompt_spec, prompt=_semantic_sentence(legend, family, style, 0))


def referring_prompt(
    phrases: Sequence[str] | Mapping[str, RGB],
    family: str = "vision_banana",
    *,
    background: RGB = (0, 0, 0),
    style: str = "prose_rgb",
    resize_mode: str = "cover",
) -> PromptSpec:
    """The areas that these phrases mean, each in its color, everything else in the background's."""
    _check_family(family)
    if isinstance(phrases, Mapping):
        legend = dict(phrases)
    else:
        legend = dict(zip(_named(phrases), palette(len(phrases), background=background), strict=True))
    write = hex_of if style == "prose_hex" else _rgb
    parts = " ".join(f"The {_bare(phrase)} is rendered in {write(color)}." for phrase, color in legend.items())
    prompt = f"A segmentation map of the input image. The background is {write(background)}. {parts}"
    if family == "editor":
        prompt += _EDITOR_TAIL
    return PromptSpec(Task.REFERRING, prompt, legend=legend, background=background, resize_mode=resize_mode)


def instance_prompt(
    class_name: str, family: str = "vision_banana", *, background: RGB = (0, 0, 0), resize_mode: str = "cover"
) -> PromptSpec:
    """Every instance of one class in a color of its own."""
    _check_family(family)
    prompt = (
        f"This image shows segmentation masks for every {class_name} in the input image. "
        f"The background is set to {hex_of(background)}. "
        f"Each {class_name} instance is represented by a unique, solid color."
    )
    if family == "editor":
        prompt += _EDITOR_TAIL
    return PromptSpec(Task.INSTANCE, prompt, class_name=class_name, background=background, resize_mode=resize_mode)


def permute_legend(prompt_spec: PromptSpec, seed: int, *, family: str = "", style: str | None = None) -> PromptSpec:
    """The same semantic question with colors dealt anew, in another order and wording; equal for equal seeds.

    Generators find regions better than they obey colors: votes over permuted legends cancel wrong colors out.
    The set of colors stays the same; so does the teacher family, unless one is named.

    Raises:
        UsageError: Not a semantic question.
    """
    if prompt_spec.task is not Task.SEMANTIC:
        raise UsageError(
            f"a {prompt_spec.task} question has no legend to permute", hint="permute semantic questions only"
        )
    family = family or ("editor" if prompt_spec.prompt.endswith(_EDITOR_TAIL) else "vision_banana")
    dice = random.Random(seed)
    names, colors = list(prompt_spec.legend), list(prompt_spec.legend.values())
    dice.shuffle(names)
    dice.shuffle(colors)
    legend = dict(zip(names, colors, strict=True))
    chosen = style or dice.choice(STYLES)
    return replace(prompt_spec, legend=legend, prompt=_semantic_sentence(legend, family, chosen, dice.randrange(3)))


def prompt_hash(prompt_spec: PromptSpec) -> str:
    """Sixteen hex digits that name what a teacher is asked: prompt version, sentence, legend, class and background.

    How the answer will be read (frame, colormap, resize mode, depth kind, ...) has no part in it: an answer that was paid for can
    be read in another way without being asked for again.
    """
    # A legend's order is part of the question: ids follow it.
    asked = [str(prompt_spec.task), prompt_spec.prompt, list(prompt_spec.legend.items()), prompt_spec.class_name]
    text = json.dumps([PROMPT_VERSION, *asked, list(prompt_spec.background)], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


_OPENINGS = (
    "Generate a semantic segmentation visualization of the input image",
    "Conduct per-class semantic segmentation for the given image",
    "This image is a per-pixel class labeling of the input",
)


def _semantic_sentence(legend: Mapping[str, RGB], family: str, style: str, opening: int) -> str:
    """The sentence that asks for this legend."""
    if style not in STYLES:
        raise UsageError(f"unknown legend style {style!r}", hint=f"one of {', '.join(STYLES)}")
    if style.startswith("json"):
        write = _triple if style == "json_rgb" else _quoted_hex
        pairs = ", ".join(f'"{name}": {write(color)}' for name, color in legend.items())
        sentence = f"{_OPENINGS[opening]}, using this color mapping: {{{pairs}}}"
    else:
        say = _rgb if style == "prose_rgb" else hex_of
        parts = " ".join(f"The {_bare(name)} is represented by {say(color)}." for name, color in legend.items())
        sentence = f"{_OPENINGS[opening]}. {parts}"
    return sentence + _EDITOR_TAIL if family == "editor" else sentence


def _triple(color: RGB) -> str:
    return "<{}, {}, {}>".format(*color)


def _rgb(color: RGB) -> str:
    return "({}, {}, {})".format(*color)


def _quoted_hex(color: RGB) -> str:
    return f'"{hex_of(color)}"'


def _bare(phrase: str) -> str:
    return re.sub(r"^the\s+", "", phrase.strip(), flags=re.IGNORECASE)


def _colored(classes: Sequence[str]) -> dict[str, RGB]:
    """Colors for class names; one named background gets black, and the others stay away from it."""
    names = _named(classes)
    others = [name for name in names if name.lower() != BACKGROUND]
    colors = iter(palette(len(others))) if others else iter(())
    return {name: (0, 0, 0) if name.lower() == BACKGROUND else next(colors) for name in names}


def _named(names: Sequence[str]) -> list[str]:
    """The names, checked: at least one, none twice, none that would break a sentence."""
    cleaned = [name.strip() for name in names]
    if not cleaned or len(set(cleaned)) != len(cleaned):
        raise UsageError(f"class names must be given once each, not {list(names)}", hint="remove the repeated name")
    for name in cleaned:
        if not name or re.search(r"[\"{}<>\n]", name):
            raise UsageError(f"{name!r} cannot be a class name", hint="use words, without quotes, braces or <>")
    return cleaned


def _check_family(family: str) -> None:
    if family not in FAMILIES:
        raise UsageError(f"unknown teacher family {family!r}", hint=f"one of {', '.join(FAMILIES)}")
