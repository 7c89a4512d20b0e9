"""Terminal output: progress in a pipe, text of others, output that cannot be written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from distill import console
from distill.console import Console, run_cli
from distill.escaping import for_html, for_markdown


@pytest.mark.parametrize(("every_s", "lines"), [(1e9, ["photos: 3/3"]), (-1.0, [f"photos: {n}/3" for n in (1, 2, 3)])])
def test_the_end_is_said_once(
    every_s: float, lines: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "_LINE_INTERVAL_S", every_s)
    assert list(Console().track("abc", "photos", 3)) == list("abc")
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()] == lines


@pytest.mark.parametrize(
    "text", ["\x1b[31mred", "\x1b]0;title\x07", "a\rb", "\u202eabc\u202c", "\u2066x\u2069", "a\x00b", "\x9b2J"]
)
def test_control_characters_of_names_are_visible_codes(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    Console().warn(f"{text}: cannot be read")
    printed = capsys.readouterr().err
    assert not any(ord(letter) < 32 and letter != "\n" for letter in printed)
    assert "\\" in printed
    assert printed.count("\n") == 1 and "\u202e" not in printed and "\x9b" not in printed


def test_text_of_others_stays_text_in_markdown_and_html() -> None:
    hostile = "<script>x</script> [a](http://x) ![b](c) | \x1b[1m \u202e"
    assert "<script" not in for_markdown(hostile) and "](" not in for_markdown(hostile)
    assert "<" not in for_html(hostile) and "\x1b" not in for_html(hostile)
    assert for_markdown("error < 0.05 for [1, 2]") == "error < 0.05 for [1, 2]"


@pytest.mark.parametrize(
    ("redirect", "code", "message"),
    [(">&-", 0, ""), ("2>&-", 0, ""), (">/dev/full", 1, "standard output"), ("2>/dev/full", 0, ""), ("| true", 0, "")],
)
def test_output_that_cannot_be_written_is_no_traceback(redirect: str, code: int, message: str) -> None:
    command = f"{sys.executable} -m distill teachers {redirect}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == code and message in done.stderr
    assert "Traceback" not in done.stderr and "unexpected" not in done.stderr and "Exception ignored" not in done.stderr


def test_a_terminal_without_unicode(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "distill", "license", str(tmp_path / "stra\u00dfe \u2713")],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"},
    )
    assert done.returncode == 2 and b"no such file" in done.stderr and b"unexpected" not in done.stderr


CLOSED = """
import os, sys
from distill.console import Console, run_cli
def app(standalone_mode):
    with Console().progress("photos", 1) as progress:
        progress.advance()
    Console().info("done")
    assert os.open("file", os.O_CREAT | os.O_WRONLY) > 2
    os.write(2, b"a message of a library")
sys.exit(run_cli(app))
"""


@pytest.mark.parametrize("streams", ["2>&-", "1>&- 2>&-", "0<&- 1>&- 2>&-"])
def test_closed_streams_are_no_file_of_a_result(streams: str, tmp_path: Path) -> None:
    code = subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {streams}', sys.executable, CLOSED], cwd=tmp_path, check=False
    ).returncode
    assert code == 0 and (tmp_path / "file").read_bytes() == b""


def test_telemetry_is_off_before_a_verb_imports_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    seen: list[str | None] = []
    assert console.run_cli(lambda standalone_mode: seen.append(os.environ.get("ORT_DISABLE_TELEMETRY"))) == 0
    assert seen == ["1"]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 9 GiB"),
        ImportError("x.so: failed to map segment from shared object"),
    ],
)
def test_too_little_memory_is_one_sentence(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def app(standalone_mode: bool) -> int:
        raise error

    assert run_cli(app) == 1
    said = capsys.readouterr().err
    assert "error: the memory that this process may use is too small\n  raise the limit" in said
    assert "unexpected" not in said
