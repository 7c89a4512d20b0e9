"""Students on a GPU: ONNX Runtime's CUDA provider, AOTInductor, torch.compile with CUDA graphs.

    python benchmarks/gpu_engines.py --work WORK [--presets nano small base] [--seconds 300] [--out page.md]

Students with random weights, single- and multi-task; tensors on the GPU in and out. Engines are prepared in parallel,
each in its own process, and timed one at a time when all are ready or after --ready seconds. Results available after
--seconds make the page, which lists the missing ones; all are stored in WORK/cells.json. The lower bound of a call is
the larger of two times: bytes of images, weights and final maps over the measured bandwidth, and operations of the
network over the measured rate (TF32, which all engines use for convolutions).
"""

from __future__ import annotations

import argparse
import fcntl
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import results_page
from torch.utils.flop_counter import FlopCounterMode

from distill.config import load_config
from distill.config.train import StudentConfig
from distill.export.onnx.exporter import export_onnx
from distill.export.onnx.prepare_module import prepare_for_export
from distill.export.runners import open_runner
from distill.export.targets.aot_inductor import export_aoti
from distill.report.blocks import Table
from distill.students.model.student import Student, build_spec, build_student
from distill.tasks import Task

TASKS = {"single": (Task.DEPTH,), "multi": (Task.DEPTH, Task.NORMALS, Task.SEMANTIC)}
BATCHES = (1, 8, 32, 128)
SIZES_HW = ((384, 512), (1080, 1920))
ENGINES = {
    "onnxruntime": ("onnxruntime", "onnxruntime, graph"),
    "aoti": ("aoti",),
    "compile": ("torch.compile, graphs",),
}
"""What is prepared in one process, and how it is then called."""
BYTES = {"normals": 12, "semantic": 1}
"""Of one pixel of a map; the others are float32."""
CALLS, CALLS_S = 50, 0.25

Call = Callable[[torch.Tensor], Any]


def make(preset: str, kind: str) -> Student:
    """Student with random weights."""
    torch.manual_seed(0)
    config = load_config(StudentConfig, {"preset": preset})
    spec = build_spec(config, name=f"{preset}_{kind}", tasks=TASKS[kind], classes=tuple("abcdefgh"))
    return build_student(config, spec).eval()


def prepare(engine: str, student: Student, folder: Path) -> dict[str, Call]:
    """Engines of one kind by name, ready to run."""
    name = student.spec.name
    if engine == "aoti":
        path = export_aoti(student, student.spec, folder / f"{name}.pt2", device="cuda")
        return {"aoti": open_runner(path, device="cuda", allow_native=True)}
    if engine == "compile":
        compiled = torch.compile(prepare_for_export(student, student.spec).cuda(), mode="reduce-overhead", dynamic=True)
        return {"torch.compile, graphs": torch.inference_mode()(compiled)}
    path = export_onnx(student, student.spec, folder / f"{name}.onnx").path
    return {how: open_runner(path, device="cuda", cuda_graph="graph" in how) for how in ENGINES[engine]}


def time_ms(call: Call, images: torch.Tensor) -> float:
    """Median time of synchronized calls."""
    for _ in range(4):
        call(images)
    torch.cuda.synchronize()
    times: list[float] = []
    start_s = time.monotonic()
    while len(times) < 5 or (len(times) < CALLS and time.monotonic() - start_s < CALLS_S):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        outputs = call(images)
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end))
        del outputs
    return float(np.median(times))


