"""A table as people read it in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from distill.report import Cell, format_cell


def text_table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Columns side by side, numbers to the right, a rule below the names."""
    lines = [list(columns), *([format_cell(cell) for cell in row] for row in rows)]
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
