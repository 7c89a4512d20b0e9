"""Our runners against bare engines, and `distill bench` against other tools' numbers, in one run.

    python benchmarks/engines.py exported/nano.onnx exported/nano.xml [--seconds 3] [--rounds 3] [--out page.md]

Overhead: for each file and batch, bare calls of the engine and calls of our runner, in turns. Agreement: the median
that `distill bench` reports, beside that of OpenVINO's own benchmark_app (.xml) or of a bare loop in a fresh process
(.onnx); the tools run one after the other, several rounds, and the quietest round of each counts.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import results_page

from distill.commands.benching import run_bench
from distill.commands.console import Console
from distill.export.comparing import compare_calls
from distill.export.runners import num_cores, open_runner
from distill.export.timing import bench_picture, time_calls
from distill.report.blocks import Table

BATCHES = (1, 8)


def bare(path: Path, threads: int, name: str) -> Any:
    """A function from pictures to outputs, with nothing of ours in it."""
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
    """(pictures of the working size, the name of the input)."""
    with open_runner(path, threads=threads) as runner:
        size_hw = runner.spec.input.size_hw
        return np.stack([bench_picture(size_hw, seed) for seed in range(batch)]), runner.spec.input.name


def overhead(path: Path, batch: int, threads: int, seconds: float) -> list[Any]:
    """A row: the engine's own calls and ours, in turns."""
    images, name = pictures(path, batch, threads)
    engine = bare(path, threads, name)
    with open_runner(path, threads=threads) as runner:
        measured = time_calls({"bare": lambda: engine(images), "ours": lambda: runner(images)}, seconds=seconds)
    found = compare_calls(measured["bare"], measured["ours"])
    slower = [100 * (ratio - 1) for ratio in (found.ratio, found.low, found.high)]
    return [path.name, batch, found.base_ms, found.new_ms, *slower]


def benchmark_app(path: Path, threads: int, batch: int, seconds: float) -> float:
    """Median milliseconds that OpenVINO's own tool reports for one synchronous request."""
    images, name = pictures(path, batch, threads)
    words = ["-m", str(path), "-d", "CPU", "-api", "sync", "-hint", "none", "-nthreads", str(threads), "-nireq", "1"]
    words += ["-data_shape", f"{name}{list(images.shape)}".replace(" ", "")]
    words += ["-t", str(max(1, round(seconds))), "-infer_precision", "f32"]
    program = "from openvino.tools.benchmark.main import main; main()"
    said = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)
    found = re.search(r"Median:\s*([\d.]+) ms", said.stdout)
    if not found:
        raise SystemExit(f"benchmark_app said nothing of a median: {said.stdout[-500:]}{said.stderr[-500:]}")
    return float(found[1])


def bare_loop(path: Path, threads: int, batch: int, seconds: float) -> float:
    """Median milliseconds of a bare session's calls in a process of their own."""
    words = [sys.executable, __file__, str(path), "--threads", str(threads), "--seconds", str(seconds)]
    return float(subprocess.run([*words, "--loop", str(batch)], capture_output=True, text=True, check=True).stdout)


def loop(path: Path, threads: int, batch: int, seconds: float) -> None:
    """What `bare_loop` runs."""
    images, name = pictures(path, batch, threads)
    engine = bare(path, threads, name)
    for _ in range(3):
        engine(images)
    calls_ms, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        engine(images)
        calls_ms.append(1000 * (time.perf_counter() - start))
    print(np.median(calls_ms))


def agreement(path: Path, threads: int, seconds: float, rounds: int) -> list[list[Any]]:
    """A row for each batch: our bench's median beside the other tool's."""
    other = benchmark_app if path.suffix == ".xml" else bare_loop
    pairs: dict[int, list[tuple[float, float]]] = {batch: [] for batch in BATCHES}
    for _ in range(rounds):
        result = run_bench([path], Console(), batches=BATCHES, threads=(threads,), seconds=seconds)
        ours = {row["batch"]: row["p50_ms"] for row in result["timings"] if row["what"] == "engine"}
        for batch in BATCHES:
            pairs[batch].append((ours[batch], other(path, threads, batch, seconds)))
    rows = []
    for batch, found in pairs.items():
        ours, theirs = (min(side) for side in zip(*found, strict=True))
        rounds_apart = sorted(100 * (one / two - 1) for one, two in found)
        rows.append(
            [path.name, batch, other.__name__, ours, theirs, 100 * (ours / theirs - 1), float(np.median(rounds_apart))]
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--threads", type=int, default=num_cores())
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loop", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.loop:
        loop(options.files[0], options.threads, options.loop, options.seconds)
        return
    costs = [overhead(path, batch, options.threads, 3 * options.seconds) for path in options.files for batch in BATCHES]
    tools = [row for path in options.files for row in agreement(path, options.threads, options.seconds, options.rounds)]
    columns = ["file", "batch", "bare ms", "ours ms", "ours slower by %", "from", "to"]
    others = [
        "file",
        "batch",
        "other tool",
        "our bench's p50 ms",
        "the other's",
        "apart by %",
        "middle round apart by %",
    ]
    notes = (
        "First: lower quartiles of bare calls of the engine and of our runner's, in turns, with a 99.8 % interval of"
        " the ratio. Second: medians of `distill bench` and of another tool, run one after the other in rounds; of each"
        " the round with the least median. Pictures of the working size, in memory."
    )
    results_page("Runners against bare engines", notes, [Table(columns, costs), Table(others, tools)], options.out)


if __name__ == "__main__":
    main()
