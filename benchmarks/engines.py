"""Our runners against bare engines, and the same JPEG through every engine: benchmarks/engines.py FILES...

    python benchmarks/engines.py exported/nano.onnx exported/nano.xml [--seconds 10] [--threads 2] [--out page.md]

For each file and batch: the lower quartile of bare calls and of ours, in turns, and by how much ours are slower. For an
OpenVINO file also the median of OpenVINO's own benchmark_app beside the median that `distill bench` reports.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from machine import results_page

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


def benchmark_app(path: Path, threads: int, batch: int, size_hw: tuple[int, int], seconds: float) -> float | None:
    """Median milliseconds that OpenVINO's own tool reports for one synchronous request."""
    program = Path(sys.executable).with_name("benchmark_app")
    if not program.is_file():
        return None
    shape = f"image[{batch},{size_hw[0]},{size_hw[1]},3]"
    words = ["-m", str(path), "-d", "CPU", "-api", "sync", "-hint", "none", "-nthreads", str(threads), "-nireq", "1"]
    words += ["-data_shape", shape, "-t", str(max(1, round(seconds))), "-infer_precision", "f32"]
    said = subprocess.run([str(program), *words], capture_output=True, text=True, check=False).stdout
    found = re.search(r"Median:\s*([\d.]+) ms", said)
    return float(found[1]) if found else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--threads", type=int, default=num_cores())
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    for path in options.files:
        with open_runner(path, threads=options.threads) as runner:
            engine = bare(path, options.threads, runner.spec.input.name)
            size_hw = runner.spec.input.size_hw
            for batch in BATCHES:
                images = np.stack([bench_picture(size_hw, seed) for seed in range(batch)])
                calls = {
                    "bare": lambda images=images, engine=engine: engine(images),
                    "ours": lambda images=images, runner=runner: runner(images),
                }
                measured = time_calls(calls, seconds=options.seconds)
                quiet = {name: float(np.percentile(calls_ms, 25)) for name, calls_ms in measured.items()}
                slower = 100 * (quiet["ours"] / quiet["bare"] - 1)
                theirs = None
                if path.suffix == ".xml":
                    theirs = benchmark_app(path, options.threads, batch, size_hw, options.seconds)
                median = float(np.median(measured["ours"]))
                rows.append([path.name, batch, quiet["bare"], quiet["ours"], slower, median, theirs])
    columns = ["file", "batch", "bare ms", "ours ms", "ours slower by %", "our median ms", "benchmark_app's median ms"]
    notes = "Lower quartiles of calls in turns; engine only, pictures of the working size in memory."
    results_page("Runners against bare engines", notes, [Table(columns, rows)], options.out)


if __name__ == "__main__":
    main()
