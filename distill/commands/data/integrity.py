"""`distill data verify` and `seal`: sets whose bytes are those that were written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distill.commands.data.content import AsJson, ShardFolder
from distill.console import Console


def verify(
    folder: ShardFolder,
    quick: Annotated[
        bool, typer.Option("--quick", help="Only lengths and SHA-256 of the tars; their samples are not decoded.")
    ] = False,
    salvage: Annotated[
        Path | None, typer.Option(help="Write a new set with every whole sample into this folder.")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="With --salvage: count the samples that it would keep; write nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Verify every byte of a set; the exit code is 1 if there are faults.

    Compares each tar with its SHA-256, decodes every member, and checks sizes, ids, vectors and json. A fault is named
    with its tar, member and byte range. If all is intact, the exit code is 0.

    Examples:
        distill data verify shards

        distill data verify shards --salvage rescued
    """
    from distill.workflows.data import verify as check

    console = Console(as_json=as_json)
    result = check(folder, quick=quick, salvage=salvage, plan=plan, reporter=console)
    console.result(result)
    if result.num_faults:
        raise typer.Exit(1)


def seal(
    folder: ShardFolder,
    plan: Annotated[bool, typer.Option("--plan", help="Count the finished shards; write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a stopped or running labeling job a set that can be trained on.

    The finished shards get a manifest. The job can continue afterwards; its final bytes are those of an uninterrupted
    run.

    Examples:
        distill data seal shards
    """
    from distill.workflows.data import seal as seal_job

    Console(as_json=as_json).result(seal_job(folder, plan=plan))
