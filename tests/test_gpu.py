"""A student on an NVIDIA GPU gives the answers that it gives on a CPU. Skipped where no GPU answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from distill.recipe import load_recipe
from distill.recipe.training import StudentRecipe
from distill.students.student import build_spec, build_student
from distill.tasks import Task

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU answers")]
TASKS = (Task.DEPTH, Task.NORMALS, Task.SEMANTIC)


def test_a_student_answers_the_same_on_a_gpu() -> None:
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    recipe = load_recipe(StudentRecipe, {"preset": "nano", "size_hw": [64, 96]})
    student = build_student(recipe, build_spec(recipe, name="t", tasks=TASKS, classes=("a", "b", "c"))).eval()
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 90, 120, 3), dtype=np.uint8))
    with torch.inference_mode():
        on_cpu = student(image)
        on_gpu = {name: values.cpu() for name, values in student.cuda()(image.cuda()).items()}
    assert torch.allclose(on_cpu["depth"], on_gpu["depth"], rtol=1e-3)
    assert torch.allclose(on_cpu["normals"], on_gpu["normals"], atol=1e-3)
    assert (on_cpu["semantic"] != on_gpu["semantic"]).float().mean() < 1e-3
