"""`distill bench`: time students and exported files on this machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from distill.console import Console
from distill.errors import UsageError
from distill.workflows.bench import run as workflow

_TIMED, _SCORED = "Timing", "Scores and prices"


def bench(
    models: Annotated[list[Path], typer.Argument(help="Run folders, and files that distill export wrote.")],
    batch: Annotated[
        list[int] | None,
        typer.Option(min=1, rich_help_panel=_TIMED, help="Images per call; several times for a sweep. [default: 1, 8]"),
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(
            rich_help_panel=_TIMED,
            help="HEIGHTxWIDTH of the images; several times for a sweep. [default: the working size]",
        ),
    ] = None,
    threads: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            rich_help_panel=_TIMED,
            help="Threads of the engine; several times for a sweep; all cores unless given.",
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.01, rich_help_panel=_TIMED, help="Duration of each series.")] = 3.0,
    compare: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=_TIMED,
            help="An older file or run folder, called in turn: exit code 1 if a model is slower beyond noise.",
        ),
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(rich_help_panel=_SCORED, help="Labeled shards: score the same files on them.")
    ] = None,
    num_images: Annotated[int, typer.Option(min=1, rich_help_panel=_SCORED, help="Number of these images.")] = 50,
    usd_per_hour: Annotated[
        float | None,
        typer.Option(min=0, rich_help_panel=_SCORED, help="Price of this machine: adds USD per million images."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for bench.json, bench.md and bench.html, which has the plot.")
    ] = None,
    allow_native: Annotated[
        bool,
        typer.Option(
            "--allow-native", help="Open model files with machine code (.pt2, .engine), which runs with your rights."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Time one or more students side by side.

    Measures p50, p95 and p99 of every call, images/s, memory, loading time and the time of the first call, for the
    engine alone and from JPEG bytes. The JSON contains every single call. With --truth, the scores of the same files
    are shown next to their speed, and Pareto-optimal ones are marked.

    Examples:
        distill bench runs/nano/export/nano.onnx --batch 1 --batch 8

        distill bench runs/nano runs/nano/export/nano.onnx --size 1080x1920 --threads 2 --out bench

        distill bench exported/nano.onnx exported/nano.xml --truth held_out

        distill bench exported/nano.onnx --compare released/nano.onnx
    """
    console = Console(as_json=as_json)
    result = workflow.bench(
        models,
        batch=batch or (1, 8),
        size=[parse_size(word) for word in size or []],
        threads=threads,
        seconds=seconds,
        truth=truth,
        num_images=num_images,
        usd_per_hour=usd_per_hour,
        compare=compare,
        out=out,
        allow_native=allow_native,
        reporter=console,
    )
    console.result(result)
    if result.is_slower:
        raise typer.Exit(1)


def parse_size(word: str, option: str = "--size") -> tuple[int, int]:
    """Parse ``HEIGHTxWIDTH`` to (height, width).

    Raises:
        UsageError: The word has another form.
    """
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", word)
    if not found or "0" in (found[1], found[2]):
        raise UsageError(f"{option} {word}: a size is HEIGHTxWIDTH in pixels", hint=f"such as {option} 480x640")
    return int(found[1]), int(found[2])
