"""`distill evaluate --temporal`: students over videos and over shards of frames."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.console import Console
from distill.errors import DistillError
from distill.workflows.evaluate.temporal import evaluate_temporal
from tests.builders.videos import write_clip


def test_flicker_of_a_student_over_a_clip(onnx_file: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", [40 * n for n in range(8)], size_hw=(96, 128), noise=60)
    values, section = evaluate_temporal([onnx_file], [clip], Console())
    assert [row["smoothing"] for row in values] == [0.0, 0.5] and {row["frames"] for row in values} == {8}
    assert values[1]["depth_change_percent"] < values[0]["depth_change_percent"]
    assert section.title == "Temporal consistency" and len(section.blocks[1].rows) == 2


def test_labels_cannot_flicker(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text("{}")
    with pytest.raises(DistillError, match="none of the predictors is a student"):
        evaluate_temporal([tmp_path], [tmp_path / "clip.mp4"], Console())
