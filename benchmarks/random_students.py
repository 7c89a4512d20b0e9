"""Students with random weights for speed benchmarks; speed does not depend on the weights."""

from __future__ import annotations

from pathlib import Path

import torch

from distill.config.train import StudentConfig
from distill.export.onnx.exporter import export_onnx
from distill.students.model.student import build_spec, build_student
from distill.tasks import Task

CLASSES = ("floor", "wall", "ceiling", "table", "chair", "person", "thing", "plant")


def random_student(preset: str, tasks: tuple[Task, ...], folder: Path) -> Path:
    """ONNX file of a student of a preset, created once per folder."""
    path = folder / f"{preset}_{'_'.join(tasks)}.onnx"
    if path.is_file():
        return path
    torch.manual_seed(0)
    config = StudentConfig.model_validate({"preset": preset})
    spec = build_spec(config, name=preset, tasks=tasks, classes=CLASSES)
    student = build_student(config, spec).eval()
    with torch.no_grad():
        for parameter in student.heads.parameters():
            parameter.mul_(3.0)  # answers that vary over the picture, as those of a trained one do
    return export_onnx(student, spec, path).path
