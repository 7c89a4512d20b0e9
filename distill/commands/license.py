"""`distill license`: list the licenses of labels, and of students that were trained on them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distill.console import Console
from distill.licenses import LicenseClass


def license(
    paths: Annotated[
        list[Path], typer.Argument(help="Folders of shards, tars, run folders, or exported files.", metavar="PATH...")
    ],
    require: Annotated[
        LicenseClass | None,
        typer.Option(help="Exit 1 if a license allows less than this class; the samples are listed."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """List the licenses of labels, sample by sample, or of the teachers of a student.

    Every sample carries the license of each of its labels, so shards can be merged, split and filtered, with or without
    dataset.json. The licenses are those stated in the configs of the teachers; this is no legal advice.

    Examples:
        distill license shards

        distill license shards runs/nano --require commercial
    """
    from distill.workflows.license import list_licenses

    result = list_licenses(paths, require)
    Console(as_json=as_json).result(result)
    if result.refused:
        raise typer.Exit(1)
