"""`distill data ls`, `stats` and `show`: what sets of shards contain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distill.console import Console

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
ShardFolder = Annotated[Path, typer.Argument(help="Folder of shards.", metavar="SHARDS")]


def ls(
    folders: Annotated[list[Path], typer.Argument(help="Folders to search.", metavar="FOLDER...")],
    as_json: AsJson = False,
) -> None:
    """List the sets of shards in and below folders.

    Examples:
        distill data ls shards experiments/
    """
    from distill.workflows.data import ls as list_sets

    Console(as_json=as_json).result(list_sets(folders))


def stats(folder: ShardFolder, as_json: AsJson = False) -> None:
    """Count what a set contains: labels, classes, depths, quality, confidence, sizes, teachers, licenses, cost.

    Examples:
        distill data stats shards
    """
    from distill.workflows.data import stats as count

    console = Console(as_json=as_json)
    console.result(count(folder, reporter=console))


def show(
    folder: ShardFolder,
    key: Annotated[str, typer.Argument(help="Key of the sample, the beginning of one, or its position: 17.")],
    out: Annotated[Path | None, typer.Option(help="Write all maps as one picture (PNG).")] = None,
    at: Annotated[
        list[str] | None, typer.Option("--at", help="x,y in pixels of the photo: print the values there; repeatable.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show one sample: its photo and all maps as one picture, and their values at points of the photo.

    Examples:
        distill data show shards kitchen_0001 --out kitchen.png

        distill data show shards 17 --at 320,240 --at 10,10
    """
    from distill.workflows.data import show as show_sample

    Console(as_json=as_json).result(show_sample(folder, key, out=out, at=at or ()))
