"""A result of `distill bench` as text, as Markdown and as a page with plots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distill.report.blocks import Curves


def format_result(result: dict[str, Any]) -> str:
    """The result for people."""
    from distill.report.markdown import text_table

    machine = result["machine"]
    return "\n".join(
        [
            f"{machine['processor']}, {machine['cores']} cores; {result['method']}",
            "",
            text_table(*_model_rows(result)),
            "",
            text_table(*_timing_rows(result)),
            *(["", text_table(*_comparison_rows(result))] if "comparison" in result else []),
        ]
    )


def write_pages(result: dict[str, Any], out: Path) -> None:
    """Write ``bench.json`` with every call, ``bench.md`` and ``bench.html`` into this folder, which exists."""
    from distill.images import write_atomic
    from distill.report import Report, Section, Table, to_html, to_markdown

    page = Report(
        title="Speed",
        summary=result["method"],
        sections=[
            Section("Models", [Table(*_model_rows(result))]),
            Section("Timings", [*speed_curves(result), Table(*_timing_rows(result))]),
            *([Section("Old and new", [Table(*_comparison_rows(result))])] if "comparison" in result else []),
        ],
        facts={"date": result["date"], **result["machine"], **result["versions"]},
    )
    write_atomic(out / "bench.json", json.dumps(result, indent=2).encode())
    write_atomic(out / "bench.md", to_markdown(page).encode())
    write_atomic(out / "bench.html", to_html(page).encode())


def speed_curves(result: dict[str, Any]) -> list[Curves]:
    """Images/s over the batch, a plot for each size and kind of timing that has more than one batch."""
    from distill.report.blocks import Curve, Curves

    plots: dict[str, dict[str, list[tuple[int, float]]]] = {}
    several_threads = len({row["threads"] for row in result["timings"]}) > 1
    for row in result["timings"]:
        title = "images/s, {}, {} x {}".format(row["scope"].replace("_", " "), *row["size_hw"])
        name = row["model"] + (f", {row['threads']} threads" if several_threads else "")
        plots.setdefault(title, {}).setdefault(name, []).append((row["batch"], row["images_per_s"]))
    return [
        Curves(
            title,
            [Curve(name, *map(list, zip(*sorted(points), strict=True))) for name, points in curves.items()],
            x_label="pictures per call",
            y_label="images/s",
        )
        for title, curves in plots.items()
        if any(len(points) > 1 for points in curves.values())
    ]


def _comparison_rows(result: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    columns = ["series", "old ms", "new ms", "new / old", "from", "to", "verdict"]
    keys = ("series", "base_ms", "new_ms", "ratio", "low", "high", "verdict")
    return columns, [[row[key] for key in keys] for row in result["comparison"]]


def _timing_rows(result: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    columns = ["model", "timed", "height x width", "batch", "threads"]
    columns += ["calls", "p50 ms", "p95 ms", "p99 ms", "images/s"]
    priced = any("usd_per_million" in row for row in result["timings"])
    columns += ["USD per million"] * priced
    rows = [
        [
            row["model"],
            row["scope"],
            "{} x {}".format(*row["size_hw"]),
            row["batch"],
            row["threads"],
            len(row["calls_ms"]),
            *(row[key] for key in ("p50_ms", "p95_ms", "p99_ms", "images_per_s")),
            *([row.get("usd_per_million")] * priced),
        ]
        for row in result["timings"]
    ]
    return columns, rows


def _model_rows(result: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    measures = list(result["models"][0].get("scores", ()))
    columns = ["model", "engine", "threads", "tasks", "MB", "load ms", "first call ms", "memory MB", *measures]
    columns += ["on the front"] * bool(measures)
    rows = [
        [
            row["name"],
            row["engine"],
            row["threads"],
            ", ".join(row["tasks"]),
            row["size_bytes"] / 1e6,
            row["load_ms"],
            row["first_call_ms"],
            row["memory_mb"],
            *(row["scores"][measure] for measure in measures),
            *(["yes" if row.get("pareto") else ""] * bool(measures)),
        ]
        for row in result["models"]
    ]
    return columns, rows
