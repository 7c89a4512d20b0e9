"""Parser for the colors that a prompt names: the legend of its classes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from distill.errors import UsageError
from distill.teachers.base import RGB
from distill.teachers.codecs.palette import BACKGROUND
from distill.teachers.prompts.background_parser import names_background
from distill.teachers.prompts.colors import NUMERIC_COLOR, color_names, leading_color, parse_color
from distill.teachers.prompts.legend_lists import pairs_of_items, pairs_of_json

_PAIR_JSON = re.compile(
    r"""["']([^"'{}]+)["']\s*:\s*(<[^>]+>|\([^)]+\)|\[[^\]]+\]|"[^"]*"|'[^']*'|\#\w+|rgb\([^)]*\)|[^\W\d][\w -]*)"""
)
_PAIR_LIST = re.compile(
    rf"([^\W\d][\w' /-]{{0,100}}?)\s{{0,9}}(?::|=|->|→)\s*({NUMERIC_COLOR.pattern}|[^\W\d][\w -]*)", re.IGNORECASE
)
_OPENING = re.compile(
    r"^[^:]*\b(?:mapping|legend|colou?rs|palette|classes|map|mask|segmentation|image)\s*:|^[^:=>→]*:(?=[^:=>→\n]*(?:=|->|→))"
)
"""Words before the first class of a list: "Colors: wall = red", "Segment these: wall -> red"."""
_CLAUSES = re.compile(r"[.;]\s+|[.;]$|,\s+(?:and\s+)?(?=the\b)|\s+and\s+(?=the\b)|\n+", re.IGNORECASE)
_VERB = re.compile(r"\b(?:is|are|will be|should be|must be|category in)\b", re.IGNORECASE)
_LEAD_IN = re.compile(
    # "Segment the cat" is an instruction; "the segment of a circle" is a class.
    r"^(?:(?!the\s).*\bsegment\s+)?(?:the\s+)?(?:area\s+that\s+corresponds\s+to\s+)?(?:the\s+)?",
    re.IGNORECASE,
)
_FRAME = re.compile(
    r"^(?:rendered|represented|depicted|shown|colou?red|painted|drawn|marked|set)?\s*(?:in|as|by|to|with)?\s*(?:an?\s+)?",
    re.IGNORECASE,
)
_NO_COLOR = re.compile(
    r"\b(?:unique|different|distinct|own|random|separate|same|varying|other|colou?rs|any|each|every|per|not|no|flat|"
    r"image|map|mask|masks|picture|visuali[sz]ation|labell?ing|segmentation|task)\b",
    re.IGNORECASE,
)
_NO_CLASS = re.compile(
    r"^(?:this|that|it|image|output|result|picture|photo|scene|style|masks?|edges|colou?rs?|background)\b", re.I
)


@dataclass(frozen=True, slots=True)
class ParsedLegend:
    """Legend of a prompt.

    Attributes:
        colors: Class to color, in the order of the sentence; everything outside the classes is ``background``.
        unreadable: Class to the text that stands for its color and cannot be read.
    """

    colors: dict[str, RGB] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)


def parse_legend(prompt: str) -> ParsedLegend:
    """Legend of a sentence: JSON style, ``<r, g, b>``, prose, lists and hex.

    Raises:
        UsageError: The sentence has no legend, or gives a class two colors.
    """
    found = (
        _parse_pairs(pairs_of_json(prompt))
        or _parse_pairs(_PAIR_JSON.findall(prompt))
        or _parse_clauses(prompt)
        or _parse_pairs(_PAIR_LIST.findall(_OPENING.sub("", prompt)))
        or _parse_pairs(pairs_of_items(prompt))
    )
    if found is None:
        raise UsageError(
            f"no legend in the prompt {prompt[:80]!r}", hint="name each class with its color, or give the row a legend"
        )
    return found


