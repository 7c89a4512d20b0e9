"""Fixtures for the tests of several packages: a small student, its files, the command line. A plug-in of `conftest.py`.

Heavy packages are imported where they are used: most tests need none of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from distill.console import run_cli
from distill.tasks import Task

if TYPE_CHECKING:
    from distill.students.model.student import Student
    from tests.fakes.runner import FakeRunner


@pytest.fixture(scope="session")
def make_shards() -> Callable[..., Path]:
    """The function that writes shards of colored blocks."""
    from tests.builders.shards import write_tiny_shards

    return write_tiny_shards


@pytest.fixture(scope="session")
def student() -> Student:
    """All three tasks at 64x64."""
    from tests.builders.students import small_student

    return small_student(Task.DEPTH, Task.NORMALS, Task.SEMANTIC)


@pytest.fixture(scope="session")
def run_dir(student: Student, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder as training leaves it."""
    from distill.students.checkpoint import save_student

    folder = tmp_path_factory.mktemp("run")
    save_student(folder, student)
    return folder


@pytest.fixture(scope="session")
def onnx_file(student: Student, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The student as ONNX."""
    from distill.export.onnx.exporter import export_onnx

    return export_onnx(student, student.spec, tmp_path_factory.mktemp("onnx") / "small.onnx").path


@pytest.fixture
def fake() -> FakeRunner:
    """A fresh fake runner."""
    from tests.fakes.runner import FakeRunner

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
        printed = self._capsys.readouterr()
        return code, printed.out, printed.err

    def json(self, *words: object) -> tuple[int, dict]:
        """(exit code, the one JSON object on standard output)."""
        code, out, _ = self(*words, "--json")
        return code, json.loads(out)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run `distill ...` in this process: `cli(words)` or `cli.json(words)`."""
    return Cli(monkeypatch, capsys)