def child(options: argparse.Namespace) -> None:
    """Prepare the engines of one student, wait for the others, time them; print a line of JSON per cell."""
    preset, kind, engine = options.child
    torch.set_num_threads(2)
    student, start_s = make(preset, kind), time.monotonic()
    calls = prepare(engine, student, options.work)
    for call in calls.values():
        # Compilers make code of its own for a batch of one.
        for batch, size_hw in [(2, SIZES_HW[0])] if engine == "onnxruntime" else product((2, 1), SIZES_HW):
            call(torch.zeros((batch, *size_hw, 3), dtype=torch.uint8, device="cuda"))
    torch.cuda.synchronize()
    (options.work / f"ready {preset} {kind} {engine}").touch()
    print(json.dumps({"prepared_s": time.monotonic() - start_s}), flush=True)
    while len(list(options.work.glob("ready *"))) < options.together and time.time() < options.ready_at:
        time.sleep(0.2)
    with (options.work / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for (how, call), size_hw, batch in product(calls.items(), SIZES_HW, BATCHES):
            if batch > 8 and how == "onnxruntime, graph":
                continue  # launches are no longer what takes the time
            images = torch.randint(0, 256, (batch, *size_hw, 3), dtype=torch.uint8, device="cuda")
            try:
                found = {"p50_ms": time_ms(call, images)}
            except Exception as error:
                found = {"failed": str(error).split("\n")[0][:100]}
            print(json.dumps({"engine": how, "size_hw": size_hw, "batch": batch, **found}), flush=True)
            torch.cuda.empty_cache()


def measured_rates() -> tuple[float, float]:
    """(bytes/s of a large copy, read and written; TF32 operations/s of a large product) of this GPU."""
    source, target = (torch.empty(2**31, dtype=torch.uint8, device="cuda") for _ in range(2))
    square = torch.randn(8192, 8192, device="cuda")
    torch.backends.cuda.matmul.allow_tf32 = True
    copy_ms, product_ms = time_ms(lambda _: target.copy_(source), square), time_ms(lambda _: square @ square, square)
    return 2 * 2**31 / copy_ms * 1e3, 2 * 8192**3 / product_ms * 1e3


@cache
def needs(preset: str, kind: str) -> tuple[float, float, float]:
    """(bytes of weights, bytes of input and final maps per pixel, operations per image)."""
    student = make(preset, kind)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        student.raw(torch.zeros(1, 3, *student.size_hw))
    weights = sum(4 * parameter.numel() for parameter in student.parameters())
    return weights, 3 + sum(BYTES.get(name, 4) for name in student.spec.output_names), counter.get_total_flops()


def row_of(job: tuple[str, str, str], cell: dict[str, Any], rates: tuple[float, float]) -> list[Any]:
    """One row of the table."""
    weights, per_pixel, operations = needs(*job[:2])
    height, width = cell["size_hw"]
    bytes_ms = 1e3 * (weights + cell["batch"] * height * width * per_pixel) / rates[0]
    bound_ms = max(bytes_ms, 1e3 * cell["batch"] * operations / rates[1])
    p50_ms = cell.get("p50_ms")
    speed = (p50_ms, 1e3 * cell["batch"] / p50_ms, 100 * bound_ms / p50_ms) if p50_ms else (None, None, None)
    limit = "bytes" if bound_ms == bytes_ms else "arithmetic"
    return [*job[:2], cell["engine"], f"{height}x{width}", cell["batch"], *speed, cell.get("failed", limit)]


def main() -> None:
    """Start the processes, wait, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--presets", nargs="+", default=["nano", "small", "base"])
    parser.add_argument("--kinds", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=list(ENGINES))
    parser.add_argument("--ready", type=float, default=120.0)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--ready-at", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--together", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("no NVIDIA GPU answers here")
    options.work.mkdir(parents=True, exist_ok=True)
    if options.child:
        child(options)
        return
    jobs = list(product(options.presets, options.kinds, options.engines))
    start_s, ready_at = time.monotonic(), time.time() + options.ready
    children = []
    # Compilers first: they take longest.
    for number, job in sorted(enumerate(jobs), key=lambda pair: pair[1][2] == "onnxruntime"):
        words = ["--child", *job, "--ready-at", str(ready_at), "--together", str(len(jobs)), "--work", options.work]
        log = (options.work / f"{number}.log").open("w")
        children.append(
            (job, log, subprocess.Popen([sys.executable, __file__, *map(str, words)], stdout=log, stderr=log))
        )
    rates = measured_rates()
    torch.cuda.empty_cache()
    while any(process.poll() is None for *_, process in children) and time.monotonic() - start_s < options.seconds:
        time.sleep(0.5)
    found: list[tuple[tuple[str, str, str], dict[str, Any]]] = []
    untimed: list[str] = []
    prepared_s: dict[str, list[float]] = {}
    for job, log, process in children:
        crashed = (process.poll() or 0) < 0
        process.kill()
        lines = Path(log.name).read_text().splitlines()
        prepared, cells = {}, [json.loads(line) for line in lines if line.startswith("{")]
        if cells:
            prepared = cells.pop(0)
            prepared_s.setdefault(job[2], []).append(prepared["prepared_s"])
        if not cells:
            state = "ready, no time was left" if prepared else "crashed" if crashed else "not ready"
            untimed.append(f"{' '.join(job)} ({state})")
        found += [(job, cell) for cell in cells]
    (options.work / "cells.json").write_text(json.dumps(found, indent=1))
    took = ", ".join(f"{engine} {min(taken):.0f} to {max(taken):.0f} s" for engine, taken in prepared_s.items())
    columns = ["preset", "tasks", "engine", "size", "batch", "p50 ms", "images/s", "% of the bound", "bound by"]
    notes = (
        f"{torch.cuda.get_device_name()}: {rates[0] / 1e9:.0f} GB/s, {rates[1] / 1e12:.0f} TFLOP/s in TF32, both "
        "measured. Tensors on the GPU in and out; random weights; median of up to 50 calls. "
        f"Preparing, all at once: {took}. Not timed: {', '.join(untimed) or 'none'}."
    )
    rows = [row_of(job, cell, rates) for job, cell in sorted(found, key=lambda pair: jobs.index(pair[0]))]
    results_page("Students on a GPU", notes, [Table(columns, rows)], options.out)


if __name__ == "__main__":
    main()
