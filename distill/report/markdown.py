"""Report as JSON, and as Markdown for terminals and pull requests (images by caption only)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from distill.escaping import for_line, for_markdown, for_terminal
from distill.report.blocks import Block, Cell, Code, Fold, Gallery, KeyValues, Matrix, Metrics, Report, Table, Text

MISSING = "–"


def format_cell(value: Cell | np.generic) -> str:
    """Format a value for people: four significant digits, thousands separators, a dash for unknown values."""
    if isinstance(value, np.generic):
        return format_cell(value.item())
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return _format_float(value)
    return for_terminal(value)


def _format_float(value: float) -> str:
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    size = abs(value)
    if size >= 10_000 or (size >= 1000 and value == round(value)):
        return f"{value:,.0f}"
    if size and size < 1e-4:
        return f"{value:.2e}"
    # Four significant digits: 0.0823, 0.8231, 8.231, 82.31, 823.1.
    decimals = 4 if size < 1 else max(0, 3 - math.floor(math.log10(size)))
    return f"{value:.{decimals}f}"


def to_json(report: Report) -> str:
    """The report as JSON; NaN is null."""
    page = {
        "title": report.title,
        "summary": report.summary,
        "sections": [
            {"title": section.title, "blocks": [_block_values(block) for block in section.blocks]}
            for section in report.sections
        ],
        "facts": dict(report.facts),
    }
    return json.dumps(to_json_values(page), indent=2, ensure_ascii=False)


def to_json_values(value: Any) -> Any:
    """The same structure in plain Python types, NaN and infinities as None, which JSON lacks."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: to_json_values(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [to_json_values(item) for item in value]
    return value


def _block_values(block: Block) -> dict[str, Any]:
    kind = {"kind": type(block).__name__.lower()}
    if isinstance(block, Gallery):
        return {**kind, "title": block.title, "captions": [picture.caption for picture in block.images]}
    if isinstance(block, Fold):
        return {**kind, "title": block.title, "blocks": [_block_values(item) for item in block.blocks]}
    values = asdict(block)
    # Bold cells are for display only.
    values.pop("bold", None)
    return {**kind, **values}


def to_markdown(report: Report) -> str:
    """The report as Markdown, without images and plots."""
    parts = [f"# {for_markdown(report.title)}"]
    if report.summary:
        parts.append(for_markdown(report.summary))
    for section in report.sections:
        parts.append(f"## {for_markdown(section.title)}")
        parts += [text for text in map(_block_markdown, section.blocks) if text]
    if report.facts:
        parts.append("## Made with")
        parts.append(_key_values_markdown(KeyValues(report.facts)))
    return "\n\n".join(parts) + "\n"


def _block_markdown(block: Block) -> str:
    found = ""  # images, plots and links are in the HTML page
    match block:
        case Text():
            text = for_markdown(block.text)
            found = f"> {text}" if block.tone == "warning" else text
        case Metrics():
            found = "\n".join(
                for_markdown(f"- **{format_cell(item.value)}** {item.label}" + (f" ({item.note})" if item.note else ""))
                for item in block.items
            )
        case KeyValues():
            found = _key_values_markdown(block)
        case Table():
            found = _table_markdown(block)
        case Matrix():
            rows = [[name, *values] for name, values in zip(block.names, block.values, strict=True)]
            found = _table_markdown(Table(["true class", *block.names], rows, block.title, block.note))
        case Code():
            found = f"```text\n{for_terminal(block.text).replace('```', '` ` `')}\n```"
        case Fold():
            found = "\n\n".join(text for text in map(_block_markdown, block.blocks) if text)
    return found


def _key_values_markdown(block: KeyValues) -> str:
    lines = [for_markdown(f"- {name}: {format_cell(value)}").replace("\n", " ") for name, value in block.values.items()]
    return "\n".join([f"**{block.title}**", "", *lines] if block.title else lines)


def _table_markdown(block: Table) -> str:
    rows = [
        [
            f"**{format_cell(cell)}**" if (row, column) in block.bold else format_cell(cell)
            for column, cell in enumerate(cells)
        ]
        for row, cells in enumerate(block.rows)
    ]
    escaped = [
        [for_markdown(cell).replace("|", "\\|").replace("\n", " ") for cell in row]
        for row in [list(block.columns), *rows]
    ]
    widths = [max(3, *(len(row[column]) for row in escaped)) for column in range(len(block.columns))]
    numeric = numeric_columns(block)

    def line(cells: list[str]) -> str:
        padded = (
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(cells, widths, numeric, strict=True)
        )
        return "| " + " | ".join(padded) + " |"

    rule = (
        "|"
        + "|".join(
            " " + "-" * width + ": " if is_number else " " + "-" * width + " "
            for width, is_number in zip(
                [w - 1 if n else w for w, n in zip(widths, numeric, strict=True)], numeric, strict=True
            )
        )
        + "|"
    )
    title = [f"**{block.title}**", ""] if block.title else []
    note = ["", f"*{block.note}*"] if block.note else []
    return "\n".join([*title, line(escaped[0]), rule, *(line(row) for row in escaped[1:]), *note])


def numeric_columns(block: Table) -> list[bool]:
    """Columns of numbers, which are aligned right."""
    return [
        any(isinstance(row[column], (int, float)) and not isinstance(row[column], bool) for row in block.rows)
        for column in range(len(block.columns))
    ]


def text_table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Plain-text table: numbers aligned right, a rule below the header."""
    lines = [list(columns), *([for_line(format_cell(cell)) for cell in row] for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    right = [any(isinstance(row[index], int | float) for row in rows) for index in range(len(columns))]
    shown = [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    ]
    return "\n".join([shown[0], "  ".join("-" * width for width in widths), *shown[1:]])
