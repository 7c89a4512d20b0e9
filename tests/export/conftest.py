"""One small student, trained by nobody, exported once; and a runner that needs no network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from fake_runner import CLASSES, FakeRunner

from distill.config.train import StudentConfig
from distill.console import run_cli
from distill.export.onnx.exporter import export_onnx
from distill.students.checkpoint import save_student
from distill.students.model.student import Student, build_spec, build_student
from distill.tasks import Task


def small_student(*tasks: Task, size_hw: tuple[int, int] = (64, 64)) -> Student:
    """A student with random weights, whose answers vary over the picture."""
    torch.manual_seed(0)
    config = StudentConfig.model_validate(
        {
            "preset": None,
            "backbone": "test_efficientnet",  # exports in two thirds of the time of the nano preset
            "size_hw": size_hw,
            "neck_channels": 16,
            "head_channels": 16,
        }
    )
    spec = build_spec(
        config,
        name="small",
        tasks=tasks,
        classes=CLASSES,
        things=CLASSES[1:] if Task.INSTANCE in tasks else (),
        licenses=("test",),
        provenance={"by": "hand"},
    )
    student = build_student(config, spec).eval()
    with torch.no_grad():
        for parameter in student.heads.parameters():
            parameter.mul_(3.0)
    return student


@pytest.fixture(scope="session")
def student() -> Student:
    """All three tasks at 64x64."""
    return small_student(Task.DEPTH, Task.NORMALS, Task.SEMANTIC)


@pytest.fixture(scope="session")
def run_dir(student: Student, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder as training leaves it."""
    folder = tmp_path_factory.mktemp("run")
    save_student(folder, student)
    return folder


@pytest.fixture(scope="session")
def onnx_file(student: Student, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The student as ONNX."""
    return export_onnx(student, student.spec, tmp_path_factory.mktemp("onnx") / "small.onnx").path


@pytest.fixture
def fake() -> FakeRunner:
    """A fresh fake runner."""
    return FakeRunner()


class Cli:
    """The command line, in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *words: object) -> tuple[int, str, str]:
        """(exit code, standard output, standard error)."""
        from distill.cli import app

        self._monkeypatch.setattr("sys.argv", ["distill", *map(str, words)])
        self._capsys.readouterr()
        code = run_cli(app)
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def json(self, *words: object) -> tuple[int, dict]:
        """(exit code, the one JSON object on standard output)."""
        code, out, _ = self(*words, "--json")
        return code, json.loads(out)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run `distill ...` and look at what it says."""
    return Cli(monkeypatch, capsys)
