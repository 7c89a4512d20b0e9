"""`distill data ls`, `stats` and `show` on the command line, and the group itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.commands.data import COMMANDS
from tests.builders.cli import Cli
from tests.builders.shards import write_tiny_shards


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_shards(tmp_path_factory.mktemp("data") / "set", num_samples=4, shard_size=2, size_hw=(8, 12))


def test_ls_stats_and_show(cli: Cli, folder: Path, tmp_path: Path) -> None:
    assert [row["samples"] for row in cli.result("data", "ls", folder.parent)["sets"]] == [4]
    assert cli.result("data", "stats", folder)["tasks"]["depth"]["labels"] == 4
    shown = cli.result("data", "show", folder, "blocks-0002", "--at", "3,4", "--out", tmp_path / "a.png")
    assert shown["position"] == 2 and shown["points"][0]["values"]["depth"]["unit"] == "m"
    assert (tmp_path / "a.png").is_file()
    code, printed, errors = cli("data", "show", folder, "0")
    assert code == 0 and printed.startswith("blocks-0000 (sample 0)") and errors == ""


@pytest.mark.parametrize(
    "words", [("show",), ("show", "nowhere", "1"), ("stats", "nowhere"), ("ls", "nowhere"), ("lss",)]
)
def test_wrong_use_is_one_sentence(cli: Cli, words: tuple[str, ...]) -> None:
    code, printed, errors = cli("data", *words)
    assert code == 2 and errors.startswith("error: ") and printed == "" and "Traceback" not in errors


def test_the_group_lists_its_commands_with_examples(cli: Cli) -> None:
    code, printed, _ = cli("data", "--help")
    assert code == 0 and all(name in printed for name in COMMANDS)
    for name in COMMANDS:
        code, printed, _ = cli("data", name, "-h")
        assert code == 0 and "Examples:" in printed and f"distill data {name}" in printed, name
