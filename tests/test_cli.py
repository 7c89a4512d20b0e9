"""The command line itself: exit codes, errors in one sentence, JSON that is always JSON."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from distill import __version__
from distill.images import encode_map
from tests.builders.cli import Cli
from tests.waiting import wait_until


def distill(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "distill", *arguments], capture_output=True, text=True, check=False)


def test_version_and_help() -> None:
    assert distill("--version").stdout.strip() == __version__
    done = distill("--help")
    assert done.returncode == 0 and "label" in done.stdout and "predict" in done.stdout


@pytest.mark.parametrize("arguments", [("-h",), ("label", "-h"), ("train", "-h"), ("teachers", "-h")])
def test_short_help(cli: Cli, arguments: tuple[str, ...]) -> None:
    code, printed, _ = cli(*arguments)
    assert code == 0 and "Usage:" in printed and "--help" in printed


@pytest.mark.parametrize(
    ("words", "completion"), [("distill tra", "train"), ("distill train --ke", "--keys"), ("distill teach", "teachers")]
)
def test_shell_completion_knows_verbs_and_their_options(words: str, completion: str) -> None:
    environment = {**os.environ, "COMP_WORDS": words, "_DISTILL_COMPLETE": "complete_bash"}
    environment["COMP_CWORD"] = str(len(words.split()) - 1)
    command = [str(Path(sys.executable).with_name("distill"))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [completion]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("lable",), "did you mean label?"),
        (("label", "--nope"), "No such option"),
        (("train", "--shards", "nowhere"), "nowhere: not a folder of shards"),
        (("evaluate",), "Missing argument"),
        (("export", "nowhere"), "nowhere: not a trained student"),
        (("bench", "nowhere.onnx"), "nowhere.onnx: no such file or folder"),
        (("predict", "nowhere.onnx", "missing.jpg"), "missing.jpg: no such file, folder or glob"),
        (("bench", "any.onnx", "--compare", "pyproject.toml"), "pyproject.toml: no engine reads .toml"),
        (("label", "--teacher", "synthetic", "--out", __file__), "cannot be created as a folder"),
        (("predict", "any.onnx", "any.jpg", "--rate", "nan"), "--rate nan: not a positive number"),
        (("predict", "any.onnx", "any.jpg", "--latency", "-1"), "--latency -1: not a positive number"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_code_2(cli: Cli, arguments: tuple[str, ...], words: str) -> None:
    code, printed, errors = cli(*arguments)
    assert code == 2
    assert words in errors and "error: " in errors
    assert "Traceback" not in errors and printed == ""


@pytest.mark.parametrize("arguments", [("label", "--teacher", "sage"), ("export", "nowhere"), ("lable",)])
def test_errors_are_json_with_json_output(cli: Cli, arguments: tuple[str, ...]) -> None:
    code, result = cli.json(*arguments)
    assert code == 2
    assert set(result) == {"error", "hint"}


def test_a_failed_run_is_exit_code_1_in_a_real_process(tmp_path: Path) -> None:
    (tmp_path / "damaged.onnx").write_bytes(b"damaged")
    done = distill("predict", str(tmp_path / "damaged.onnx"), str(Path(__file__).parent / "none.jpg"))
    assert done.returncode == 2 and "none.jpg" in done.stderr  # the photos are checked first
    (tmp_path / "a.png").write_bytes(encode_map(np.zeros((8, 8), np.uint8)))
    done = distill("predict", str(tmp_path / "damaged.onnx"), str(tmp_path / "a.png"))
    assert done.returncode == 1
    assert "damaged.onnx" in done.stderr and "Traceback" not in done.stderr and done.stdout == ""


def test_control_c_says_how_to_go_on(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    arguments = ("label", "--teacher", "synthetic", "--set", "scenes=5000", "--shard-size", "2", "--out", out)
    process = subprocess.Popen([sys.executable, "-m", "distill", *arguments], stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: list(tmp_path.glob("out/*.tar")) or process.poll() is not None, until="the first shard")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=200)
    finally:
        process.kill()
    assert list(tmp_path.glob("out/*.tar"))
    assert process.returncode == 130
    assert "interrupted" in said and "again to continue" in said and "Traceback" not in said


def test_modules_of_the_working_folder_are_not_imported(tmp_path: Path) -> None:
    for name in ("typer", "torch", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the working folder')")
    plugin = tmp_path / "plugin-1.0.dist-info"
    plugin.mkdir()
    (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (plugin / "entry_points.txt").write_text("[distill.teachers]\nplugin = typer:teacher\n")
    done = subprocess.run(
        [sys.executable, "-m", "distill", "teachers"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "working folder" not in done.stdout + done.stderr
    assert "plugin" not in done.stdout + done.stderr
