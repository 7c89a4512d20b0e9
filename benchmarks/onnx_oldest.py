"""Exported students in the oldest ONNX Runtime that knows their operators: 1.14, the first one with operator set 18.

    python benchmarks/onnx_oldest.py --python python3.10 --work oldest --out benchmarks/results/onnx_oldest.md

Makes a virtual environment with --python (which needs a wheel of that version: Python 3.10 for 1.14, 3.11 for 1.15),
exports a student of each preset with all tasks and operator set 18 (`distill export --opset 18`), and compares the
answers there with torch on generated images, within the tolerances of `distill export`. Exits with 1 if a task is
beyond its tolerance.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from machine import results_page

from distill.config.train import PRESETS, StudentConfig
from distill.export.onnx.exporter import export_onnx
from distill.export.runners import ModuleRunner
from distill.export.verification.parity import Tolerances, generated_samples
from distill.export.verification.task_difference import TaskDifference
from distill.report.blocks import Table
from distill.students.model.student import build_spec, build_student
from distill.tasks import TASKS, Task

OPSET = 18
CLASSES = ("road", "wall", "sky", "table", "chair", "person", "thing", "plant")
TASKS_OF_A_STUDENT = tuple(task for task in Task if TASKS[task].learnable and not TASKS[task].learned_as)
RUN = """
import sys
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
images = np.load(sys.argv[2])
names = [entry.name for entry in session.get_outputs()]
answers = {}
for number in images:
    found = session.run(names, {session.get_inputs()[0].name: images[number]})
    answers.update({number + "/" + name: value for name, value in zip(names, found)})
np.savez(sys.argv[3], version=onnxruntime.__version__, **answers)
"""


def environment(python: str, version: str, folder: Path) -> Path:
    """Python of a virtual environment with this ONNX Runtime, created once per folder."""
    path = folder / f"onnxruntime-{version}" / "bin" / "python"
    if not path.exists():
        subprocess.run([python, "-m", "venv", str(path.parent.parent)], check=True)
        packages = [f"onnxruntime=={version}", "numpy<2"]
        subprocess.run([str(path), "-m", "pip", "install", "--quiet", *packages], check=True)
    return path


def compare(preset: str, python: Path, folder: Path) -> list[list[Any]]:
    """One row per task of a student of this preset."""
    torch.manual_seed(0)
    config = StudentConfig.model_validate({"preset": preset})
    spec = build_spec(config, name=preset, tasks=TASKS_OF_A_STUDENT, classes=CLASSES, things=CLASSES[3:6])
    student = build_student(config, spec).eval()
    with torch.no_grad():
        for parameter in student.heads.parameters():
            parameter.mul_(3.0)  # answers that vary over the image, as those of a trained one do
    path = export_onnx(student, spec, folder / f"{preset}.onnx", opset=OPSET).path
    images = {str(number): sample.rgb[None] for number, sample in enumerate(generated_samples(spec, 4))}
    np.savez(folder / "images.npz", **images)  # type: ignore[arg-type]
    paths = [str(path), str(folder / "images.npz"), str(folder / "answers.npz")]
    subprocess.run([str(python), "-c", RUN, *paths], check=True)
    answers = np.load(folder / "answers.npz")
    differences = {task: TaskDifference(task, spec) for task in spec.tasks}
    with ModuleRunner(student, spec, name=preset) as runner:
        for number, image in images.items():
            expected = {name: value[0] for name, value in runner(image).items()}
            found = {name: answers[f"{number}/{name}"][0] for name in spec.output_names}
            for difference in differences.values():
                difference.update(expected, found, None)
    model = onnx.load(path, load_external_data=False)
    return [
        [preset, str(task), opset(model), model.ir_version, *numbers(difference, Tolerances().for_task(task))]
        for task, difference in differences.items()
    ]


def opset(model: onnx.ModelProto) -> int:
    """Operator set of a model; other domains would need an extension."""
    versions: Mapping[str, int] = {entry.domain: entry.version for entry in model.opset_import}
    assert not {"", "ai.onnx"}.symmetric_difference(versions) - {"", "ai.onnx"}, versions
    return max(versions.values())


def numbers(difference: TaskDifference, tolerance: float) -> tuple[float, float, float, str]:
    """Difference per pixel, largest difference, tolerance, verdict."""
    found = difference.pixel_difference
    return found, difference.max_abs_difference, tolerance, "within" if found <= tolerance else "beyond"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default="python3.10", help="interpreter of the environment")
    parser.add_argument("--version", default="1.14.0", help="version of ONNX Runtime")
    parser.add_argument("--presets", nargs="+", default=list(PRESETS))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    python = environment(options.python, options.version, options.work)
    rows = [row for preset in options.presets for row in compare(preset, python, options.work)]
    columns = ["preset", "task", "operator set", "IR", "difference", "largest", "tolerance", "verdict"]
    notes = (
        f"ONNX Runtime {options.version}, the oldest one that knows operator set 18, against torch on four generated"
        " images of each student: the training size, upright, larger and odd. Random weights. The difference is the"
        " fraction of pixels that differ, or degrees for normals, and its tolerance that of `distill export`."
    )
    results_page(
        "Exported students in the oldest ONNX Runtime", notes, [Table(columns, rows, "By preset and task")], options.out
    )
    return int(any(row[-1] != "within" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
