"""`distill data export` and `import`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from distill.datasets.shard_set import open
from distill.tasks import Task
from tests.builders.cli import Cli
from tests.builders.label_sets import photo, sample, write_set


def test_there_and_back(tmp_path: Path, cli: Cli) -> None:
    shards = write_set(tmp_path / "set", [sample(photo(1), [Task.DEPTH])])
    found = cli.result("data", "export", shards.folder, "depth-png", "--depth-scale", 500, "--out", tmp_path / "png")
    assert found["counts"] == {"photos": 1} and "confidence" in found["cannot_hold"]
    words = ("--depth-scale", 500, "--license", "CC0-1.0", "--images", tmp_path / "png" / "images")
    cli.result("data", "import", tmp_path / "png", "depth-png", *words, "--out", tmp_path / "back")
    back = open(tmp_path / "back")
    assert back.manifest.licenses == ("CC0-1.0",) and back.manifest.teachers == ("imported depth-png",)
    one, other = shards.label(0, Task.DEPTH), back.label(0, Task.DEPTH)
    assert np.abs(one.value - other.value)[one.valid].max() < 0.002


def test_the_terminal_lists_what_the_format_cannot_hold(tmp_path: Path, cli: Cli) -> None:
    write_set(tmp_path / "set", [sample(photo(1), [Task.SEMANTIC])])
    code, out, _ = cli("data", "export", tmp_path / "set", "indexed-png", "--out", tmp_path / "png")
    assert code == 0 and "indexed-png cannot hold: confidence" in " ".join(out.split())
    code, _, errors = cli("data", "export", tmp_path / "set", "coco", "--out", tmp_path / "coco")
    assert code == 2 and "has no labels of instance" in " ".join(errors.split())