def _parse_pairs(pairs: list[tuple[str, str]]) -> ParsedLegend | None:
    """Legend of (name, text of a color); None if no text looks like a color."""
    legend = ParsedLegend()
    for name, text in pairs:
        color = leading_color(text.strip("\"'"))
        _add(legend, name, text.strip("\"' "), color)
    numeric = any(re.match(NUMERIC_COLOR.pattern + r"|#", text, re.IGNORECASE) for text in legend.unreadable.values())
    return legend if legend.colors or numeric else None


def _parse_clauses(prompt: str) -> ParsedLegend | None:
    """Legend of clauses such as "the cat that is cleaning itself is in cyan"; None without one."""
    legend = ParsedLegend()
    guesses: dict[str, str] = {}
    for clause in _CLAUSES.split(prompt):
        # The last verb before a color: names may contain verbs.
        for verb in reversed(list(_VERB.finditer(clause))):
            name = _LEAD_IN.sub("", clause[: verb.start()].strip()).strip()
            text = clause[verb.end() :].strip()
            plain = _FRAME.sub("", text)
            color = leading_color(plain, anywhere=True)
            if name and color is not None:
                _add(legend, name, plain, color)
                break
        else:
            guesses |= _unreadable(clause)
    # "The image is sharp" has the form of a legend; it is one only next to clauses that can be read.
    for name, text in guesses.items():
        if legend.colors or re.match(r"#|<|\(|\[|rgb", text, re.IGNORECASE):
            _add(legend, name, text, None)
    return legend if legend.colors or legend.unreadable else None


def _unreadable(clause: str) -> dict[str, str]:
    """Class and text of a clause that has the form of a legend, but no color that can be read."""
    verb = next(_VERB.finditer(clause), None)
    if verb is None:
        return {}
    name = _LEAD_IN.sub("", clause[: verb.start()].strip()).strip()
    text = clause[verb.end() :].strip()
    plain = _FRAME.sub("", text)
    if not name or _NO_CLASS.match(name) or not plain:
        return {}
    if found := re.search(r"#\w*|(?:\brgb\s*)?[<(\[][-\d\s,.%]+[>)\]]|\brgb\b.*", plain, re.IGNORECASE):
        return {name: found[0]}
    framed = plain != text
    is_typo = bool(difflib.get_close_matches(plain.lower(), color_names(), n=1, cutoff=0.75))
    if len(plain.split()) <= 3 and not _NO_COLOR.search(plain) and (framed or is_typo or len(plain.split()) == 1):
        return {name: plain}
    return {}


def _add(legend: ParsedLegend, name: str, text: str, color: RGB | None) -> None:
    """Add one class.

    Raises:
        UsageError: It has another color already.
    """
    name = BACKGROUND if names_background(name) else name.strip()
    before: RGB | str | None = legend.colors.get(name, legend.unreadable.get(name))
    after: RGB | str = text if color is None else color
    if before is not None and before != after:
        raise UsageError(
            f"the legend gives {name!r} two colors, {before} and {after}", hint="name each class once, with one color"
        )
    if color is None:
        legend.unreadable[name] = text
    else:
        legend.colors[name] = color


def named_colors(legend: Mapping[object, object], where: str) -> dict[str, RGB]:
    """A legend of a file, its colors as text or numbers.

    Raises:
        UsageError: A color cannot be read, is missing, or belongs to two classes.
    """
    found: dict[str, RGB] = {}
    for key, value in legend.items():
        name = str(key).strip()
        name = BACKGROUND if name.lower() == BACKGROUND else name
        if value in (None, ""):
            raise UsageError(f"{where}: {name!r} has no color", hint="write #RRGGBB, (r, g, b) or a CSS color name")
        try:
            color = parse_color(value)  # type: ignore[arg-type]  # refuses other types
        except UsageError as error:
            raise UsageError(f"{where}: {name!r}: {error.message}", hint=error.hint) from error
        if name in found:
            raise UsageError(f"{where}: {name!r} is given twice", hint="name each class once")
        found[name] = color
    return found
