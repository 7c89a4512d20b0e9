"""Parts that all prompt templates share: families, version, hash, spelling of colors and names.

Families: ``vision_banana`` (a generalist tuned to generate decodable images, as in arXiv 2604.20329),
``open_vision_banana`` (its open re-implementation: gray relative inverse depth), ``editor`` (untuned image editors:
Nano Banana, FLUX, Qwen). The sentences are in `distill.teachers.tasks`, one module per task.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence

from distill.errors import UsageError
from distill.teachers.base import RGB, PromptSpec
from distill.teachers.codecs.palette import BACKGROUND
from distill.teachers.prompts.colors import palette

PROMPT_VERSION = 2
"""Raised whenever a sentence changes; part of `prompt_hash`, so that versions are never mixed."""

FAMILIES = ("vision_banana", "open_vision_banana", "editor")
STYLES = ("json_rgb", "json_hex", "prose_rgb", "prose_hex")
EDITOR_TAIL = " Use flat, opaque, pure colors without outlines, shading or text. Keep the framing exactly as it is."


def prompt_hash(prompt_spec: PromptSpec) -> str:
    """Sixteen hex digits of everything that the teacher receives: version, task, sentence, legend, class, background.

    Keys of decoding (frame, colormap, resize mode, depth kind, ...) are left out: a paid answer can be decoded in
    another way without a new request.
    """
    # A legend's order is part of the prompt: ids follow it.
    sent = [str(prompt_spec.task), prompt_spec.prompt, list(prompt_spec.legend.items()), prompt_spec.class_name]
    text = json.dumps([PROMPT_VERSION, *sent, list(prompt_spec.background or (0, 0, 0))], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def check_family(family: str) -> None:
    """Raise if there is no teacher family of this name."""
    if family not in FAMILIES:
        raise UsageError(f"unknown teacher family {family!r}", hint=f"one of {', '.join(FAMILIES)}")


def check_names(names: Sequence[str]) -> list[str]:
    """The names without surrounding spaces.

    Raises:
        UsageError: No name, a repeated name, or one with quotes, braces or angle brackets.
    """
    cleaned = [name.strip() for name in names]
    if not cleaned or len(set(cleaned)) != len(cleaned):
        raise UsageError(f"class names must be given once each, not {list(names)}", hint="remove the repeated name")
    for name in cleaned:
        if not name or re.search(r"[\"{}<>\n]", name):
            raise UsageError(f"{name!r} cannot be a class name", hint="use words, without quotes, braces or <>")
    return cleaned


def names_or_legend(names: Mapping[str, RGB | None]) -> Sequence[str] | Mapping[str, RGB]:
    """Names with their colors, or only names."""
    colored = {name: color for name, color in names.items() if color is not None}
    return colored or list(names)


def color_classes(classes: Sequence[str]) -> dict[str, RGB]:
    """Colors for class names; ``background`` becomes black, and the others keep a distance from it."""
    names = check_names(classes)
    others = [name for name in names if name.lower() != BACKGROUND]
    colors = iter(palette(len(others))) if others else iter(())
    return {name: (0, 0, 0) if name.lower() == BACKGROUND else next(colors) for name in names}


def bare_phrase(phrase: str) -> str:
    """A phrase without a leading "the"."""
    return re.sub(r"^the\s+", "", phrase.strip(), flags=re.IGNORECASE)


def rgb_text(color: RGB) -> str:
    """A color as ``(r, g, b)``."""
    return "({}, {}, {})".format(*color)
