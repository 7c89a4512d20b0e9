"""Our runners against bare engines, and `distill bench` against other tools, in one run.

    python benchmarks/engines.py exported/nano.onnx exported/nano.xml [--seconds 3] [--rounds 3] [--out page.md]

Overhead: for each file and batch, calls of the runner's own engine and of the runner, alternating; then calls of a
separately opened engine and of the runner, in turns. Agreement: the median reported by `distill bench` next to that of
OpenVINO's benchmark_app (.xml) or of a bare loop (.onnx), each in its own process. The two take turns of a fifth of a
second or a dozen calls: one is stopped while the other runs, so that both see the same machine speed. The few calls
interrupted by a stop hardly change a median, and both medians alike.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import results_page

from distill.export.runners import Runner, open_runner
from distill.export.verification.speed_regression import compare_calls
from distill.export.verification.timing import bench_image, time_calls, time_pairs
from distill.report.blocks import Table
from distill.runtime.cpu import usable_cores

BATCHES = (1, 8)
_TURN_S, _CALLS, _TURNS = 0.2, 12, 6


def bare(path: Path, threads: int, name: str) -> Any:
    """Engine call without our code."""
    if path.suffix == ".xml":
        import openvino

        settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
        request = openvino.Core().compile_model(str(path), "CPU", settings).create_infer_request()
        return lambda images: request.infer([images], share_inputs=True, share_outputs=False)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {name: images})


def pictures(path: Path, batch: int, threads: int) -> tuple[Any, str]:
    """(images of the working size, name of the input)."""
    with open_runner(path, threads=threads, allow_native=True) as runner:
        size_hw = runner.spec.input.size_hw
        return np.stack([bench_image(size_hw, seed) for seed in range(batch)]), runner.spec.input.name


def overhead(path: Path, batch: int, threads: int, seconds: float) -> list[Any]:
    """Table row: engine and runner alternating; then a separately opened engine and the runner in turns."""
    images, name = pictures(path, batch, threads)
    with open_runner(path, threads=threads, allow_native=True) as runner:
        own = raw_call(runner, images)
        then, now = time_pairs(own, lambda: runner(images), seconds=seconds)
        engine = bare(path, threads, name)
        measured = time_calls({"bare": lambda: engine(images), "ours": lambda: runner(images)}, seconds=seconds)
    added, other = compare_calls(then, now, paired=True), compare_calls(measured["bare"], measured["ours"])
    ratios = (added.ratio, added.low, added.high, other.ratio, other.low, other.high)
    return [path.name, batch, added.base_ms, *map(percent, ratios)]


def raw_call(runner: Runner, images: Any) -> Callable[[], object]:
    """Call of the runner's engine without the runner."""
    loaded = runner._loaded
    if runner.engine.startswith("openvino"):
        request = loaded.create_infer_request()
        return lambda: request.infer([images], share_inputs=True, share_outputs=True)
    if runner.engine.startswith("onnxruntime"):
        names, fed = list(runner.spec.output_names), {runner.spec.input.name: images}
        return lambda: loaded.run(names, fed)
    raise SystemExit(f"{runner.name}: no raw call for {runner.engine}")


def percent(ratio: float) -> float:
    return 100 * (ratio - 1)


def benchmark_app(path: Path, threads: int, batch: int, seconds: float) -> list[str]:
    """Command of OpenVINO's benchmark_app with synchronous requests."""
    images, name = pictures(path, batch, threads)
    words = ["-m", str(path), "-d", "CPU", "-api", "sync", "-hint", "none", "-nthreads", str(threads), "-nireq", "1"]
    words += ["-data_shape", f"{name}{list(images.shape)}".replace(" ", "")]
    words += ["-t", str(max(1, round(seconds))), "-infer_precision", "f32"]
    return [sys.executable, "-c", "from openvino.tools.benchmark.main import main; main()", *words]


def bare_loop(path: Path, threads: int, batch: int, seconds: float) -> list[str]:
    """Command of the bare loop."""
    words = [sys.executable, __file__, str(path), "--threads", str(threads), "--seconds", str(seconds)]
    return [*words, "--loop", str(batch)]


