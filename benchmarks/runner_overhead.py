"""Time our runner against a bare ONNX Runtime session on the same pictures, call by call in turns.

    python benchmarks/runner_overhead.py MODEL.onnx [--threads 2] [--seconds 10]

Prints one JSON object: for each batch the medians, and by how many percent the runner is slower.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime

from distill.export.runners import num_cores, open_runner
from distill.export.timing import bench_picture, time_calls
from distill.rundir import machine, versions


def bare_session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(str(path), sess_options=options, providers=["CPUExecutionProvider"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=num_cores())
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    session = bare_session(options.model, options.threads)
    rows = []
    with open_runner(options.model, threads=options.threads) as runner:
        names, size_hw = list(runner.spec.output_names), runner.spec.input.size_hw
        for batch in (1, 8):
            images = np.stack([bench_picture(size_hw, seed) for seed in range(batch)])
            feed = {runner.spec.input.name: images}
            calls = {"bare": lambda feed=feed: session.run(names, feed), "runner": lambda images=images: runner(images)}
            medians = {
                name: float(np.median(calls_ms))
                for name, calls_ms in time_calls(calls, seconds=options.seconds).items()
            }
            slower = 100 * (medians["runner"] / medians["bare"] - 1)
            rows.append({"batch": batch, "size_hw": size_hw, "median_ms": medians, "runner_slower_percent": slower})
    print(json.dumps({"rows": rows, "machine": machine(), "versions": versions()}, indent=2))


if __name__ == "__main__":
    main()
