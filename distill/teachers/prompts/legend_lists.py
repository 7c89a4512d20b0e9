"""Legends that a prompt writes as JSON objects, tables or lists: pairs of a class and the text of its color."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from distill.errors import UsageError
from distill.teachers.prompts.colors import parse_color

Pairs = list[tuple[str, str]]

_NAME_KEYS = ("name", "class", "label", "category", "class_name", "object", "title")
_COLOR_KEYS = ("color", "colour", "rgb", "hex", "value", "color_rgb", "color_hex")
_NUMBER = re.compile(r"^\s*(?:[-*•]|\(?\d{1,3}[.):]\s)\s*")
"""Bullet or number of an item."""
_ITEMS = re.compile(r"[;\n]|,(?![^(<\[]{0,30}[)>\]])|\band\b|[.](?:\s|$)|(?<!,)\s(?=\d{1,3}[.)]\s)")
_ARTICLES = r"(?:all\s+|the\s+|an?\s+){0,3}"
_FORMS: tuple[re.Pattern[str], ...] = (
    re.compile(r"^\|?(?P<name>[^|]+)\|(?P<color>[^|]+)\|?$"),
    re.compile(r"^(?P<name>[^():]+?)\s*\((?P<color>[^()]+|[\d\s,]+)\)$"),
    re.compile(r"^(?P<name>[^:]+?)\s+[-–—]\s+(?P<color>[^:]+)$"),
    re.compile(
        rf"^(?:use\s+)?(?P<color>[^:]+?)\s+(?:for|means|stands for|denotes)\s+{_ARTICLES}(?P<name>[^:]+)$",
        re.I,
    ),
    re.compile(r"^(?P<color>[^:]+?)\s*(?::|=|->|→)\s*(?P<name>[^:]+)$"),
    *(
        # The longest color first: "the wall light blue".
        re.compile(
            rf"^(?:colou?r\s+|mark\s+|fill\s+)?{_ARTICLES}(?P<name>\S.*?)\s+(?:in\s+)?(?P<color>(?:\S+\s+){{{more}}}\S+)$",
            re.I,
        )
        for more in (2, 1, 0)
    ),
)
"""Forms of an item."""


def pairs_of_json(prompt: str) -> Pairs:
    """Pairs of the first JSON value in a prompt that states classes with colors, in any of the usual forms.

    ``{"cat": "red"}``, ``{"red": "cat"}``, ``{"cat": {"color": [255, 0, 0]}}``, ``[{"name": "cat", "color": "red"}]``,
    each also below another key.
    """
    decoder, start = json.JSONDecoder(), 0
    while (found := re.compile(r"[{\[]").search(prompt, start)) is not None:
        try:
            value, start = decoder.raw_decode(prompt, found.start())
        except (ValueError, RecursionError):
            start = found.end()
            continue
        if pairs := _pairs_of_value(value):
            return pairs
    return []


def _pairs_of_value(value: Any) -> Pairs:
    if isinstance(value, list):
        rows = [(_first(row, _NAME_KEYS), _first(row, _COLOR_KEYS)) for row in value if isinstance(row, dict)]
        return [(str(name), _text(color)) for name, color in rows if name is not None and color is not None]
    if not isinstance(value, dict) or not value:
        return []
    if all(isinstance(held, dict) for held in value.values()):
        rows = [(name, _first(held, _COLOR_KEYS)) for name, held in value.items()]
        if all(color is not None for _, color in rows):
            return [(name, _text(color)) for name, color in rows]
    below = [pairs for held in value.values() if isinstance(held, list | dict) and (pairs := _pairs_of_value(held))]
    if below:
        return below[0]
    names = [held for held in value.values() if isinstance(held, str) and not _is_color(held)]
    return (
        [(held, key) for key, held in value.items()] if len(names) == len(value) and all(map(_is_color, value)) else []
    )


def _first(row: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    lower = {str(key).lower(): held for key, held in row.items()}
    return next((lower[key] for key in keys if lower.get(key) is not None), None)


def _text(color: Any) -> str:
    return f"({', '.join(map(str, color))})" if isinstance(color, list) else str(color)


def pairs_of_items(prompt: str) -> Pairs:
    """Pairs of a table or list, or of "use red for the wall": at least two items, each with one color.

    Items in front of the first one (an opening, the head of a table) are left out.
    """
    body = prompt.rpartition(":")[2] if prompt.count(":") == 1 else prompt
    for text in dict.fromkeys((prompt, body)):
        items = [_NUMBER.sub("", item.strip()).strip() for item in _ITEMS.split(text)]
        pairs = [_pair(item) for item in items if re.search(r"[^\W\d]", item)]
        while pairs and pairs[0] is None:
            pairs.pop(0)
        if len(pairs) > 1 and None not in pairs:
            return [pair for pair in pairs if pair is not None]
    return []


def _pair(item: str) -> tuple[str, str] | None:
    """The class and the color of an item, by the first form in which one is a color and the other is none."""
    for form in _FORMS:
        if (found := form.match(item)) is None:
            continue
        name, color = found["name"].strip(" |*`\"'"), found["color"].strip(" |*`\"'")
        if name and _is_color(color) and not _is_color(name):
            return name, color
    return None


def _is_color(text: str) -> bool:
    try:
        parse_color(text)
    except UsageError:
        return False
    return True
