"""Folders of a stranger: logs of segments, shards and data sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distill.errors import DistillError, UsageError
from distill.evaluation.datasets import DATASETS
from distill.export.inference.segment_log import SegmentLog
from distill.shards import Manifest, Sample, write_manifest, write_shard
from distill.tasks import Task
from distill.teachers.labeling.container_sources import ShardsSource
from tests.builders.images import saved, smooth_rgb

HEAD = {"format": 3, "fingerprint": "f", "settings": {}}
LINE = {"segment": 0, "stop": 1, "times": [], "files": {}, "end": False, "failure": None, "has_state": False}


@pytest.mark.parametrize(
    "line",
    [
        5, "text", [], None, {"files": 5}, {"files": {"statistics": 5}},
        {"files": {"statistics": [["/etc/passwd", 1]]}},
        {"files": {"statistics": [["a\0b", 1]]}}, {"times": 5}, {"times": [[1]]}, {"failure": 5}, {"segment": "x"},
    ],
)  # fmt: skip
def test_damaged_lines_of_a_log_are_done_again(tmp_path: Path, line: Any) -> None:
    folder = tmp_path / ".c.work"
    folder.mkdir()
    values = {**LINE, **line} if isinstance(line, dict) else line
    if isinstance(line, dict) and line.get("files") == {"statistics": [["/etc/passwd", 1]]}:
        values["files"] = {"statistics": [["/etc/passwd", Path("/etc/passwd").stat().st_size]]}
    (folder / "segments.jsonl").write_text(f"{json.dumps(HEAD)}\n{json.dumps(values)}\n")
    assert SegmentLog(folder, "f").segments == []


def test_a_right_line_of_a_log_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / ".c.work"
    folder.mkdir()
    (folder / "segments.jsonl").write_text(f"{json.dumps(HEAD)}\n{json.dumps(LINE)}\n")
    assert len(SegmentLog(folder, "f").segments) == 1


def test_the_origin_of_a_sample_holds_no_paths(tmp_path: Path) -> None:
    meta = {"name": "a.png", "origin": {"path": "/elsewhere/secret.jpg", "frame": 3, "scene": None, "seed": [1]}}
    photo = saved(Image.fromarray(smooth_rgb()))
    entry = write_shard(tmp_path / "shard-000000.tar", [Sample("a", {"png": photo, "json": json.dumps(meta).encode()})])
    write_manifest(tmp_path, Manifest(tasks=(Task.DEPTH,), shards=(entry,)))
    (found,) = ShardsSource(tmp_path).read(0, 1)
    assert found.origin == {"frame": 3}
    many = entry.model_copy(update={"samples": 90_000_000})
    write_manifest(tmp_path, Manifest(tasks=(Task.DEPTH,), shards=(many,)))
    with pytest.raises(UsageError, match="too few for the 90000000 samples"):
        ShardsSource(tmp_path)


@pytest.mark.parametrize("depth", [np.zeros((2, 3, 4)), np.zeros(0), np.array([["a"]]), np.ones((5, 6, 1))])
def test_arrays_of_a_data_set_are_checked(tmp_path: Path, depth: np.ndarray) -> None:
    folder = tmp_path / "val" / "indoors" / "scene_0" / "scan_0"
    folder.mkdir(parents=True)
    Image.fromarray(smooth_rgb(5, 6)).save(folder / "a.png")
    np.save(folder / "a_depth.npy", depth)
    np.save(folder / "a_depth_mask.npy", np.ones((5, 6)))
    (item,) = DATASETS["diode"].find(tmp_path)
    read = item.readers[Task.DEPTH]
    if depth.shape == (5, 6, 1):
        assert read().value.shape == (5, 6)
        return
    with pytest.raises(DistillError, match=r"a_depth\.npy: does not hold one number per pixel"):
        read()
