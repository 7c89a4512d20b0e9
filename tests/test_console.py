"""Progress in a pipe: a line now and then, and how it ended."""

from __future__ import annotations

import pytest

from distill import console
from distill.console import Console


@pytest.mark.parametrize(("every_s", "lines"), [(1e9, ["photos: 3/3"]), (-1.0, [f"photos: {n}/3" for n in (1, 2, 3)])])
def test_the_end_is_said_once(
    every_s: float, lines: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "_LINE_INTERVAL_S", every_s)
    assert list(Console().track("abc", "photos", 3)) == list("abc")
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()] == lines
