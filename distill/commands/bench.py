"""`distill bench`: time students and exported files on this machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from distill.console import Console
from distill.errors import UsageError


def bench(
    models: Annotated[list[Path], typer.Argument(help="Run folders, and files that distill export wrote.")],
    batch: Annotated[
        list[int] | None, typer.Option(min=1, help="Pictures per call; several times for a sweep.")
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(help="HEIGHTxWIDTH of the pictures; several times for a sweep. [default: the working size]"),
    ] = None,
    threads: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Threads of the engine; several times for a sweep; all cores unless given."),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.01, help="Time for each series.")] = 3.0,
    truth: Annotated[
        Path | None, typer.Option(help="Labeled shards: score the same artifacts on them, beside their speed.")
    ] = None,
    num_images: Annotated[int, typer.Option(min=1, help="How many of them.")] = 50,
    usd_per_hour: Annotated[
        float | None, typer.Option(min=0, help="Price of this machine: gives USD per million pictures.")
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option(
            help="An older file or run folder, called in turn: exit code 1 if a model is slower beyond noise."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for bench.json, bench.md and bench.html, which has the plot.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Time one or more students side by side.

    Gives p50, p95, p99 of every call, images/s, memory, loading time and the time of the first call, for the engine
    alone and from JPEG bytes. The JSON holds every single call. With --truth, the scores of the very same artifacts
    stand beside their speed, and those that no other beats in both are marked.

    Examples:
        distill bench runs/nano/nano.onnx --batch 1 --batch 8

        distill bench runs/nano runs/nano/nano.onnx --size 1080x1920 --threads 2 --out bench

        distill bench exported/nano.onnx exported/nano.xml --truth held_out

        distill bench exported/nano.onnx --compare released/nano.onnx
    """
    from distill.workflows.bench import run_bench
    from distill.workflows.reports.bench import format_result

    console = Console(as_json=as_json)
    result = run_bench(
        models,
        console,
        batches=batch or [1, 8],
        sizes_hw=[parse_size(word) for word in size or []],
        threads=threads or [None],
        seconds=seconds,
        out=out,
        truth=truth,
        num_images=num_images,
        usd_per_hour=usd_per_hour,
        compare=compare,
    )
    console.result(result, format_result(result))
    if any(row["verdict"] == "slower" for row in result.get("comparison", ())):
        raise typer.Exit(1)


def parse_size(word: str, option: str = "--size") -> tuple[int, int]:
    """(height, width) of ``HEIGHTxWIDTH``.

    Raises:
        UsageError: Something else.
    """
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", word)
    if not found or "0" in (found[1], found[2]):
        raise UsageError(f"{option} {word}: a size is HEIGHTxWIDTH in pixels", hint=f"such as {option} 480x640")
    return int(found[1]), int(found[2])
