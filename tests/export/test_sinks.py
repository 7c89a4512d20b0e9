"""Sinks: results are read back bit for bit, by other programs too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from distill.errors import UsageError
from distill.export.inference.map_encoding import to_stored_maps
from distill.export.inference.stages import PipelineItem, SegmentEnd, StageTimer
from distill.export.sinks import (
    CocoMasksSink,
    Ffv1MapsSink,
    ParquetSink,
    PngMapsSink,
    PointCloudSink,
    Sink,
    StatisticsSink,
    encode_ply,
    unproject,
)
from distill.images import decode_map
from distill.labels.formats import label_format
from distill.labels.run_lengths import decode_rle
from distill.spec import DepthSpec
from distill.tasks import TASKS, DepthKind, Task
from tests.fakes.runner import CLASSES, SPEC, FakeRunner

SIZE_HW = (24, 33)


def items(num_frames: int, per_segment: int) -> Iterator[Any]:
    runner = FakeRunner()
    for index in range(num_frames):
        rgb = np.random.default_rng(index).integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)
        outputs = {name: value[0] for name, value in runner(rgb[None]).items()}
        yield PipelineItem(f"{index:06d}", rgb, 40 * index, 0.04 * index, index), outputs
        if (index + 1) % per_segment == 0 or index + 1 == num_frames:
            yield SegmentEnd(index // per_segment, index + 1, end=index + 1 == num_frames)


def fill(sink: Sink, num_frames: int = 7, per_segment: int = 3) -> list[Path]:
    segments = []
    for item in sink.process(items(num_frames, per_segment), StageTimer()):
        if isinstance(item, SegmentEnd):
            segments.append(item.files[sink.name])
    assert len(segments) == 3 and all(path.is_file() for files in segments for path in files)
    return sink.finish(segments)


def expected(num_frames: int = 7) -> list[dict]:
    return [to_stored_maps(item[1], SPEC) for item in items(num_frames, 99) if not isinstance(item, SegmentEnd)]


@pytest.mark.parametrize("workers", [1, 3])
def test_png_maps_exist_for_every_frame(tmp_path: Path, workers: int) -> None:
    (folder,) = fill(PngMapsSink(tmp_path, tmp_path / "maps", SPEC, confidence=True, workers=workers))
    assert len(list(folder.iterdir())) == 7 * 6
    for index, maps in enumerate(expected()):
        for task, values in maps.items():
            assert np.array_equal(decode_map((folder / f"{index:06d}.{task}.png").read_bytes(), "x"), values)


def test_ffv1_preserves_every_level(tmp_path: Path) -> None:
    clock = {"time_base": Fraction(1, 1000), "rate": Fraction(25)}
    paths = fill(Ffv1MapsSink(tmp_path, tmp_path / "clip", SPEC, **clock))
    assert [path.name for path in paths] == ["clip.depth.mkv", "clip.normals.mkv", "clip.semantic.mkv"]
    kinds = {Task.DEPTH: "gray16le", Task.NORMALS: "rgb24", Task.SEMANTIC: "gray"}
    for task, path in zip(SPEC.dense_tasks, paths, strict=True):
        with av.open(str(path)) as container:
            frames = list(container.decode(video=0))
        assert [round(1000 * frame.time) for frame in frames] == [40 * index for index in range(7)]
        for frame, maps in zip(frames, expected(), strict=True):
            assert np.array_equal(frame.to_ndarray(format=kinds[task]), maps[task])


def test_masks_are_a_coco_file(tmp_path: Path) -> None:
    (path,) = fill(CocoMasksSink(tmp_path, tmp_path / "clip.masks.json", SPEC, workers=2))
    found = json.loads(path.read_text())
    assert [entry["name"] for entry in found["categories"]] == list(CLASSES)
    assert [entry["id"] for entry in found["images"]] == list(range(7))
    assert len({entry["id"] for entry in found["annotations"]}) == len(found["annotations"]) == 7 * 3
    for entry in found["annotations"]:
        mask = decode_rle(entry["segmentation"])
        assert np.array_equal(mask, expected()[entry["image_id"]][Task.SEMANTIC] == entry["category_id"])
        rows, columns = np.nonzero(mask)
        left, top, width, height = entry["bbox"]
        assert entry["area"] == mask.sum()
        assert (left, top) == (columns.min(), rows.min())
        assert (left + width - 1, top + height - 1) == (columns.max(), rows.max())


def test_statistics_are_a_line_per_frame(tmp_path: Path) -> None:
    (path,) = fill(StatisticsSink(tmp_path, tmp_path / "clip.statistics.jsonl", SPEC))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["frame"] for row in rows] == list(range(7))
    assert abs(sum(rows[0][f"share_{name}"] for name in CLASSES) - 1) < 1e-4
    assert rows[3]["depth_p05"] < rows[3]["depth_p50"] < rows[3]["depth_p95"]


def test_parquet_equals_the_lines(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow: pip install distill[parquet]")
    (lines,) = fill(StatisticsSink(tmp_path, tmp_path / "clip.statistics.jsonl", SPEC))
    (table,) = fill(ParquetSink(tmp_path, tmp_path / "clip.statistics.parquet", SPEC))
    assert parquet.read_table(table).to_pylist() == [json.loads(line) for line in lines.read_text().splitlines()]


def test_a_point_cloud_has_correct_positions(tmp_path: Path) -> None:
    (path,) = fill(PointCloudSink(tmp_path, tmp_path / "clip", SPEC, [4, 99], 90.0))
    head, _, body = path.read_bytes().partition(b"end_header\n")
    fields = [line.split()[1:] for line in head.decode().splitlines() if line.startswith("property")]
    kinds = {"float": "<f4", "uchar": "u1"}
    table = np.frombuffer(body, [(name, kinds[kind]) for kind, name in fields])
    assert f"element vertex {len(table)}" in head.decode() and len(table) == SIZE_HW[0] * SIZE_HW[1]
    picture, outputs = [item for item in items(7, 99) if not isinstance(item, SegmentEnd)][4]
    assert np.allclose(-table["z"], outputs["depth"].reshape(-1))
    assert np.array_equal(table["red"], picture.rgb[..., 0].reshape(-1))
    assert np.allclose(table["nx"], outputs["normals"][..., 0].reshape(-1))


def test_projection_inverts_unprojection() -> None:
    depth = np.random.default_rng(0).uniform(1, 5, (30, 40)).astype(np.float32)
    points = unproject(depth, 60.0)
    focal = 20 / np.tan(np.radians(30))
    assert np.allclose(20 + focal * points[..., 0] / -points[..., 2] - 0.5, np.arange(40)[None], atol=1e-3)
    assert np.allclose(15 - focal * points[..., 1] / -points[..., 2] - 0.5, np.arange(30)[:, None], atol=1e-3)
    assert (points[0, 0] * (-1, 1, -1) > 0).all()  # top left: x left of, y above the axis, z away from the viewer


def test_sky_is_not_in_the_point_cloud() -> None:
    depth = np.array([[1.0, np.inf, 95.0, np.nan]], np.float32)
    data = encode_ply(unproject(depth, 60.0), np.zeros((1, 4, 3), np.uint8))
    assert b"element vertex 1\n" in data


def test_points_need_meters(tmp_path: Path) -> None:
    relative = SPEC.model_copy(update={"depth": DepthSpec(depth_kind=DepthKind.AFFINE_INVARIANT_DEPTH, unit="none")})
    with pytest.raises(UsageError, match="no depth in meters"):
        PointCloudSink(tmp_path, tmp_path / "x", relative, [0], 60.0)
    with pytest.raises(UsageError, match="between 0 and 180"):
        PointCloudSink(tmp_path, tmp_path / "x", SPEC, [0], 180.0)


@settings(max_examples=50)
@given(hnp.arrays(np.float32, (3, 7), elements=st.floats(0, 2000, width=32) | st.sampled_from([np.nan, np.inf, -1.0])))
def test_fast_encoding_equals_the_label_format(depth: np.ndarray) -> None:
    outputs = {"depth": depth}
    spec = SPEC.model_copy(update={"normals": None, "semantic": None})
    quick = to_stored_maps(outputs, spec)[Task.DEPTH].astype(int)
    slow = (
        label_format(Task.DEPTH)
        .encode_value(depth, np.isfinite(depth) & (depth > -1), TASKS[Task.DEPTH], DepthKind.METRIC)
        .astype(int)
    )
    assert np.abs(quick - slow).max() <= 1 and ((quick == 0) == (slow == 0)).all()
