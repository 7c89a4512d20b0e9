"""Text of others, such as class names, photo names and licenses, made safe for a terminal, Markdown and HTML."""

from __future__ import annotations

import re
from html import escape

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_TAG = re.compile(r"<(?=[A-Za-z/!?])")


def for_terminal(text: str) -> str:
    """Text with visible codes in place of control characters, which could move the cursor or reorder a line.

    Line breaks and tabs stay.
    """
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def for_markdown(text: str) -> str:
    """Text without HTML tags, links and images, on its lines."""
    return _TAG.sub("&lt;", for_terminal(text)).replace("](", "]\\(").replace("][", "]\\[").replace("]:", "]\\:")


def for_html(text: str) -> str:
    """Text for the content of an element or of a quoted attribute."""
    return escape(for_terminal(text))
