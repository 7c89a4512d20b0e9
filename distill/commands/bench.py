"""`distill bench`: time students and exported files on this machine."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
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
    " turns of a tenth of a second, after three calls to warm up; pictures are generated and compress like photos."
    " Loading is timed with the libraries imported and the file in the cache. Memory is what this process grew by from"
    " loading to the end of the first call: at least that much is needed."
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
    threads: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Threads of the engine; several times for a sweep; all cores unless given."),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.01, help="Time for each series.")] = 3.0,
    truth: Annotated[
        Path | None, typer.Option(help="Labelled shards: score the same artefacts on them, beside their speed.")
    ] = None,
    num_samples: Annotated[int, typer.Option(min=1, help="How many of them.")] = 50,
    usd_per_hour: Annotated[
        float | None, typer.Option(min=0, help="Price of this machine: gives USD per million pictures.")
    ] = None,
    compare: Annotated[
        Path | None, typer.Option(help="An earlier bench.json: exit code 1 if anything is slower beyond noise.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for bench.json and bench.md.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Time one or more students side by side.

    Gives p50, p95, p99 of every call, images/s, memory, loading time and the time of the first call, for the engine
    alone and from JPEG bytes. The JSON holds every single call. With --truth, the scores of the very same artefacts
    stand beside their speed, and those that no other beats in both are marked.

    Examples:
        distill bench runs/nano/nano.onnx --batch 1 --batch 8

        distill bench runs/nano runs/nano/nano.onnx --size 1080x1920 --threads 2 --out bench

        distill bench exported/nano.onnx exported/nano.xml --truth held_out --compare bench/bench.json
    """
    console = Console(as_json=as_json)
    result = run_bench(
        subjects,
        console,
        batches=batch or [1, 8],
        sizes_hw=[parse_size(word) for word in size or []],
        threads=threads or [None],
        seconds=seconds,
        out=out,
        truth=truth,
        num_samples=num_samples,
        usd_per_hour=usd_per_hour,
        base=read_base(compare) if compare is not None else None,
    )
    console.result(result, _text(result))
    if any(row["verdict"] == "slower" for row in result.get("comparison", ())):
        raise typer.Exit(1)


def run_bench(
    subjects: Sequence[Path],
    console: Console,
    *,
    batches: Sequence[int] = (1, 8),
    sizes_hw: Sequence[tuple[int, int]] = (),
    threads: Sequence[int | None] = (None,),
    seconds: float = 3.0,
    out: Path | None = None,
    truth: Path | None = None,
    num_samples: int = 50,
    usd_per_hour: float | None = None,
    base: dict[str, Any] | None = None,
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
    loading: list[dict[str, Any]] = []
    timings: list[dict[str, Any]] = []
    for number in threads:
        with ExitStack() as stack:
            runners: dict[str, Runner] = {}
            for path in subjects:
                name, runner, row = _open(path, number, set(runners))
                runners[name] = stack.enter_context(runner)
                loading.append(row)
            sizes = list(dict.fromkeys(sizes_hw or [runner.spec.input.size_hw for runner in runners.values()]))
            with console.progress("timing", 2 * len(sizes) * len(batches)) as progress:
                found = time_runners(runners, batches, sizes, seconds=seconds, advance=progress.advance)
            timings += [{**timing.to_dict(), "threads": runners[timing.subject].threads} for timing in found]
            if truth is not None and number == threads[0]:
                scores = score_runners(runners, truth, num_samples, console)
    if truth is not None:
        for row in loading:
            row["scores"] = scores[row["name"]]
        mark_front(loading, timings)
    if usd_per_hour is not None:
        for timing in timings:
            timing["usd_per_million"] = round(usd_per_hour / 3600 / timing["images_per_s"] * 1e6, 4)
    result: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "method": _METHOD,
        "seconds_per_series": seconds,
        "machine": {**machine(), "load_before": round(busy, 2)},
        "versions": versions(),
        "subjects": loading,
        "timings": timings,
    }
    if base is not None:
        from distill.export.comparing import compare_results

        result["comparison"] = [{**asdict(row), "verdict": row.verdict} for row in compare_results(base, result)]
    if out is not None:
        _write(result, out)
    return result


