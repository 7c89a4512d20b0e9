"""`distill data verify` and `seal` on the command line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.builders.cli import Cli
from tests.builders.shards import write_tiny_shards


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_shards(tmp_path_factory.mktemp("data") / "set", num_samples=4, shard_size=2, size_hw=(8, 12))


@pytest.fixture
def damaged(folder: Path, tmp_path: Path) -> Path:
    copy = shutil.copytree(folder, tmp_path / "set")
    path = sorted(copy.glob("*.tar"))[0]
    data = bytearray(path.read_bytes())
    data[532] ^= 1
    path.write_bytes(data)
    return copy


def test_exit_codes(cli: Cli, folder: Path, damaged: Path, tmp_path: Path) -> None:
    code, printed, _ = cli("data", "verify", folder)
    assert code == 0 and "intact (4 samples" in printed
    code, printed, _ = cli("data", "verify", damaged, "--quick")
    assert code == 1 and "shard-000000.tar, blocks-0000." in printed and "--salvage OUT" in printed
    code, _, errors = cli("data", "verify", tmp_path / "missing")
    assert code == 2 and "not a folder of shards" in errors
    code, _, errors = cli("data", "seal", folder)
    assert code == 2 and "has no labeling job" in errors


def test_salvage_and_its_plan_as_json(cli: Cli, damaged: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, planned = cli.json("data", "verify", damaged, "--salvage", out, "--plan")
    assert code == 1 and planned["planned"] and planned["kept_samples"] == 3 and not out.exists()
    code, result = cli.json("data", "verify", damaged, "--salvage", out)
    (fault,) = result["faults"]
    assert code == 1 and not result["ok"] and result["kept_samples"] == 3 and result["damaged_samples"] == 1
    assert fault["file"] == "shard-000000.tar" and fault["first_byte"] <= 532 <= fault["last_byte"]
    assert cli.result("data", "verify", out)["ok"]


def test_plan_needs_salvage(cli: Cli, folder: Path) -> None:
    code, _, errors = cli("data", "verify", folder, "--plan")
    assert code == 2 and "--salvage" in errors
