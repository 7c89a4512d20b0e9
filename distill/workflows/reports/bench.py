"""Report of a benchmark: tables for a terminal, and pages with plots."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.report.blocks import Block, Curve, Curves, Section, Table, Text

if TYPE_CHECKING:
    from distill.workflows.bench.result import BenchResult

METHOD = (
    "engine: one call, images in memory, final maps out. end_to_end: from JPEG bytes to final maps. All models take"
    " turns of a fifth of a second, after three warm-up calls; images are generated and compress like photos. Loading"
    " is timed with the libraries imported and the file in the page cache. Memory is the growth of this process from"
    " loading to the end of the first call: at least that much is needed."
)


_BUSY = 1.0
"""Load per core from which other programs slow the measurement."""


def format_result(result: BenchResult) -> str:
    """Format the tables for a terminal."""
    from distill.report.markdown import text_table

    parts = [f"{result.machine['processor']}, {result.machine['cores']} cores; {METHOD}"]
    tables = [_model_rows(result), _timing_rows(result)]
    tables += [_comparison_rows(result)] if result.comparison is not None else []
    for columns, rows in tables:
        parts += ["", text_table(columns, rows)]
    return "\n".join(parts)


def write_pages(result: BenchResult, out: Path) -> None:
    """Write ``bench.json`` with every call, ``bench.md`` and ``bench.html`` into an existing folder."""
    from distill.files import write_atomic
    from distill.report import Report, to_html, to_markdown

    page = Report(
        title="Speed",
        summary=METHOD,
        sections=[
            Section("Models", [*busy_warning(result.machine), Table(*_model_rows(result))]),
            Section("Timings", [*speed_curves(result), Table(*_timing_rows(result))]),
            *([Section("Old and new", [Table(*_comparison_rows(result))])] if result.comparison is not None else []),
        ],
        facts={"date": result.date, **result.machine, **result.versions},
    )
    write_atomic(out / "bench.json", json.dumps(result.to_dict(), indent=2).encode())
    write_atomic(out / "bench.md", to_markdown(page).encode())
    write_atomic(out / "bench.html", to_html(page).encode())


def busy_warning(machine: Mapping[str, Any]) -> list[Block]:
    """A warning if other programs ran while it was timed; empty if not, or not known."""
    load, cores = machine.get("load_before"), machine.get("cores")
    if not isinstance(load, (int, float)) or not isinstance(cores, int) or load < _BUSY * cores:
        return []
    text = (
        f"The machine was busy: its load was {load:.1f} on {cores} cores before the first call. Times are longer than "
        "on an idle machine; run distill bench again when it is idle."
    )
    return [Text(text, "warning")]


def speed_curves(result: BenchResult) -> list[Curves]:
    """Plot images/s over the batch size, for each image size and scope with more than one batch size."""
    plots: dict[str, dict[str, list[tuple[int, float]]]] = {}
    several_threads = len({row.threads for row in result.timings}) > 1
    for row in result.timings:
        timing = row.timing
        title = f"images/s, {timing.scope.replace('_', ' ')}, {timing.size_hw[0]} x {timing.size_hw[1]}"
        name = timing.model + (f", {row.threads} threads" if several_threads else "")
        plots.setdefault(title, {}).setdefault(name, []).append((timing.batch, round(timing.images_per_s, 2)))
    return [
        Curves(
            title,
            [Curve(name, *map(list, zip(*sorted(points), strict=True))) for name, points in curves.items()],
            x_label="images per call",
            y_label="images/s",
        )
        for title, curves in plots.items()
        if any(len(points) > 1 for points in curves.values())
    ]


def _comparison_rows(result: BenchResult) -> tuple[list[str], list[list[Any]]]:
    columns = ["series", "old ms", "new ms", "new / old", "from", "to", "verdict"]
    rows = result.comparison or ()
    return columns, [[row.series, row.base_ms, row.new_ms, row.ratio, row.low, row.high, row.verdict] for row in rows]


def _timing_rows(result: BenchResult) -> tuple[list[str], list[list[Any]]]:
    columns = ["model", "timed", "height x width", "batch", "threads"]
    columns += ["calls", "p50 ms", "p95 ms", "p99 ms", "images/s"]
    priced = any(row.usd_per_million is not None for row in result.timings)
    columns += ["USD per million"] * priced
    rows: list[list[Any]] = [
        [
            row.timing.model,
            row.timing.scope,
            f"{row.timing.size_hw[0]} x {row.timing.size_hw[1]}",
            row.timing.batch,
            row.threads,
            len(row.timing.calls_ms),
            *(round(row.timing.percentile_ms(percent), 3) for percent in (50.0, 95.0, 99.0)),
            round(row.timing.images_per_s, 2),
            *([row.usd_per_million] * priced),
        ]
        for row in result.timings
    ]
    return columns, rows


def _model_rows(result: BenchResult) -> tuple[list[str], list[list[Any]]]:
    metrics = list(result.models[0].scores or ())
    columns = ["model", "engine", "threads", "tasks", "MB", "load ms", "first call ms", "memory MB", *metrics]
    columns += ["Pareto optimal"] * bool(metrics)
    rows: list[list[Any]] = [
        [
            row.name,
            row.engine,
            row.threads,
            ", ".join(row.tasks),
            row.size_bytes / 1e6,
            row.load_ms,
            row.first_call_ms,
            row.memory_mb,
            *((row.scores or {}).get(metric) for metric in metrics),
            *(["yes" if row.pareto else ""] * bool(metrics)),
        ]
        for row in result.models
    ]
    return columns, rows
