from __future__ import annotations

import subprocess
import sys

import torch
from torch import nn

from distill.students.model.backbone import memory_format

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_contiguous_format_where_channels_last_is_unsafe() -> None:
    risky = nn.Sequential(nn.Conv2d(3, 48, 1, stride=2), nn.Conv2d(48, 48, 3))
    assert memory_format(risky, CPU) is torch.contiguous_format
    assert memory_format(risky, GPU) is torch.channels_last
    for safe in (nn.Conv2d(3, 48, 3, stride=2), nn.Conv2d(3, 48, 1), nn.Conv2d(64, 128, 1, stride=2)):
        assert memory_format(safe, CPU) is torch.channels_last


_STEPS = """
import sys, torch
from distill.config.train import StudentConfig
from distill.students.model.backbone import memory_format
from distill.students.model.student import build_spec, build_student
from distill.tasks import Task
for backbone in sys.argv[1:]:
    config = StudentConfig.model_validate({"backbone": backbone})
    student = build_student(config, build_spec(config, name="x", tasks=(Task.DEPTH,), classes=())).train()
    order = memory_format(student, torch.device("cpu"))
    student.to(memory_format=order)
    for _ in range(2):
        raw = student.raw(torch.full((2, 3, 192, 256), 9.0).contiguous(memory_format=order))
        torch.autograd.backward(torch.stack([value.float().sum() for value in raw.values()]).sum())
    print(backbone)
"""


def test_backbones_with_a_strided_first_convolution_train() -> None:
    # In a separate process, because a failure here damages the heap.
    backbones = ["fastvit_t8", "mobileone_s0"]
    done = subprocess.run([sys.executable, "-c", _STEPS, *backbones], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.split() == backbones, done.stderr[-500:]
