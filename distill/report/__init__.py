"""Reports: typed blocks to JSON, Markdown and one self-contained HTML file. Independent of tasks and engines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distill.errors import UsageError
from distill.files import write_atomic
from distill.report.blocks import (
    Bars,
    Block,
    CaptionedImage,
    Cell,
    Code,
    ColorKey,
    ColorScale,
    Curve,
    Curves,
    Fold,
    Gallery,
    Histogram,
    KeyValues,
    Link,
    Links,
    Matrix,
    Metric,
    Metrics,
    Report,
    Section,
    Table,
    Text,
    Video,
)
from distill.report.html import to_html
from distill.report.markdown import format_cell, to_json, to_markdown

__all__ = [
    "Bars",
    "Block",
    "CaptionedImage",
    "Cell",
    "Code",
    "ColorKey",
    "ColorScale",
    "Curve",
    "Curves",
    "Fold",
    "Gallery",
    "Histogram",
    "KeyValues",
    "Link",
    "Links",
    "Matrix",
    "Metric",
    "Metrics",
    "Report",
    "Section",
    "Table",
    "Text",
    "Video",
    "format_cell",
    "to_html",
    "to_json",
    "to_markdown",
    "write_report",
]


_FORMATS = {"html": to_html, "md": to_markdown, "json": to_json}


def write_report(
    report: Report, folder: Path, stem: str, *, formats: Sequence[str] = ("html", "md", "json")
) -> dict[str, Path]:
    """Write ``<stem>.html``, ``<stem>.md`` and ``<stem>.json``; returns the paths by format.

    Raises:
        UsageError: The folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{folder}: cannot be used as a folder: {error.strerror}", hint="choose another --out"
        ) from error
    paths = {name: folder / f"{stem}.{name}" for name in formats}
    for name, path in paths.items():
        write_atomic(path, _FORMATS[name](report).encode())
    return paths
