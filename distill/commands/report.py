"""`distill report`: collect the results of run folders in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distill.console import Console


def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders that label, train, evaluate, export or bench wrote.")],
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html"),
    title: Annotated[str, typer.Option(help="Title of the report.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the collected results as one JSON object.")] = False,
) -> None:
    """Collect all results of the folders and their subfolders on one page.

    With several runs, the main metrics are compared in a table at the top.

    Examples:
        distill report runs/nano --out report.html

        distill report runs/nano runs/small --title "nano against small"
    """
    from distill.workflows.reports.collect import write_collected_report

    Console(as_json=as_json).result(write_collected_report(runs, out, title))
