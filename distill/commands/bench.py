"""`distill bench`: time students and exported files on this machine."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distill.commands.console import Console
from distill.errors import DistillError, UsageError

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
    out: Annotated[
        Path | None, typer.Option(help="Folder for bench.json, bench.md and bench.html, which has the plot.")
    ] = None,
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
    from distill.commands.bench_report import text_of

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
    console.result(result, text_of(result))
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
    what: Sequence[str] = ("engine", "end_to_end"),
) -> dict[str, Any]:
    """Time all subjects; the result as `--json` prints it, also written to `out`.

    Raises:
        DistillError: A subject cannot be opened or fails.
    """
    from distill.commands.bench_report import write_pages
    from distill.export.runners import num_cores
    from distill.export.timing import YARDSTICK, time_runners
    from distill.rundir import machine, versions

    busy = os.getloadavg()[0]
    if busy > num_cores():
        console.warn(f"the machine is busy (load {busy:.1f}): timings will be slow and uneven")
    loading: list[dict[str, Any]] = []
    timings: list[dict[str, Any]] = []
    yardstick: list[dict[str, Any]] = []
    for number in threads:
        with ExitStack() as stack:
            runners: dict[str, Runner] = {}
            for path in subjects:
                name, runner, row = _open(path, number, set(runners))
                runners[name] = stack.enter_context(runner)
                loading.append(row)
            sizes = list(dict.fromkeys(sizes_hw or [runner.spec.input.size_hw for runner in runners.values()]))
            used = next(iter(runners.values())).threads
            # Only a result that is kept, or compared, needs to know how fast the machine was.
            stick = _yardstick(used) if out is not None or base is not None else None
            with console.progress("timing", len(what) * len(sizes) * len(batches)) as progress:
                found = time_runners(
                    runners, batches, sizes, seconds=seconds, advance=progress.advance, what=what, yardstick=stick
                )
            rows = [{**timing.to_dict(), "threads": used} for timing in found]
            yardstick += [row for row in rows if row["subject"] == YARDSTICK]
            timings += [row for row in rows if row["subject"] != YARDSTICK]
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
        "yardstick": yardstick,
    }
    if base is not None:
        from distill.export.comparing import compare_results

        result["comparison"] = [{**asdict(row), "verdict": row.verdict} for row in compare_results(base, result)]
    if out is not None:
        write_pages(result, out)
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


def _yardstick(threads: int) -> Callable[[int], Callable[[], object]] | None:
    """None where there is no ONNX Runtime; comparisons then go by the times as they are."""
    from distill.export.yardstick import open_yardstick

    try:
        return open_yardstick(threads)
    except DistillError:
        return None


def _resident_bytes() -> int:
    """Memory of this process that is in RAM; 0 where it cannot be known."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0
