"""Students on a GPU: ONNX Runtime's CUDA provider, AOTInductor, torch.compile with CUDA graphs. Not run anywhere yet.

    python benchmarks/gpu_engines.py [--presets nano small base] [--out benchmarks/results/gpu_engines.md]

Single- and multi-task students of random weights; batches 1 to 128; 384x512 and 1080x1920; tensors on the GPU in and
out. Gives p50, images/s, and the share of the card's memory bandwidth that the bytes of input and output alone take.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import results_page

from distill.export.aoti import export_aoti
from distill.export.onnx import export_onnx
from distill.export.ordered import for_export
from distill.export.runners import open_runner
from distill.recipe import load_recipe
from distill.recipe.training import StudentRecipe
from distill.report.blocks import Table
from distill.students.student import Student, build_spec, build_student
from distill.tasks import Task

TASKS = {"depth": (Task.DEPTH,), "multi-task": (Task.DEPTH, Task.NORMALS, Task.SEMANTIC)}
BATCHES = (1, 8, 32, 128)
SIZES_HW = ((384, 512), (1080, 1920))


def engines(student: Student, folder: Path) -> dict[str, Callable[[torch.Tensor], Any]]:
    """Every way to run it, by name."""
    compiled_path = export_aoti(student, student.spec, folder / "student.pt2", device="cuda")
    onnx_path = export_onnx(student, student.spec, folder / "student.onnx").path
    compiled = torch.compile(for_export(student, student.spec).cuda(), mode="reduce-overhead")
    return {
        "onnxruntime cuda": open_runner(onnx_path, device="cuda"),
        "onnxruntime cuda, graph": open_runner(onnx_path, device="cuda", cuda_graph=True),
        "aoti": open_runner(compiled_path, device="cuda"),
        "torch.compile, graphs": compiled,
    }


def time_ms(call: Callable[[torch.Tensor], Any], images: torch.Tensor, calls: int = 50) -> list[float]:
    """Milliseconds of each call, the GPU's work included."""
    times = []
    with torch.inference_mode():
        for index in range(calls + 5):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            outputs = call(images)
            end.record()
            torch.cuda.synchronize()
            if index >= 5:
                times.append(begin.elapsed_time(end))
            del outputs
    return times


def bytes_moved(student: Student, batch: int, size_hw: tuple[int, int]) -> int:
    """Of the pictures and the final maps: what no engine can avoid."""
    sizes = {"normals": 12, "semantic": 1}
    per_pixel = 3 + sum(sizes.get(name, 4) for name in student.spec.output_names)
    return batch * size_hw[0] * size_hw[1] * per_pixel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["nano", "small", "base"])
    parser.add_argument("--bandwidth-gb-s", type=float, default=3350.0, help="of the card's memory; 3350 for an H100")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("no NVIDIA GPU answers here")
    rows = []
    for preset in options.presets:
        for kind, tasks in TASKS.items():
            recipe = load_recipe(StudentRecipe, {"preset": preset})
            student = build_student(recipe, build_spec(recipe, name="student", tasks=tasks, classes=tuple("abcdefgh")))
            with tempfile.TemporaryDirectory() as folder:
                for name, call in engines(student.eval(), Path(folder)).items():
                    for size_hw in SIZES_HW:
                        for batch in BATCHES:
                            images = torch.randint(0, 256, (batch, *size_hw, 3), dtype=torch.uint8, device="cuda")
                            p50 = float(np.median(time_ms(call, images)))
                            least = 1000 * bytes_moved(student, batch, size_hw) / (options.bandwidth_gb_s * 1e9)
                            size = f"{size_hw[0]}x{size_hw[1]}"
                            rows.append([preset, kind, name, size, batch, p50, 1000 * batch / p50, 100 * least / p50])
    columns = ["preset", "tasks", "engine", "size", "batch", "p50 ms", "images/s", "% of the memory bound"]
    notes = f"{torch.cuda.get_device_name()}; tensors on the GPU in and out; random weights."
    results_page("Students on a GPU", notes, [Table(columns, rows)], options.out)


if __name__ == "__main__":
    main()
