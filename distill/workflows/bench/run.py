"""Benchmark as a function: time students and exported files side by side."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from distill.runtime.progress import Reporter, SilentReporter
from distill.workflows.arguments import Paths, StrPath, to_path, to_paths
from distill.workflows.bench.result import BenchedModel, BenchResult, BenchTiming

if TYPE_CHECKING:
    from distill.export.runners import Runner
    from distill.export.verification.speed_regression import Comparison
    from distill.export.verification.timing import Timing

Size = tuple[int, int]
_LOWER_IS_BETTER = ("normals mean_deg",)


def bench(
    models: Paths,
    *,
    batch: int | Iterable[int] = (1, 8),
    size: Size | Iterable[Size] = (),
    threads: int | Iterable[int] | None = None,
    seconds: float = 3.0,
    truth: StrPath | None = None,
    num_images: int = 50,
    usd_per_hour: float | None = None,
    compare: StrPath | None = None,
    out: StrPath | None = None,
    scope: Sequence[str] = ("engine", "end_to_end"),
    allow_native: bool = False,
    reporter: Reporter | None = None,
) -> BenchResult:
    """Time one or more students side by side.

    Measures p50, p95 and p99 of every call, images/s, memory, loading time and the time of the first call, for the
    engine alone and from JPEG bytes. All models take turns, so that a busy machine affects them alike.

    Args:
        models: Run folders, and files that `distill.export` wrote.
        batch: Images per call; several for a sweep.
        size: (height, width) of the images; several for a sweep; the working size unless given.
        threads: Threads of the engine; several for a sweep; all cores unless given.
        seconds: Duration of each series.
        truth: Labeled shards: score the same files on them, and mark those that are Pareto optimal.
        num_images: Number of labeled images to score.
        usd_per_hour: Price of this machine; adds USD per million images.
        compare: An older file or run folder, called in turn with each model: tells whether a model is slower.
        out: Folder for ``bench.json`` (with every call), ``bench.md`` and ``bench.html``; not written unless given.
        scope: Measure ``engine``, ``end_to_end`` or both.
        allow_native: Open model files with machine code (``.pt2``, ``.engine``), which runs with all of your rights.
        reporter: Receives messages and progress; silent unless given.

    Raises:
        UsageError: A path is not a model.
        DistillError: A model cannot be opened, or its engine failed.

    Example:
        >>> result = distill.bench(["runs/nano", "runs/nano/export/nano.onnx"], batch=8, seconds=1)
        >>> {row.timing.model: row.timing.images_per_s for row in result.timings}
    """
    from distill.run_dir import machine, open_run_dir, versions
    from distill.runtime.cpu import usable_cores
    from distill.workflows.open_model import open_model
    from distill.workflows.reports.bench import write_pages

    reporter = reporter or SilentReporter()
    paths, old, folder = to_paths(models), to_path(compare), to_path(out)
    batches = [batch] if isinstance(batch, int) else list(batch)
    sizes = _to_sizes(size)
    if old is not None:
        open_model(old, allow_native=allow_native).close()  # a wrong path fails now, not after minutes
    if folder is not None:
        open_run_dir(folder)
    load = os.getloadavg()[0]
    if load > usable_cores():
        reporter.warn(f"the machine is busy (load {load:.1f}): timings will be slow and uneven")
    benched: list[BenchedModel] = []
    timings: list[BenchTiming] = []
    comparison: list[Comparison] = []
    scores: dict[str, dict[str, float | None]] = {}
    for number in [threads] if threads is None or isinstance(threads, int) else list(threads):
        with ExitStack() as stack:
            runners: dict[str, Runner] = {}
            for path in paths:
                runner, row = _open(path, number, set(runners), allow_native)
                runners[row.name] = stack.enter_context(runner)
                benched.append(row)
            used_sizes = sizes or list(dict.fromkeys(runner.spec.input.default_hw for runner in runners.values()))
            used_threads = next(iter(runners.values())).threads
            found = _time(runners, batches, used_sizes, seconds, scope, reporter)
            timings += [BenchTiming(timing, used_threads, _price(timing, usd_per_hour)) for timing in found]
            if truth is not None and not scores:
                scores = score_runners(runners, Path(truth), num_images, reporter)
        if old is not None:
            series = (batches, used_sizes, seconds, scope)
            comparison += _compare(old, dict(zip(runners, paths, strict=True)), number, *series, reporter, allow_native)
    if truth is not None:
        benched = mark_pareto_front([replace(row, scores=scores[row.name]) for row in benched], timings)
    result = BenchResult(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds_per_series=seconds,
        machine={**machine(), "load_before": round(load, 2)},
        versions=versions(),
        models=tuple(benched),
        timings=tuple(timings),
        comparison=tuple(comparison) if old is not None else None,
    )
    if folder is not None:
        write_pages(result, folder)
    return result


def score_runners(
    runners: Mapping[str, Runner], truth: Path, count: int, reporter: Reporter
) -> dict[str, dict[str, float | None]]:
    """Score each task of each runner on labeled images."""
    from distill.export.verification.parity import Parity
    from distill.workflows.export.parity_samples import open_parity_samples

    first = next(iter(runners.values()))
    parities = {name: Parity(first, runner) for name, runner in runners.items()}
    for sample in reporter.track(open_parity_samples(truth, first.spec, count, reporter) or (), "scoring", count):
        for parity in parities.values():
            parity.update(sample)
    return {
        name: {f"{row.task} {row.measure}": row.candidate for row in parity.result().tasks}
        for name, parity in parities.items()
    }


def mark_pareto_front(models: Sequence[BenchedModel], timings: Sequence[BenchTiming]) -> list[BenchedModel]:
    """Set `pareto` where no other model is at least as good in every score and in images/s, and better in one."""
    speed = dict.fromkeys((row.name for row in models), 0.0)
    for row in timings:
        if row.timing.scope == "engine":
            speed[row.timing.model] = max(speed[row.timing.model], round(row.timing.images_per_s, 2))

    def merits(row: BenchedModel) -> list[float]:
        scores = (row.scores or {}).items()
        signed = [-value if key in _LOWER_IS_BETTER else value for key, value in scores if value is not None]
        return [*signed, speed[row.name]]

    def is_dominated(ours: list[float]) -> bool:
        return any(
            len(theirs) == len(ours) and theirs != ours and all(b >= a for a, b in zip(ours, theirs, strict=True))
            for theirs in map(merits, models)
        )

    return [replace(row, pareto=not is_dominated(merits(row))) for row in models]


def _to_sizes(size: Size | Iterable[Size]) -> list[Size]:
    values = list(size)
    if values and all(isinstance(side, int) for side in values):
        height, width = values
        return [(int(str(height)), int(str(width)))]
    return list(dict.fromkeys(side for side in values if isinstance(side, tuple)))


def _time(
    runners: Mapping[str, Runner],
    batches: Sequence[int],
    sizes_hw: Sequence[Size],
    seconds: float,
    scope: Sequence[str],
    reporter: Reporter,
) -> list[Timing]:
    from distill.export.verification.timing import time_runners

    with reporter.progress("timing", len(scope) * len(sizes_hw) * len(batches)) as progress:
        return time_runners(runners, batches, sizes_hw, seconds=seconds, advance=progress.advance, scope=scope)


def _compare(
    old_path: Path,
    paths: Mapping[str, Path],
    threads: int | None,
    batches: Sequence[int],
    sizes_hw: Sequence[Size],
    seconds: float,
    scope: Sequence[str],
    reporter: Reporter,
    allow_native: bool,
) -> list[Comparison]:
    """Call the old model and each new one in turn."""
    from distill.export.verification.speed_regression import compare_runners
    from distill.workflows.open_model import open_model

    rows: list[Comparison] = []
    with reporter.progress("comparing", len(paths) * len(sizes_hw) * len(batches) * len(scope)) as progress:
        for name, path in paths.items():
            # Idle threads that spin would take the cores from the other model.
            with (
                open_model(old_path, threads=threads, allow_spinning=False, allow_native=allow_native) as old,
                open_model(path, threads=threads, allow_spinning=False, allow_native=allow_native) as new,
            ):
                rows += compare_runners(
                    old, new, batches, sizes_hw, seconds=seconds, scope=scope, advance=progress.advance, name=name
                )
    return rows


def _price(timing: Timing, usd_per_hour: float | None) -> float | None:
    if usd_per_hour is None:
        return None
    return round(usd_per_hour / 3600 / round(timing.images_per_s, 2) * 1e6, 4)


def _open(path: Path, threads: int | None, taken: set[str], allow_native: bool) -> tuple[Runner, BenchedModel]:
    """Open a model and measure its loading, its first call and its memory."""
    from distill.export.verification.timing import bench_image
    from distill.workflows.open_model import model_digest, open_model

    open_model(
        path, threads=threads, allow_native=allow_native
    ).close()  # imports the libraries, which only the first model would pay for
    before = _resident_bytes()
    start = time.perf_counter()
    runner = open_model(path, threads=threads, allow_native=allow_native)
    loaded = time.perf_counter()
    runner(bench_image(runner.spec.input.default_hw)[None])
    first = time.perf_counter()
    row = BenchedModel(
        name=runner.name if runner.name not in taken else str(path),
        path=str(path.resolve()),
        digest=model_digest(path),
        engine=runner.engine,
        threads=runner.threads,
        tasks=tuple(str(task) for task in runner.spec.tasks),
        backbone=runner.spec.backbone,
        input_size_hw=runner.spec.input.size_hw,
        size_bytes=_size_bytes(path),
        load_ms=round(1000 * (loaded - start), 1),
        first_call_ms=round(1000 * (first - loaded), 1),
        memory_mb=round(max(0, _resident_bytes() - before) / 1e6, 1),
    )
    return runner, row


def _size_bytes(path: Path) -> int:
    """Size of all files of a model: the weights of a run, or the two files of OpenVINO."""
    from distill.config.export import artifact_files

    if path.is_dir():
        return (path / "weights.safetensors").stat().st_size
    return sum(file.stat().st_size for file in artifact_files(path))


def _resident_bytes() -> int:
    """Resident memory of this process; 0 where it is unknown."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0
