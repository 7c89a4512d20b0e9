"""Export students of many families of backbones to ONNX and compare their outputs with torch.

    python benchmarks/onnx_backbones.py [--backbones mobilenetv3_small_050 lcnet_050] [--out page.md]

The tests do the same for the presets and three families. Weights are random, inputs noise of another size than the
student works at.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import results_page

from distill.config import load_config
from distill.config.train import StudentConfig
from distill.export.onnx.exporter import export_onnx
from distill.export.runners import ModuleRunner, open_runner
from distill.report.blocks import Table
from distill.students.model.student import build_spec, build_student
from distill.tasks import Task

FAMILIES = (
    "mobilenetv3_small_050",
    "repvit_m0_9",
    "efficientvit_b0",
    "mambaout_femto",
    "regnetx_002",
    "convnextv2_atto",
    "edgenext_xx_small",
    "fastvit_t8",
    "lcnet_050",
    "hgnetv2_b0",
)


def compare(backbone: str, folder: Path) -> list[Any]:
    """Name, size of the file, largest relative change of depth, share of equal classes."""
    torch.manual_seed(0)
    config = load_config(StudentConfig, {"backbone": backbone, "size_hw": [64, 64]})
    student = build_student(config, build_spec(config, name="x", tasks=(Task.DEPTH, Task.SEMANTIC), classes=("a", "b")))
    path = export_onnx(student.eval(), student.spec, folder / f"{backbone}.onnx").path
    images = np.random.default_rng(0).integers(0, 256, (2, 48, 80, 3), dtype=np.uint8)
    with ModuleRunner(student, student.spec) as reference, open_runner(path) as engine:
        expected, found = reference(images), engine(images)
    change = float(np.abs(found["depth"] / expected["depth"] - 1).max())
    return [backbone, path.stat().st_size / 1e6, change, float((found["semantic"] == expected["semantic"]).mean())]


def main() -> None:
    """Measure and print one page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbones", nargs="+", default=FAMILIES)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [compare(name, Path(folder)) for name in chosen.backbones]
    table = Table(["backbone", "MB", "largest relative change of depth", "equal classes"], rows)
    results_page("ONNX files of many backbones", "Students with random weights, 48x80 images.", [table], chosen.out)


if __name__ == "__main__":
    main()
