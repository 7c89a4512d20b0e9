"""Every preset and ten families of backbones leave the house whole: ONNX gives what torch gives."""

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
CASES = [{"preset": name} for name in PRESETS] + [{"backbone": name} for name in FAMILIES]


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("values", CASES, ids=lambda values: str(next(iter(values.values()))))
def test_the_onnx_file_answers_as_the_student_does(values: dict[str, str], tmp_path: Path) -> None:
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
