"""`distill teachers`: names with kind, tasks, license and requirements."""

from __future__ import annotations

from pathlib import Path

from tests.builders.cli import Cli


def test_every_packaged_config_is_listed(cli: Cli, repository: Path) -> None:
    code, result = cli.json("teachers")
    rows = {row["name"]: row for row in result["teachers"]}
    assert code == 0 and set(rows) >= {path.stem for path in (repository / "configs" / "teachers").glob("*.yaml")}
    assert rows["nano_banana"]["kind"] == "gemini" and "GEMINI_API_KEY" in rows["nano_banana"]["needs"]
    assert rows["espnetv2_camvid"]["tasks"] == ["semantic"] and rows["espnetv2_camvid"]["license"] == "MIT"
    assert rows["mixed_depth"]["tasks"] == ["depth"]


def test_the_list_is_a_table(cli: Cli) -> None:
    code, printed, _ = cli("teachers")
    assert code == 0 and "license of the labels" in printed and "tcmonodepth" in printed
