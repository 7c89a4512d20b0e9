"""`distill bench`: says what was timed, and on what."""

from __future__ import annotations

import json
from pathlib import Path

from tests.builders.cli import Cli


def test_models_are_timed_side_by_side(cli: Cli, run_dir: Path, onnx_file: Path, tmp_path: Path) -> None:
    words = ("--batch", 1, "--batch", 2, "--size", "40x56", "--seconds", 0.02, "--threads", 1)
    code, result = cli.json("bench", run_dir, onnx_file, *words, "--out", tmp_path / "b")
    assert code == 0
    assert [row["engine"] for row in result["models"]] == ["torch cpu", "onnxruntime cpu"]
    assert all(row["threads"] == 1 and row["load_ms"] > 0 and row["first_call_ms"] > 0 for row in result["models"])
    assert len(result["timings"]) == 2 * 2 * 2
    for row in result["timings"]:
        assert row["size_hw"] == [40, 56] and 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
    assert json.loads((tmp_path / "b" / "bench.json").read_text()) == result
    page = (tmp_path / "b" / "bench.md").read_text()
    assert "end_to_end" in page and result["versions"]["torch"] in page and "load_before" in page


def test_the_page_has_a_plot_where_there_is_more_than_one_batch(cli: Cli, onnx_file: Path, tmp_path: Path) -> None:
    words = ("bench", onnx_file, "--size", "40x56", "--seconds", 0.02, "--threads", 1)
    assert cli(*words, "--batch", 1, "--batch", 2, "--out", tmp_path / "two")[0] == 0
    assert cli(*words, "--batch", 1, "--out", tmp_path / "one")[0] == 0
    page = (tmp_path / "two" / "bench.html").read_text()
    assert page.count("<svg") == 2 and "images/s, end to end, 40 x 56" in page
    assert "<svg" not in (tmp_path / "one" / "bench.html").read_text()


def test_two_files_of_one_name_are_kept_apart(cli: Cli, onnx_file: Path, tmp_path: Path) -> None:
    copy = tmp_path / onnx_file.name
    copy.write_bytes(onnx_file.read_bytes())
    code, result = cli.json("bench", onnx_file, copy, "--batch", 1, "--seconds", 0.01)
    assert code == 0 and len({row["name"] for row in result["models"]}) == 2
    assert {tuple(row["size_hw"]) for row in result["timings"]} == {(64, 64)}


def test_wrong_use(cli: Cli, onnx_file: Path, tmp_path: Path) -> None:
    assert cli("bench", onnx_file, "--size", "12")[0] == 2
    assert cli("bench", onnx_file, "--size", "0x8")[0] == 2
    assert cli("bench", tmp_path / "none.onnx")[0] == 2
    assert cli("bench", onnx_file, "--seconds", "0")[0] == 2