def our_bench(path: Path, threads: int, batch: int, seconds: float) -> list[str]:
    """Command of `distill bench`; half of its time is spent on end-to-end timing."""
    words = ["bench", str(path), "--batch", str(batch), "--threads", str(threads), "--seconds", str(seconds), "--json"]
    return [sys.executable, "-m", "distill", *words]


def in_turns(commands: list[list[str]], turn_s: float) -> list[str]:
    """Outputs of processes that run in turns, the others stopped."""
    with contextlib.ExitStack() as stack:
        # Into files: no process reads while they run, and a full pipe would block its writer.
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in commands]
        started = [
            subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL)
            for command, file in zip(commands, files, strict=True)
        ]
        for process in started:
            stack.callback(process.kill)
            process.send_signal(signal.SIGSTOP)
        running = list(started)
        while running:
            for process in list(running):
                process.send_signal(signal.SIGCONT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(turn_s)
                    running.remove(process)
                    continue
                process.send_signal(signal.SIGSTOP)
        for command, process in zip(commands, started, strict=True):
            if process.returncode:
                raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
        for file in files:
            file.seek(0)
        return [file.read().decode() for file in files]


def loop(path: Path, threads: int, batch: int, seconds: float) -> None:
    """Entry point of the bare loop."""
    images, name = pictures(path, batch, threads)
    engine = bare(path, threads, name)
    for _ in range(3):
        engine(images)
    calls_ms, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        engine(images)
        calls_ms.append(1000 * (time.perf_counter() - start))
    print("Median:", np.median(calls_ms))


def agreement(path: Path, threads: int, batch: int, seconds: float, rounds: int, call_ms: float) -> list[Any]:
    """Table row: median of `distill bench` and of the other tool."""
    other = benchmark_app if path.suffix == ".xml" else bare_loop
    turn_s = max(_TURN_S, _CALLS * call_ms / 1000)
    seconds = max(seconds, _TURNS * turn_s)
    found = []
    for _ in range(rounds):
        # Halted time counts for either; ours times two things.
        commands = [our_bench(path, threads, batch, 2 * seconds), other(path, threads, batch, 4 * seconds)]
        ours, theirs = in_turns(commands, turn_s)
        timings = json.loads(ours)["timings"]
        ours_ms = next(row["p50_ms"] for row in timings if row["scope"] == "engine")
        median = re.search(r"Median:\s*([\d.]+)", theirs)
        if median is None:
            raise SystemExit(f"{other.__name__} said nothing of a median: {theirs[-500:]}")
        found.append((ours_ms, float(median[1])))
    apart = sorted(100 * (one / two - 1) for one, two in found)
    middle = found[sorted(range(rounds), key=lambda i: found[i][0] / found[i][1])[rounds // 2]]
    return [path.name, batch, other.__name__, *middle, float(np.median(apart)), apart[0], apart[-1]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loop", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.loop:
        loop(options.files[0], options.threads, options.loop, options.seconds)
        return
    costs = [overhead(path, batch, options.threads, 3 * options.seconds) for path in options.files for batch in BATCHES]
    tools = [
        agreement(path, options.threads, batch, options.seconds, options.rounds, call_ms=row[2])
        for row, (path, batch) in zip(costs, itertools.product(options.files, BATCHES), strict=True)
    ]
    columns = ["file", "batch", "bare ms", "ours adds %", "from", "to", "a bare session: slower by %", "from", "to"]
    others = [
        "file",
        "batch",
        "other tool",
        "our bench's p50 ms",
        "the other's",
        "apart by %",
        "from",
        "to",
    ]
    notes = (
        "First: the loaded engine's own call and our runner's around it, call by call: the median ratio of neighbors"
        " with its 99.8 % interval; then lower quartiles against an engine opened without us, in turns of 0.2 s."
        " Second: medians of `distill bench` and of another tool, two processes that take turns; the middle one of"
        " several rounds, and the rounds that are furthest apart. Pictures of the working size, in memory."
    )
    results_page("Runners against bare engines", notes, [Table(columns, costs), Table(others, tools)], options.out)


if __name__ == "__main__":
    main()
