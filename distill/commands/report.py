"""`distill report`: collect the results of run folders in linked pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distill.console import Console


def report(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders that label, train, evaluate, export, bench or predict wrote.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of linked pages (index.html), or a name that ends in .html for one page.")
    ] = Path("report"),
    title: Annotated[str, typer.Option(help="Title of the report.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the collected results as one JSON object.")] = False,
) -> None:
    """Collect all results of the folders and their subfolders: a summary, and one page per step.

    The summary holds scores, speed, cost, licenses and commands. With several runs, their scores stand in one table.
    Pages need no network and no server; videos are linked by relative paths.

    Examples:
        distill report shards runs/nano --out report

        distill report runs/nano runs/small --title "nano against small" --out compared.html
    """
    from distill.workflows.reports.collect import write_collected_report

    Console(as_json=as_json).result(write_collected_report(runs, out, title))
