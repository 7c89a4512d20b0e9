"""Fixtures for the tests of several packages: a small student, its files, the command line. A plug-in of `conftest.py`.

Heavy packages are imported where they are used: most tests need none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from distill.tasks import Task
from tests.builders.cli import Cli

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


@pytest.fixture
def cli() -> Cli:
    """The command line, in this process."""
    return Cli()
