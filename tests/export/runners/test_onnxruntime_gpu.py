"""Outputs on an NVIDIA GPU equal those on a CPU. Skipped without a GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from distill.config import load_config
from distill.config.train import StudentConfig
from distill.export.onnx.exporter import export_onnx
from distill.export.runners import open_runner
from distill.students.model.student import build_spec, build_student
from distill.tasks import Task

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU with a driver"),
]
TASKS = (Task.DEPTH, Task.NORMALS, Task.SEMANTIC)


def test_a_student_has_equal_outputs_on_a_gpu() -> None:
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    config = load_config(StudentConfig, {"preset": "nano", "size_hw": [64, 96]})
    student = build_student(config, build_spec(config, name="t", tasks=TASKS, classes=("a", "b", "c"))).eval()
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 90, 120, 3), dtype=np.uint8))
    with torch.inference_mode():
        on_cpu = student(image)
        on_gpu = {name: values.cpu() for name, values in student.cuda()(image.cuda()).items()}
    assert torch.allclose(on_cpu["depth"], on_gpu["depth"], rtol=1e-3)
    assert torch.allclose(on_cpu["normals"], on_gpu["normals"], atol=1e-3)
    assert (on_cpu["semantic"] != on_gpu["semantic"]).float().mean() < 1e-3


@pytest.mark.parametrize("options", [{}, {"cuda_graph": True}])
def test_an_exported_file_has_equal_outputs_on_a_gpu(tmp_path: Path, options: dict[str, bool]) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("needs ONNX Runtime with CUDA: pip install onnxruntime-gpu")
    torch.manual_seed(0)
    config = load_config(StudentConfig, {"preset": "nano", "size_hw": [64, 96]})
    student = build_student(config, build_spec(config, name="t", tasks=TASKS, classes=("a", "b", "c"))).eval()
    path = export_onnx(student, student.spec, tmp_path / "t.onnx").path
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 90, 120, 3), dtype=np.uint8))
    with torch.inference_mode():
        expected = student(image)
    with open_runner(path, device="cuda", **options) as runner:
        for _ in range(3):
            found = runner(image.cuda())
    assert all(value.is_cuda for value in found.values())
    assert torch.allclose(expected["depth"], found["depth"].cpu(), rtol=5e-3)
