"""Parser for color legends in prompts."""

from __future__ import annotations

import re

from distill.errors import UsageError
from distill.teachers.base import RGB
from distill.teachers.codecs.palette import BACKGROUND
from distill.teachers.prompts.colors import parse_color

_PAIR_JSON = re.compile(r"""["']([^"'{}]+)["']\s*:\s*(<[^>]+>|\([^)]+\)|\[[^\]]+\]|"[^"]+"|'[^']+'|\#\w{6})""")
_NUMERIC = re.compile(r"<[\d\s,]+>|\([\d\s,]+\)|\[[\d\s,]+\]|#[0-9a-f]{6}\b", re.IGNORECASE)
_CLAUSES = re.compile(r"[.;]\s+|[.;]$|,\s+(?:and\s+)?(?=the\b)|\s+and\s+(?=the\b)", re.IGNORECASE)
_VERB = re.compile(r"\b(?:is|are|will be|category in)\b", re.IGNORECASE)
_LEAD_IN = re.compile(
    # "Segment the cat" is an instruction; "the segment of a circle" is a class.
    r"^(?:(?!the\s).*\bsegment\s+)?(?:the\s+)?(?:area\s+that\s+corresponds\s+to\s+)?(?:the\s+)?",
    re.IGNORECASE,
)
_FILLER = re.compile(
    r"^(?:rendered|represented|depicted|shown|colou?red|painted|drawn|marked|set)?\s*(?:in|as|by|to|with)?\s*(?:an?\s+)?",
    re.IGNORECASE,
)


def parse_legend(prompt: str) -> dict[str, RGB]:
    """Legend of a sentence: JSON style, ``<r, g, b>``, prose and hex; in the order of the sentence.

    Raises:
        UsageError: The sentence has no legend.
    """
    if pairs := _PAIR_JSON.findall(prompt):
        return {name.strip(): parse_color(color) for name, color in pairs}
    legend = dict(pair for clause in _CLAUSES.split(prompt) if (pair := _clause_pair(clause)))
    if not legend:
        raise UsageError(f"no legend in the prompt {prompt[:80]!r}", hint="name each class with its color")
    return legend


def _clause_pair(clause: str) -> tuple[str, RGB] | None:
    """(name, color) of a clause such as "the cat that is cleaning itself is in cyan"; None without a color."""
    # The last verb before a color: names may contain verbs.
    for verb in reversed(list(_VERB.finditer(clause))):
        name = _LEAD_IN.sub("", clause[: verb.start()].strip()).strip()
        color = _leading_color(_FILLER.sub("", clause[verb.end() :].strip()))
        if name and color is not None:
            return (BACKGROUND if name.lower() == BACKGROUND else name), color
    return None


def _leading_color(text: str) -> RGB | None:
    if found := _NUMERIC.search(text):
        return parse_color(found[0])
    words = text.split()[:4]
    for count in range(len(words), 0, -1):
        try:
            return parse_color(" ".join(words[:count]))
        except UsageError:
            continue
    return None
