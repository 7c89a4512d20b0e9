"""Time students and exported files side by side: what `distill bench` prints and writes."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.runtime.progress import Reporter

if TYPE_CHECKING:
    from distill.export.runners import Runner

_METHOD = (
    "engine: one call, pictures in memory, final maps out. end_to_end: from JPEG bytes to final maps. All models take"
    " turns of a fifth of a second, after three calls to warm up; pictures are generated and compress like photos."
    " Loading is timed with the libraries imported and the file in the cache. Memory is what this process grew by from"
    " loading to the end of the first call: at least that much is needed."
)


def run_bench(
    models: Sequence[Path],
    reporter: Reporter,
    *,
    batches: Sequence[int] = (1, 8),
    sizes_hw: Sequence[tuple[int, int]] = (),
    threads: Sequence[int | None] = (None,),
    seconds: float = 3.0,
    out: Path | None = None,
    truth: Path | None = None,
    num_images: int = 50,
    usd_per_hour: float | None = None,
    compare: Path | None = None,
    scope: Sequence[str] = ("engine", "end_to_end"),
) -> dict[str, Any]:
    """Time all models; the result as `--json` prints it, also written to `out`.

    With `compare`, each model and this older one are also called in turn, and the result says whether it is slower.

    Raises:
        DistillError: A model cannot be opened or fails.
    """
    from distill.export.runners import num_cores
    from distill.export.verification.regression import compare_runners
    from distill.export.verification.timing import time_runners
    from distill.run_dir import machine, open_run_dir, versions
    from distill.workflows.model import open_model
    from distill.workflows.reports.bench import write_pages

    if compare is not None:
        open_model(compare).close()  # better now than after minutes
    if out is not None:
        open_run_dir(out)
    busy = os.getloadavg()[0]
    if busy > num_cores():
        reporter.warn(f"the machine is busy (load {busy:.1f}): timings will be slow and uneven")
    loading: list[dict[str, Any]] = []
    timings: list[dict[str, Any]] = []
    comparison: list[dict[str, Any]] = []
    for number in threads:
        with ExitStack() as stack:
            runners: dict[str, Runner] = {}
            for path in models:
                name, runner, row = _open(path, number, set(runners))
                runners[name] = stack.enter_context(runner)
                loading.append(row)
            sizes = list(dict.fromkeys(sizes_hw or [runner.spec.input.default_hw for runner in runners.values()]))
            used = next(iter(runners.values())).threads
            with reporter.progress("timing", len(scope) * len(sizes) * len(batches)) as progress:
                found = time_runners(
                    runners,
                    batches,
                    sizes,
                    seconds=seconds,
                    advance=progress.advance,
                    scope=scope,
                )
            timings += [{**timing.to_dict(), "threads": used} for timing in found]
            if truth is not None and number == threads[0]:
                scores = score_runners(runners, truth, num_images, reporter)
        if compare is not None:
            kinds = len(models) * len(sizes) * len(batches) * len(scope)
            with reporter.progress("comparing", kinds) as progress:
                for name, path in zip(runners, models, strict=True):
                    # Idle threads that wait busily would take the cores from the other one.
                    with (
                        open_model(compare, threads=number, allow_spinning=False) as old,
                        open_model(path, threads=number, allow_spinning=False) as new,
                    ):
                        rows = compare_runners(
                            old, new, batches, sizes, seconds=seconds, scope=scope, advance=progress.advance, name=name
                        )
                    comparison += [{**asdict(row), "verdict": row.verdict} for row in rows]
    if truth is not None:
        for row in loading:
            row["scores"] = scores[row["name"]]
        mark_pareto_front(loading, timings)
    _price(timings, usd_per_hour)
    result: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "method": _METHOD,
        "seconds_per_series": seconds,
        "machine": {**machine(), "load_before": round(busy, 2)},
        "versions": versions(),
        "models": loading,
        "timings": timings,
        **({"comparison": comparison} if compare is not None else {}),
    }
    if out is not None:
        write_pages(result, out)
    return result


def _price(timings: Sequence[dict[str, Any]], usd_per_hour: float | None) -> None:
    if usd_per_hour is not None:
        for timing in timings:
            timing["usd_per_million"] = round(usd_per_hour / 3600 / timing["images_per_s"] * 1e6, 4)


def score_runners(
    runners: Mapping[str, Runner], truth: Path, count: int, reporter: Reporter
) -> dict[str, dict[str, float | None]]:
    """Score of each task of each runner on labeled pictures."""
    from distill.export.verification.parity import Parity
    from distill.workflows.parity_samples import open_parity_samples

    first = next(iter(runners.values()))
    parities = {name: Parity(first, runner) for name, runner in runners.items()}
    for sample in reporter.track(open_parity_samples(truth, first.spec, count, reporter) or (), "scoring", count):
        for parity in parities.values():
            parity.update(sample)
    return {
        name: {f"{row.task} {row.measure}": row.candidate for row in parity.result().tasks}
        for name, parity in parities.items()
    }


def mark_pareto_front(models: list[dict[str, Any]], timings: list[dict[str, Any]]) -> None:
    """Set ``pareto`` where no other model is at least as good in every score and in images/s, and better in one."""
    speed = {row["name"]: 0.0 for row in models}
    for timing in timings:
        if timing["scope"] == "engine":
            speed[timing["model"]] = max(speed[timing["model"]], timing["images_per_s"])

    def merits(row: dict[str, Any]) -> list[float]:
        signs = {"normals mean_deg": -1.0}
        scores = [signs.get(key, 1.0) * value for key, value in row["scores"].items() if value is not None]
        return [*scores, speed[row["name"]]]

    for row in models:
        ours = merits(row)
        row["pareto"] = not any(
            len(theirs) == len(ours) and theirs != ours and all(b >= a for a, b in zip(ours, theirs, strict=True))
            for theirs in map(merits, models)
        )


def _open(path: Path, threads: int | None, taken: set[str]) -> tuple[str, Runner, dict[str, Any]]:
    """(name in the result, the runner, how long it took to load and to answer first)."""
    from distill.export.verification.timing import bench_picture
    from distill.workflows.model import model_digest, open_model

    open_model(path, threads=threads).close()  # imports the libraries, which only the first model would pay for
    before = _resident_bytes()
    start = time.perf_counter()
    runner = open_model(path, threads=threads)
    loaded = time.perf_counter()
    runner(bench_picture(runner.spec.input.default_hw)[None])
    first = time.perf_counter()
    name = runner.name if runner.name not in taken else str(path)
    row = {
        "name": name,
        "path": str(path.resolve()),
        "digest": model_digest(path),
        "engine": runner.engine,
        "threads": runner.threads,
        "tasks": [str(task) for task in runner.spec.tasks],
        "backbone": runner.spec.backbone,
        "input_size_hw": list(runner.spec.input.size_hw),
        "size_bytes": _size_bytes(path),
        "load_ms": round(1000 * (loaded - start), 1),
        "first_call_ms": round(1000 * (first - loaded), 1),
        "memory_mb": round(max(0, _resident_bytes() - before) / 1e6, 1),
    }
    return name, runner, row


def _size_bytes(path: Path) -> int:
    """Of all files that hold the model: a run's weights, or OpenVINO's two files."""
    from distill.export.targets.artifact import artifact_files

    if path.is_dir():
        return (path / "weights.safetensors").stat().st_size
    return sum(file.stat().st_size for file in artifact_files(path))


def _resident_bytes() -> int:
    """Memory of this process that is in RAM; 0 where it cannot be known."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0
