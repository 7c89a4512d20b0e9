"""Parser for the background color that a prompt names: of everything outside its classes, instances or phrases."""

from __future__ import annotations

import re

from distill.teachers.base import RGB
from distill.teachers.prompts.colors import leading_color, trailing_color

_PIXELS = r"(?:pixels?|areas?|regions?|parts?|objects?|things?|surfaces?|content)"
_SCENE = r"(?:image|picture|photo|scene|frame|canvas|pixels)"
_NOUN = (
    rf"(?:(?:the\s+)?(?:image\s+)?(?:background|backdrop|surroundings|void|bg)(?:\s+(?:colou?r|{_PIXELS}))?"
    rf"|(?:everything|all|anything)\s+(?:else|outside|(?:that|which)\s+is\s+not\s+an?\s+\w+)"
    rf"|(?:all\s+|any\s+|the\s+){{0,3}}non-\w+\s+{_PIXELS}"
    rf"|(?:the\s+)?rest(?:\s+of\s+(?:the\s+)?{_SCENE})?"
    rf"|(?:all\s+|any\s+|the\s+){{0,3}}(?:other|remaining|unlabell?ed)\s+{_PIXELS}"
    rf"|no\s+class|none\s+of\s+(?:them|these|the\s+above))"
)
_ANY = re.compile(rf"\b{_NOUN}(?![\w-])", re.IGNORECASE)
_WHOLE = re.compile(rf"^{_NOUN}$", re.IGNORECASE)
_PLACE = re.compile(r"\b(?:in|at|from|of|behind|into|near)\s+$", re.IGNORECASE)
"""Words before a noun that make it a place: "the man in the background is green" names no background color."""
_LINKS = re.compile(
    r"^(?:[\s\"']|[:=]|->|→|\b(?:is|are|will|should|must|shall|be|being|to|in|as|of|by|with|stays?|remains?|becomes?|turns?|"
    r"gets?|set|rendered|represented|depicted|shown|colou?red|painted|drawn|filled|marked|left|kept|made|entirely|"
    r"completely|uniformly|always|all|an?|the)\b)+",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[.;!?](?:\s|$)|\n")


def names_background(name: str) -> bool:
    """Whether a class name means everything outside the other classes."""
    return bool(_WHOLE.match(name.strip()))


def parse_background(prompt: str) -> RGB | None:
    """Background color that a prompt names; None if it names none that can be read.

    Understood: "Background is set to #10aa05", "on a plain white background", "everything else black", "the rest of the
    image stays (0, 0, 0)", ``"background": "yellow"``, in any order.
    """
    for noun in _ANY.finditer(prompt):
        if _PLACE.search(prompt[: noun.start()]):
            continue
        after = _SENTENCE.split(prompt[noun.end() :], maxsplit=1)[0]
        linked = _LINKS.sub("", after)
        color = leading_color(linked)
        if color is None and re.match(r"\s*(?:background|backdrop|bg)", noun[0].lower().removeprefix("the")):
            before = _SENTENCE.split(prompt[: noun.start()])[-1]
            color = trailing_color(before)
        if color is not None:
            return color
    return None
