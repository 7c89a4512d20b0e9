"""A network of the user's own fits by protocol, and is only ever imported where the user named it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from distill.config import load_config
from distill.config.train import TRUSTED_BACKBONES, StudentConfig
from distill.errors import UsageError
from distill.students.checkpoint import load_student, save_student
from distill.students.model.student import Student, build_spec, build_student
from distill.tasks import Task
from distill.workflows.train.config import read_train_config

_SOURCE = """
import pathlib
from torch import nn

pathlib.Path("was_imported").touch()

class Tiny(nn.Sequential):
    def __init__(self, channels):
        super().__init__(nn.Conv2d(3, channels, 3, stride=4, padding=1), nn.BatchNorm2d(channels), nn.ReLU())

class Narrow(nn.Conv2d):
    def __init__(self, channels):
        super().__init__(3, channels // 2, 3)
"""


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "tiny_nets.py").write_text(_SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv(TRUSTED_BACKBONES, raising=False)
    sys.modules.pop("tiny_nets", None)
    return "tiny_nets:Tiny"


def build(reference: str) -> Student:
    config = load_config(StudentConfig, {"size_hw": [64, 64], "custom_backbone": reference})
    return build_student(config, build_spec(config, name="x", tasks=(Task.DEPTH, Task.NORMALS)))


def test_it_is_trained_saved_and_opened_like_any_other(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TRUSTED_BACKBONES, f"other:Thing,{tiny}")
    student = build(tiny).eval()
    assert student.spec.backbone == tiny
    torch.stack([maps.mean() for maps in student.raw(torch.zeros(1, 3, 64, 64)).values()]).sum().backward()
    assert all(parameter.grad is not None for parameter in student.backbone.parameters())
    save_student(tmp_path, student)
    picture = torch.randint(0, 255, (1, 50, 70, 3), dtype=torch.uint8)
    with torch.no_grad():
        again, now = load_student(tmp_path)[0](picture), student(picture)
    assert all(torch.equal(again[name], now[name]) for name in student.spec.output_names)


def test_a_run_folder_cannot_choose_imports(tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRUSTED_BACKBONES, tiny)
    save_student(tmp_path, build(tiny))
    assert (tmp_path / "was_imported").is_file()  # so the file tells
    (tmp_path / "was_imported").unlink()
    sys.modules.pop("tiny_nets")
    monkeypatch.delenv(TRUSTED_BACKBONES)
    with pytest.raises(UsageError, match="only runs if you allow it"):
        load_student(tmp_path)
    assert not (tmp_path / "was_imported").is_file()


def test_the_command_line_is_trusted_and_a_file_is_not(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TRUSTED_BACKBONES, "")
    (tmp_path / "run.yaml").write_text(f"student: {{custom_backbone: '{tiny}'}}\n")
    config = read_train_config(tmp_path / "run.yaml", "shards")
    with pytest.raises(UsageError, match="only runs if you allow it"):
        build(str(config.student.custom_backbone))
    monkeypatch.delenv(TRUSTED_BACKBONES)
    config = read_train_config(None, "shards", {"student.custom_backbone": tiny})
    assert build(str(config.student.custom_backbone)).spec.backbone == tiny


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("tiny_nets:Narrow", "returns a map of shape"),
        ("tiny_nets:Missing", "cannot be built"),
        ("json:loads", "cannot be"),
    ],
)
def test_unsuitable_custom_backbones_are_refused(
    tiny: str, reference: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TRUSTED_BACKBONES, reference)
    with pytest.raises(UsageError, match=reason):
        build(reference)


def test_an_invalid_reference_is_refused() -> None:
    with pytest.raises(UsageError, match=r"package\.module:Class"):
        load_config(StudentConfig, {"custom_backbone": "os.system('x')"})
