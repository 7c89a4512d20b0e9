"""The command line itself: exit codes, errors in one sentence, JSON that is always JSON."""

from __future__ import annotations

import json
import subprocess
import sys

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
