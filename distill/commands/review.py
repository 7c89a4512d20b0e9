"""`distill review`: a page on which a person judges labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distill.console import Console
from distill.errors import UsageError
from distill.tasks import Task


def review(
    shards: Annotated[Path, typer.Argument(help="Folder of shards.", metavar="SHARDS")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page (HTML).")] = Path("review.html"),
    task: Annotated[list[Task] | None, typer.Option(help="Show the labels of this task only; repeatable.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Labels of each task; 30, and 20,000 with --serve.")] = None,
    informative: Annotated[
        bool,
        typer.Option(
            "--most-informative",
            help="Show the labels whose verdicts are expected to change a calibration most, not the worst ones.",
        ),
    ] = False,
    answers: Annotated[
        Path | None,
        typer.Option(help="Folder of the generated images: names of answers in the set are relative to it."),
    ] = None,
    verdicts: Annotated[
        Path | None,
        typer.Option(help="Earlier verdicts to go on with; with --serve, the file to save to (verdicts.json)."),
    ] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Show the page on a local server: for large sets.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the server; 0: a free one.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Judge labels on a page: worst score first, with photo, generated image, label and confidence.

    The page is one file that needs no network. It downloads verdicts.json, which distill data apply and distill label
    --calibrate read.

    Examples:
        distill review shards --out review.html

        distill review shards --serve --task depth
    """
    console = Console(as_json=as_json)
    if serve:
        if as_json:
            raise UsageError("--serve has no result to print as JSON", hint="leave --json out")
        _serve(console, shards, task or (), limit, informative, answers, verdicts, port)
        return
    from distill.workflows.review.run import DEFAULT_LIMIT
    from distill.workflows.review.run import review as write_page

    console.result(
        write_page(
            shards,
            out=out,
            task=task or (),
            limit=limit or DEFAULT_LIMIT,
            informative=informative,
            answers=answers,
            verdicts=verdicts,
            reporter=console,
        )
    )


def _serve(
    console: Console,
    shards: Path,
    tasks: list[Task] | tuple[()],
    limit: int | None,
    informative: bool,
    answers: Path | None,
    verdicts: Path | None,
    port: int,
) -> None:
    """Serve the page until an interruption."""
    from distill.datasets.review.items import list_items, most_informative
    from distill.datasets.shard_set import open
    from distill.workflows.review.generated import GeneratedImages
    from distill.workflows.review.server import MOST_LABELS, ReviewServer

    source, saved = open(shards), verdicts or Path("verdicts.json")
    listed, count = list_items(source, tasks, console), limit or MOST_LABELS
    found = {name: most_informative(items, count) if informative else items[:count] for name, items in listed.items()}
    totals = {name: len(items) for name, items in listed.items()}
    server = ReviewServer(source, found, GeneratedImages(source.folder, answers), saved, port, totals)
    console.info(f"open {server.address}\nverdicts are saved to {saved}; Ctrl-C ends the server")
    try:
        server.run()
    except KeyboardInterrupt:
        console.info(f"ended; go on with: distill data apply {shards} {saved} --out reviewed")
    finally:
        server.close()
