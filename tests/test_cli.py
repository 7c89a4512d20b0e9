"""The command line itself: exit codes, errors in one sentence, JSON that is always JSON."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distill import __version__


def distill(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "distill", *arguments], capture_output=True, text=True, check=False)


def test_version_and_help():
    assert distill("--version").stdout.strip() == __version__
    done = distill("--help")
    assert done.returncode == 0 and "label" in done.stdout and "predict" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("lable",), "did you mean label?"),
        (("label", "--nope"), "No such option"),
        (("train", "--shards", "nowhere"), "nowhere"),
        (("evaluate",), "Missing argument"),
        (("export", "nowhere"), "nowhere"),
        (("bench", "nowhere.onnx"), "nowhere.onnx"),
        (("predict", "nowhere.onnx", "nothing.jpg"), "no"),
        (("bench", "any.onnx", "--compare", "pyproject.toml"), "pyproject.toml: no engine reads .toml"),
        (("label", "--teacher", "synthetic", "--out", __file__), "cannot be used as a folder"),
        (("predict", "any.onnx", "any.jpg", "--rate", "nan"), "--rate nan: not a positive number"),
        (("predict", "any.onnx", "any.jpg", "--latency", "-1"), "--latency -1: not a positive number"),
    ],
)
def test_wrong_use_is_a_sentence_on_standard_error(arguments: tuple[str, ...], words: str):
    done = distill(*arguments)
    assert done.returncode in (1, 2)
    assert words in done.stderr and "error: " in done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""


@pytest.mark.parametrize("arguments", [("label", "--teacher", "sage"), ("export", "nowhere"), ("lable",)])
def test_failures_are_json_where_json_was_asked_for(arguments: tuple[str, ...]):
    done = distill(*arguments, "--json")
    assert done.returncode == 2
    assert set(json.loads(done.stdout)) == {"error", "hint"}


def test_control_c_says_how_to_go_on(tmp_path: Path):
    out = str(tmp_path / "out")
    arguments = ("label", "--teacher", "synthetic", "--set", "scenes=5000", "--shard-size", "2", "--out", out)
    process = subprocess.Popen([sys.executable, "-m", "distill", *arguments], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 40
    while not list(tmp_path.glob("out/*.tar")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    try:
        assert list(tmp_path.glob("out/*.tar"))
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "interrupted" in said and "again to go on" in said and "Traceback" not in said
