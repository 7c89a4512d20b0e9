"""`distill.load(...).stream(...)`: every frame with its maps, in order, and a light import."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import distill
from distill.errors import DistillError
from distill.export.inference.stream import FramePrediction
from distill.workflows.predict.model import Model
from tests.builders.videos import write_clip
from tests.fakes.runner import FakeRunner


@pytest.fixture
def model() -> Model:
    return Model(FakeRunner())


def test_frames_come_in_order_with_their_own_maps(model: Model, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", [0, 33, 66, 200, 300, 333, 700])
    seen = list(model.stream(clip, batch=3))
    assert [entry.frame.index for entry in seen] == list(range(7))
    assert [round(1000 * entry.frame.pts_s) for entry in seen] == [0, 33, 66, 200, 300, 333, 700]
    for frame, maps in seen:
        assert np.allclose(maps["depth"], 0.1 + frame.rgb[..., 0] / 10)  # the fake reads depth off the red channel


def test_leaving_the_loop_stops_the_threads(model: Model, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", [40 * n for n in range(60)])
    before = threading.active_count()
    for entry in model.stream(str(clip), batch=2):
        assert isinstance(entry, FramePrediction)
        break
    del entry
    assert threading.active_count() <= before + 1


def test_a_truncated_file_yields_its_frames_then_raises(model: Model, tmp_path: Path) -> None:
    data = write_clip(tmp_path / "clip.mp4", [40 * n for n in range(40)], noise=30).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 2 // 3])
    seen = 0
    with pytest.raises(DistillError, match="cut off"):
        for _ in model.stream(tmp_path / "cut.mp4"):
            seen += 1
    assert 0 < seen < 40


def test_a_smaller_size_and_smoothed_maps(model: Model, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", [40 * n for n in range(6)])
    seen = list(model.stream(clip, size_hw=(24, 32), temporal_smoothing=0.5))
    assert len(seen) == 6 and seen[0].maps["depth"].shape == seen[0].frame.rgb.shape[:2] == (24, 32)


def test_numbered_images_are_a_video(model: Model, tmp_path: Path) -> None:
    from distill.images import encode_map

    for number in (3, 4, 6):
        (tmp_path / f"f{number:04d}.png").write_bytes(encode_map(np.full((20, 30, 3), 10 * number, np.uint8)))
    (tmp_path / "f12.png").write_bytes(b"another name")
    seen = list(model.stream(str(tmp_path / "f%04d.png")))
    assert [int(entry.frame.rgb[0, 0, 0]) for entry in seen] == [30, 40, 60]
    assert [entry.frame.pts_s for entry in seen] == [0.0, 0.04, 0.12]


def test_importing_load_imports_no_heavy_packages() -> None:
    code = "import sys, distill; distill.load; print([m for m in ('torch', 'cv2', 'av', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_file_without_a_student_raises_a_message(tmp_path: Path) -> None:
    with pytest.raises(DistillError, match="no such file"):
        distill.load(tmp_path / "none.onnx")
