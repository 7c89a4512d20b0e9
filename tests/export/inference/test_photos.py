"""Prediction of photo files: bad ones are listed, large ones are processed in bounded memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distill.errors import UsageError
from distill.export.inference import map_encoding, photos
from distill.export.inference.photos import PredictionSummary, predict_photos
from distill.images import decode_map
from tests.builders.images import gray_profile, saved, smooth_rgb
from tests.fakes.runner import FakeRunner

RGB = smooth_rgb()


def predict(folder: Path, files: dict[str, bytes], **options: Any) -> tuple[PredictionSummary, FakeRunner]:
    """Results of these files and of those that are in the folder already."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    summary, runner = PredictionSummary(), FakeRunner()
    inputs = [(path.stem, path.name, path) for path in sorted(folder.iterdir())]
    predict_photos(runner, inputs, folder.parent / "out", summary, lambda: None, **options)
    return summary, runner


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "in"
    path.mkdir()
    return path


def test_bad_photos_are_listed_and_the_others_go_on(folder: Path) -> None:
    os.mkfifo(folder / "fifo.jpg")
    (folder / "endless.jpg").symlink_to("/dev/zero")
    (folder / "gone.jpg").symlink_to("/nowhere")
    with (folder / "hole.jpg").open("wb") as file:
        file.truncate(20_000_000_000)
    whole = saved(Image.fromarray(RGB))
    summary, _ = predict(folder, {"a.png": whole, "cut.png": whole[:200], "empty.png": b"", "z.png": whole})
    assert [row["name"] for row in summary.rows] == ["a.png", "z.png"]
    assert {entry["name"]: entry["reason"] for entry in summary.failed} == {
        "fifo.jpg": "not a regular file",
        "endless.jpg": "not a regular file",
        "gone.jpg": "No such file or directory",
        "hole.jpg": "20000 MB is over the limit of 537 MB",
        "cut.png": "the image cannot be decoded: image file is truncated",
        "empty.png": "the file is empty",
    }


def test_a_large_photo_is_shrunk_and_its_maps_are_enlarged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "_MAX_PX", 24 * 32)
    monkeypatch.setattr(photos, "_ALONE_PX", 24 * 32 - 1)
    files = {f"{name}.png": saved(Image.fromarray(RGB)) for name in "ab"} | {"s.png": saved(Image.fromarray(RGB[:9]))}
    summary, runner = predict(folder, files, confidence=True)
    assert runner.batches == [1, 1, 1]
    for row in summary.rows[:2]:
        assert row["size_hw"] == [48, 64] and "predicted at 32x24 px" in row["notes"][0]
        for name in ("depth", "normals", "semantic", "depth.confidence"):
            values = decode_map((folder.parent / "out" / row["files"][f"{name}.png"]).read_bytes(), name)
            assert values.shape[:2] == (48, 64)
            assert (values[::2, ::2] == values[1::2, 1::2]).all()  # no mixed values
        with Image.open(folder.parent / "out" / row["files"]["overlay.jpg"]) as overlay:
            assert overlay.width * overlay.height < 1920 * 1080 * 1.2
    assert "notes" not in summary.rows[2] and summary.rows[2]["size_hw"] == [9, 64]


def test_large_and_small_photos_keep_their_order(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "_ALONE_PX", 1000)
    sizes = [10, 48, 10, 10, 48, 48, 10]
    files = {f"{index}.png": saved(Image.fromarray(RGB[:height])) for index, height in enumerate(sizes)}
    summary, runner = predict(folder, files)
    assert [(row["name"], row["size_hw"][0]) for row in summary.rows] == [
        (f"{index}.png", height) for index, height in enumerate(sizes)
    ]
    assert sum(runner.batches) == len(sizes) and runner.batches.count(2) == 1


def test_remarks_on_a_photo_are_in_its_row(folder: Path) -> None:
    data = saved(Image.fromarray(RGB), icc_profile=gray_profile(1.0))
    summary, _ = predict(folder, {"a.png": data})
    assert summary.rows[0]["notes"] == ["the color profile is for another kind of image and was ignored"]


def test_a_lack_of_memory_costs_one_photo(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode, calls = map_encoding.encode_outputs, []

    def sometimes_full(*arguments: Any, **options: Any) -> dict[str, bytes]:
        calls.append(1)
        if len(calls) == 1:
            raise MemoryError
        return encode(*arguments, **options)

    monkeypatch.setattr(photos, "encode_outputs", sometimes_full)
    summary, _ = predict(folder, {f"{name}.png": saved(Image.fromarray(RGB)) for name in "ab"})
    assert [row["name"] for row in summary.rows] == ["b.png"]
    assert summary.failed == [
        {"name": "a.png", "reason": "there is not enough memory for it", "hint": "shrink it, or free memory"}
    ]


def test_a_limit_that_is_not_a_number_is_one_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_MAX_PIXELS", "abc")
    with pytest.raises(UsageError, match="DISTILL_MAX_PIXELS"):
        predict(folder, {"a.png": saved(Image.fromarray(RGB))})


def test_the_engine_sees_converted_colors(folder: Path) -> None:
    gray = Image.fromarray(np.full((16, 16), 55, np.uint8))
    linear = saved(gray, icc_profile=gray_profile(1.0))  # 55 in linear light is 128 in sRGB
    predict(folder, {"a.png": linear, "b.png": saved(Image.new("L", (16, 16), 128))})
    first, second = (
        decode_map((folder.parent / f"out/{name}.depth.png").read_bytes(), name).astype(int) for name in "ab"
    )
    assert np.abs(first - second).max() < 300
