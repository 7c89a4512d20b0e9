"""The ONNX files of every preset and of several families of backbones give the outputs of the torch module."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from distill.config import load_config
from distill.config.train import PRESETS, StudentConfig
from distill.export.onnx.exporter import export_onnx
from distill.export.runners import ModuleRunner, open_runner
from distill.students.model.student import build_spec, build_student
from distill.tasks import Task

FAMILIES = ("convnextv2_atto", "fastvit_t8", "repvit_m0_9")
"""Layer norms; attention and large kernels; squeeze-and-excitation. More in `benchmarks/onnx_backbones.py`."""
CASES = [{"preset": name} for name in PRESETS] + [{"backbone": name} for name in FAMILIES]


@pytest.mark.slow
@pytest.mark.parametrize("values", CASES, ids=lambda values: str(next(iter(values.values()))))
def test_onnx_and_torch_give_the_same_outputs(values: dict[str, str], tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = load_config(StudentConfig, {**values, "size_hw": [64, 64]})
    student = build_student(config, build_spec(config, name="x", tasks=(Task.DEPTH, Task.SEMANTIC), classes=("a", "b")))
    path = export_onnx(student.eval(), student.spec, tmp_path / "x.onnx").path
    images = np.random.default_rng(0).integers(0, 256, (2, 48, 80, 3), dtype=np.uint8)
    with ModuleRunner(student, student.spec) as reference, open_runner(path) as engine:
        wanted, found = reference(images), engine(images)
    np.testing.assert_allclose(found["depth"], wanted["depth"], rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(found["semantic_confidence"], wanted["semantic_confidence"], atol=2e-3)
    assert (found["semantic"] == wanted["semantic"]).mean() > 0.995
