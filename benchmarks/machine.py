"""Provenance of a benchmark result: machine, versions, command."""

from __future__ import annotations

import datetime
import shlex
import sys
from pathlib import Path

from distill.report.blocks import Report, Section, Table, Text
from distill.report.markdown import to_markdown
from distill.run_dir import machine, versions


def results_page(title: str, notes: str, tables: list[Table], out: Path | None) -> None:
    """Print a result as Markdown and, optionally write it."""
    # The exact command, with paths as they were given.
    command = "python " + " ".join(shlex.quote(word) for word in sys.argv)
    facts = {"date": datetime.date.today().isoformat(), "command": command, **machine(), **versions()}
    page = to_markdown(Report(title, [Section("Measured", [Text(notes), *tables])], facts=facts))
    if out is not None:
        out.write_text(page)
    print(page)
