"""The demo: every step, from generated images to an overlay video, as short as it can be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill.video import VideoReader
from distill.workflows.demo import DemoOptions, run_demo


@pytest.mark.slow
def test_the_demo_goes_from_generated_images_to_an_overlay_video(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    run_demo(DemoOptions(out, scenes=40, held_out=4, minutes=0.03, frames=6, seed=0))
    result = json.loads((out / "demo.json").read_text())
    assert result["parity"]["passed"]
    assert result["labels"]["labeled"] == 40
    assert set(result["scores"]["tasks"]) == {"depth", "normals", "semantic"}
    with VideoReader(out / "overlay.mp4") as reader:
        assert reader.count() == 6
    page = (out / "report.html").read_text()
    assert "10,000 frames" in page and "data:image" in page
    assert "http://" not in page.replace("http://www.w3.org", "") and "<script src" not in page
