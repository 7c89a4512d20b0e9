"""Temporary folders of an export."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distill.errors import DistillError
from distill.export.targets.context import ExportContext


def test_temporary_folders_of_killed_exports_are_removed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for name in (f".export.abc.{ended.pid}.part", f".export.abc.{os.getppid()}.part", ".export.mine", "export"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.onnx").touch()
    (tmp_path / f".export.link.{ended.pid}.part").symlink_to(tmp_path / "export")
    context: Any = SimpleNamespace(folder=tmp_path, _scratch=[])
    made = ExportContext.scratch_dir(context)
    left = {path.name for path in tmp_path.iterdir()} - {made.name}
    assert left == {f".export.abc.{os.getppid()}.part", ".export.mine", "export", f".export.link.{ended.pid}.part"}
    assert (tmp_path / "export" / "model.onnx").exists()
    ExportContext.close(context)
    assert not made.exists()


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    context: Any = SimpleNamespace(folder=tmp_path / "missing", _scratch=[])
    with pytest.raises(DistillError, match="missing: cannot be written: No such file"):
        ExportContext.scratch_dir(context)
