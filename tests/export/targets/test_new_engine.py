"""The worked example of docs/export.md: a new engine needs two modules and a row."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from distill.config.export import ENGINES, RUNNERS, TARGETS, Engine
from distill.export.runners import open_runner
from tests.builders.cli import Cli


def documented_modules(repository: Path) -> dict[str, str]:
    """Code of the example by file, from the comment in the first line of each block."""
    section = (repository / "docs" / "export.md").read_text().partition("## Add an export target\n")[2]
    blocks = re.findall(r"```python\n# (\S+)\n(.*?)```", section.partition("\n## ")[0], re.S)
    return dict(blocks)


@pytest.fixture
def gzip_engine(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Define the documented modules and rows for the duration of a test."""
    modules = documented_modules(repository)
    rows: dict[str, Any] = {"ENGINES": {}, "TARGETS": {}, "Engine": Engine}
    exec(modules.pop("distill/config/export.py"), rows)
    for path, code in modules.items():
        module = ModuleType(path.removesuffix(".py").replace("/", "."))
        exec(code, vars(module))
        monkeypatch.setitem(sys.modules, module.__name__, module)
    for name, engine in rows["ENGINES"].items():
        monkeypatch.setitem(ENGINES, name, engine)
        monkeypatch.setitem(RUNNERS, engine.suffix, engine.runner)
    for name, target in rows["TARGETS"].items():
        monkeypatch.setitem(TARGETS, name, target)


def test_a_documented_engine_exports_and_runs(gzip_engine: None, cli: Cli, run_dir: Path, tmp_path: Path) -> None:
    code, result = cli.json(
        *("export", run_dir, "--to", "gzip,onnx", "--out", tmp_path, "--num-images", 2, "--seconds", 0, "--threads", 1)
    )
    assert code == 0 and {row["target"]: row["status"] for row in result["targets"]}["gzip"] == "passed"
    images = np.random.default_rng(0).integers(0, 256, (2, 40, 50, 3), dtype=np.uint8)
    with (
        open_runner(tmp_path / "small.gz", threads=1) as packed,
        open_runner(tmp_path / "small.onnx", threads=1) as plain,
    ):
        outputs, expected = packed(images), plain(images)
    assert outputs.keys() == expected.keys()
    assert all(np.array_equal(outputs[name], expected[name]) for name in expected)
