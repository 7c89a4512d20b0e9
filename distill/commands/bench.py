"""`distill bench`: time students and exported files on this machine."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distill.commands.console import Console
from distill.errors import UsageError

if TYPE_CHECKING:
    from distill.export.runners import Runner

_METHOD = (
    "engine: one call, pictures in memory, final maps out. end_to_end: from JPEG bytes to final maps. All subjects take"
    " turns, call by call, after three calls to warm up; pictures are generated and compress like photos. Loading is"
    " timed with the libraries imported and the file in the cache."
)


def bench(
    subjects: Annotated[list[Path], typer.Argument(help="Run folders, and files that distill export wrote.")],
    batch: Annotated[
        list[int] | None, typer.Option(min=1, help="Pictures per call; several times for a sweep.")
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(help="HEIGHTxWIDTH of the pictures; several times for a sweep. [default: the working size]"),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the engine; all cores unless given.")] = None,
    seconds: Annotated[float, typer.Option(min=0.01, help="Time for each series.")] = 3.0,
    out: Annotated[Path | None, typer.Option(help="Folder for bench.json and bench.md.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Time one or more students side by side.

    Gives p50, p95, p99 of every call, images/s, loading time and the time of the first call, for the engine alone and
    from JPEG bytes. The JSON holds every single call.

    Examples:
        distill bench runs/nano/nano.onnx --batch 1 --batch 8

        distill bench runs/nano runs/nano/nano.onnx --size 1080x1920 --threads 2 --out bench
    """
    console = Console(as_json=as_json)
    result = run_bench(
        subjects,
        console,
        batches=batch or [1, 8],
        sizes_hw=[parse_size(word) for word in size or []],
        threads=threads,
        seconds=seconds,
        out=out,
    )
    console.result(result, _text(result))


def run_bench(
    subjects: Sequence[Path],
    console: Console,
    *,
    batches: Sequence[int] = (1, 8),
    sizes_hw: Sequence[tuple[int, int]] = (),
    threads: int | None = None,
    seconds: float = 3.0,
    out: Path | None = None,
) -> dict[str, Any]:
    """Time all subjects; the result as `--json` prints it, also written to `out`.

    Raises:
        DistillError: A subject cannot be opened or fails.
    """
    from distill.export.runners import num_cores
    from distill.export.timing import time_runners
    from distill.rundir import machine, versions

    busy = os.getloadavg()[0]
    if busy > num_cores():
        console.warn(f"the machine is busy (load {busy:.1f}): timings will be slow and uneven")
    with ExitStack() as stack:
        runners: dict[str, Runner] = {}
        loading: list[dict[str, Any]] = []
        for path in subjects:
            name, runner, row = _open(path, threads, set(runners))
            runners[name] = stack.enter_context(runner)
            loading.append(row)
        sizes = list(dict.fromkeys(sizes_hw or [runner.spec.input.size_hw for runner in runners.values()]))
        with console.progress("timing", 2 * len(sizes) * len(batches)) as progress:
            timings = time_runners(runners, batches, sizes, seconds=seconds, advance=progress.advance)
    result = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "method": _METHOD,
        "seconds_per_series": seconds,
        "machine": {**machine(), "load_before": round(busy, 2)},
        "versions": versions(),
        "subjects": loading,
        "timings": [timing.to_dict() for timing in timings],
    }
    if out is not None:
        _write(result, out)
    return result


def parse_size(word: str) -> tuple[int, int]:
    """(height, width) of ``HEIGHTxWIDTH``.

    Raises:
        UsageError: Something else.
    """
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", word)
    if not found or "0" in (found[1], found[2]):
        raise UsageError(f"--size {word}: a size is HEIGHTxWIDTH in pixels", hint="such as --size 480x640")
    return int(found[1]), int(found[2])


def _open(path: Path, threads: int | None, taken: set[str]) -> tuple[str, Runner, dict[str, Any]]:
    """(name in the result, the runner, how long it took to load and to answer first)."""
    from distill.commands.subject import open_subject
    from distill.export.timing import bench_picture

    open_subject(path, threads=threads).close()  # imports the libraries, which only the first subject would pay for
    start = time.perf_counter()
    runner = open_subject(path, threads=threads)
    loaded = time.perf_counter()
    runner(bench_picture(runner.spec.input.size_hw)[None])
    first = time.perf_counter()
    name = runner.name if runner.name not in taken else str(path)
    row = {
        "name": name,
        "path": str(path),
        "engine": runner.engine,
        "threads": runner.threads,
        "tasks": [str(task) for task in runner.spec.tasks],
        "backbone": runner.spec.backbone,
        "working_size_hw": list(runner.spec.input.size_hw),
        "size_bytes": path.stat().st_size if path.is_file() else (path / "weights.safetensors").stat().st_size,
        "load_ms": round(1000 * (loaded - start), 1),
        "first_call_ms": round(1000 * (first - loaded), 1),
    }
    return name, runner, row


def _timing_rows(result: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    columns = ["subject", "timed", "height x width", "batch", "calls", "p50 ms", "p95 ms", "p99 ms", "images/s"]
    rows = [
        [
            row["subject"],
            row["what"],
            "{} x {}".format(*row["size_hw"]),
            row["batch"],
            len(row["calls_ms"]),
            *(row[key] for key in ("p50_ms", "p95_ms", "p99_ms", "images_per_s")),
        ]
        for row in result["timings"]
    ]
    return columns, rows


def _subject_rows(result: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    columns = ["subject", "engine", "threads", "tasks", "MB", "load ms", "first call ms"]
    rows = [
        [
            row["name"],
            row["engine"],
            row["threads"],
            ", ".join(row["tasks"]),
            row["size_bytes"] / 1e6,
            row["load_ms"],
            row["first_call_ms"],
        ]
        for row in result["subjects"]
    ]
    return columns, rows


def _text(result: dict[str, Any]) -> str:
    from distill.commands.tables import text_table

    machine = result["machine"]
    return "\n".join(
        [
            f"{machine['processor']}, {machine['cores']} cores; {result['method']}",
            "",
            text_table(*_subject_rows(result)),
            "",
            text_table(*_timing_rows(result)),
        ]
    )


def _write(result: dict[str, Any], out: Path) -> None:
    from distill.images import write_atomic
    from distill.report import Report, Section, Table, to_markdown
    from distill.rundir import open_rundir

    page = Report(
        title="Speed",
        summary=result["method"],
        sections=[
            Section("Subjects", [Table(*_subject_rows(result))]),
            Section("Timings", [Table(*_timing_rows(result))]),
        ],
        facts={"date": result["date"], **result["machine"], **result["versions"]},
    )
    open_rundir(out)
    write_atomic(out / "bench.json", json.dumps(result, indent=2).encode())
    write_atomic(out / "bench.md", to_markdown(page).encode())
