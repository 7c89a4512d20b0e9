"""The whole road, as short as it can be: what the demo says and leaves behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from distill.video import VideoReader


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_demo_goes_from_painted_answers_to_an_overlay_video(tmp_path: Path):
    arguments = ("--scenes", "64", "--held-out", "4", "--minutes", "0.05", "--frames", "6", "--json")
    done = subprocess.run(
        [sys.executable, "-m", "distill", "demo", "--out", str(tmp_path / "demo"), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["parity"]["passed"]
    assert result["labels"]["labeled"] == 64
    assert set(result["scores"]["tasks"]) == {"depth", "normals", "semantic"}
    with VideoReader(tmp_path / "demo" / "overlay.mp4") as reader:
        assert reader.count() == 6
    page = (tmp_path / "demo" / "report.html").read_text()
    assert "10,000 frames" in page and "data:image" in page
    assert "http://" not in page.replace("http://www.w3.org", "") and "<script src" not in page
