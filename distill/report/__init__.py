"""Results as pages: typed blocks to JSON, Markdown, and one self-contained HTML file that can be sent to anyone.

Knows nothing of tasks, students or engines; whoever has results puts them into blocks.
"""

from __future__ import annotations

from distill.report.blocks import (
    Block,
    Cell,
    Curve,
    Curves,
    Facts,
    Gallery,
    Headline,
    Headlines,
    Picture,
    Report,
    Section,
    Swatches,
    Table,
    Text,
)
from distill.report.html import to_html
from distill.report.plain import format_cell, to_json, to_markdown
from distill.report.writing import write_report

__all__ = [
    "Block",
    "Cell",
    "Curve",
    "Curves",
    "Facts",
    "Gallery",
    "Headline",
    "Headlines",
    "Picture",
    "Report",
    "Section",
    "Swatches",
    "Table",
    "Text",
    "format_cell",
    "to_html",
    "to_json",
    "to_markdown",
    "write_report",
]