def read_base(path: Path) -> dict[str, Any]:
    """An earlier result.

    Raises:
        UsageError: There is none.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"--compare {path}: not a readable bench.json", hint="make one with --out") from error


def score_runners(
    runners: Mapping[str, Runner], truth: Path, count: int, console: Console
) -> dict[str, dict[str, float | None]]:
    """Score of each task of each runner on labelled pictures."""
    from distill.commands.samples import open_samples
    from distill.export.parity import Parity

    first = next(iter(runners.values()))
    parities = {name: Parity(first, runner) for name, runner in runners.items()}
    for sample in console.track(open_samples(truth, first.spec, count, console) or (), "scoring", count):
        for parity in parities.values():
            parity.update(sample)
    return {
        name: {f"{row.task} {row.measure}": row.candidate for row in parity.result().tasks}
        for name, parity in parities.items()
    }


def mark_front(subjects: list[dict[str, Any]], timings: list[dict[str, Any]]) -> None:
    """Set ``pareto`` where no other subject is at least as good in every score and in images/s, and better in one."""
    speed = {row["name"]: 0.0 for row in subjects}
    for timing in timings:
        if timing["what"] == "engine":
            speed[timing["subject"]] = max(speed[timing["subject"]], timing["images_per_s"])

    def merits(row: dict[str, Any]) -> list[float]:
        signs = {"normals mean_deg": -1.0}
        scores = [signs.get(key, 1.0) * value for key, value in row["scores"].items() if value is not None]
        return [*scores, speed[row["name"]]]

    for row in subjects:
        ours = merits(row)
        row["pareto"] = not any(
            len(theirs) == len(ours) and theirs != ours and all(b >= a for a, b in zip(ours, theirs, strict=True))
            for theirs in map(merits, subjects)
        )


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
    before = _resident_bytes()
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
        "tasks": [str(task) for task in runner.spec.answers],
        "backbone": runner.spec.backbone,
        "working_size_hw": list(runner.spec.input.size_hw),
        "size_bytes": path.stat().st_size if path.is_file() else (path / "weights.safetensors").stat().st_size,
        "load_ms": round(1000 * (loaded - start), 1),
        "first_call_ms": round(1000 * (first - loaded), 1),
        "memory_mb": round(max(0, _resident_bytes() - before) / 1e6, 1),
    }
    return name, runner, row


def _resident_bytes() -> int:
    """Memory of this process that is in RAM; 0 where it cannot be known."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def _comparison_rows(result: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    columns = ["series", "then ms", "now ms", "now / then", "from", "to", "verdict"]
    keys = ("series", "base_ms", "new_ms", "ratio", "low", "high", "verdict")
    return columns, [[row[key] for key in keys] for row in result["comparison"]]


def _timing_rows(result: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    columns = ["subject", "timed", "height x width", "batch", "threads"]
    columns += ["calls", "p50 ms", "p95 ms", "p99 ms", "images/s"]
    priced = any("usd_per_million" in row for row in result["timings"])
    columns += ["USD per million"] * priced
    rows = [
        [
            row["subject"],
            row["what"],
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


def _subject_rows(result: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    measures = list(result["subjects"][0].get("scores", ()))
    columns = ["subject", "engine", "threads", "tasks", "MB", "load ms", "first call ms", "memory MB", *measures]
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
            *(["", text_table(*_comparison_rows(result))] if "comparison" in result else []),
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
            *([Section("Then and now", [Table(*_comparison_rows(result))])] if "comparison" in result else []),
        ],
        facts={"date": result["date"], **result["machine"], **result["versions"]},
    )
    open_rundir(out)
    write_atomic(out / "bench.json", json.dumps(result, indent=2).encode())
    write_atomic(out / "bench.md", to_markdown(page).encode())
