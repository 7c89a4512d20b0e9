"""One shard: errors of one photo never end the job, unusable maps are no labels, all samples have the same keys."""

from __future__ import annotations

import json
import sys
import tarfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy import ndarray
from PIL import Image

import distill
from distill.errors import UsageError
from distill.shards import read_manifest, read_samples
from distill.teachers.labeling import label_shard as module


def save(path: Path, level: int) -> None:
    pixels = np.random.default_rng(level).integers(0, 200, (24, 32, 3)).astype(np.uint8)
    pixels[0, 0] = level
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)


def odd(rgb: ndarray) -> dict[str, Any]:
    """A function that fails on some photos, each time in another way."""
    level = int(rgb[0, 0, 0])
    if level == 1:
        raise MemoryError
    if level == 2:
        raise KeyError("depth")
    if level == 3:
        return {"depth": np.full(rgb.shape[:2], np.nan, np.float32)}
    if level == 4:
        return {"depth": "a text"}
    return {"depth": np.full(rgb.shape[:2], 2.0 + level, np.float32)}


@pytest.fixture
def labeled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setitem(sys.modules, "odd_teacher", sys.modules[__name__])
    for level in range(7):
        save(tmp_path / "photos" / f"{level}.{'png' if level % 2 else 'bmp'}", level)
    teacher = {"kind": "callable", "function": "odd_teacher:odd", "outputs": [{"task": "depth"}]}
    result = distill.label(tmp_path / "photos", teacher=teacher, out=tmp_path / "out", workers=1, check=False)
    return result.to_dict()


def test_errors_of_single_photos_are_listed_and_the_others_are_labeled(labeled: dict[str, Any], tmp_path: Path) -> None:
    assert labeled["labeled"] == 3 and labeled["complete"]
    bad = {row["name"] for row in (*labeled["failed"], *labeled["unanswered"])}
    assert bad == {"1.png", "2.bmp", "3.png", "4.bmp"}
    reasons = {row["name"]: row["reason"] for row in labeled["failed"]}
    assert "MemoryError" in reasons["1.png"] and "KeyError" in reasons["2.bmp"]


def test_a_map_without_a_usable_pixel_is_no_label(labeled: dict[str, Any], tmp_path: Path) -> None:
    manifest = read_manifest(tmp_path / "out")
    assert labeled["labels"] == {"depth": 3} == manifest.counts and manifest.samples == 3
    assert json.loads((tmp_path / "out" / "label.json").read_text())["labels"] == {"depth": 3}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "3 of 7 photos labeled with 3 answers" in page
    assert "3" not in {sample.key for sample in read_samples(tmp_path / "out")}


def test_all_samples_have_the_same_files_and_keys(labeled: dict[str, Any], tmp_path: Path) -> None:
    names = defaultdict[str, set[str]](set)
    keys = set()
    with tarfile.open(tmp_path / "out" / "shard-000000.tar") as tar:
        for member in tar:
            key, _, extension = member.name.partition(".")
            names[key].add(extension)
            if extension == "json" and (file := tar.extractfile(member)):
                keys.add(frozenset(json.load(file)))
    assert set(names) == {"0", "5", "6"} and set(map(frozenset, names.values())) == {
        frozenset({"depth.png", "depth.confidence.png", "json", "jpg"})
    }
    assert len(keys) == 1 and {"details", "instances", "referring", "depth_kind", "photo_hash"} <= keys.pop()
    assert [sample.photo_format for sample in read_samples(tmp_path / "out")] == ["bmp", "png", "bmp"]


@pytest.mark.parametrize("card", [True, False])
def test_datasets_opens_photos_of_several_formats(
    labeled: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, card: bool
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    datasets = pytest.importorskip("datasets")
    files = {"train": str(tmp_path / "out" / "shard-*.tar")}
    given: dict[str, Any] = {"path": str(tmp_path / "out")} if card else {"path": "webdataset", "data_files": files}
    rows = list(datasets.load_dataset(**given, split="train", streaming=True))
    assert len(rows) == 3 and all(row["jpg"].size == (32, 24) == row["depth.png"].size for row in rows)
    assert all(row["json"]["instances"] == [] for row in rows)


def test_a_readme_of_someone_else_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "photos" / "5.png", 5)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "README.md").write_text("mine")
    monkeypatch.setitem(sys.modules, "odd_teacher", sys.modules[__name__])
    teacher = {"kind": "callable", "function": "odd_teacher:odd", "outputs": [{"task": "depth"}]}
    for _ in range(2):
        distill.label(
            tmp_path / "photos", teacher=teacher, out=tmp_path / "out", workers=1, check=False, overwrite=True
        )
    assert (tmp_path / "out" / "README.md").read_text() == "mine"


def test_a_preview_that_cannot_be_drawn_costs_no_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(module, "write_preview", broken)
    monkeypatch.setitem(sys.modules, "odd_teacher", sys.modules[__name__])
    save(tmp_path / "photos" / "5.png", 5)
    teacher = {"kind": "callable", "function": "odd_teacher:odd", "outputs": [{"task": "depth"}]}
    result = distill.label(tmp_path / "photos", teacher=teacher, out=tmp_path / "out", workers=1, check=False)
    assert result.labeled == 1


def test_a_job_whose_first_photos_all_fail_alike_stops(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(17):
        Image.fromarray(np.full((12, 16, 3), number, np.uint8)).save(tmp_path / "photos" / f"p{number:02}.png")
        mask = np.zeros((12, 16), np.uint8)
        mask[: 1 + number % 7] = 255
        Image.fromarray(mask).save(tmp_path / f"p{number:02}.png")
    teacher = {"kind": "maps", "semantic": {"pattern": "../{stem}.png", "classes": ["a", "b"]}}
    with pytest.raises(UsageError, match=r"first 16 photos all fail in the same way; p00\.png: .*255"):
        distill.label(tmp_path / "photos", teacher=teacher, out=tmp_path / "out")
    Image.fromarray(np.eye(12, 16, dtype=np.uint8)).save(tmp_path / "p03.png")
    result = distill.label(tmp_path / "photos", teacher=teacher, out=tmp_path / "out")
    assert result.labeled == 1 and len(result.failed) == 16


def test_photos_without_maps_do_not_stop_the_job(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(17):
        Image.fromarray(np.full((12, 16, 3), number, np.uint8)).save(tmp_path / "photos" / f"p{number:02}.png")
    Image.fromarray(np.eye(12, 16, dtype=np.uint8)).save(tmp_path / "p16.png")
    teacher = {"kind": "maps", "semantic": {"pattern": "../{stem}.png", "classes": ["a", "b"]}}
    result = distill.label(tmp_path / "photos", teacher=teacher, out=tmp_path / "out")
    assert result.labeled == 1 and "no such map" in result.failed[0]["reason"]


def brought(folder: Path, maps: list[ndarray], **config: object) -> dict[str, Any]:
    """Result of labeling photos with these maps."""
    (folder / "m").mkdir()
    for number, values in enumerate(maps):
        save(folder / "photos" / f"{number}.png", number)
        np.save(folder / "m" / f"{number}.npy", values)
    task = str(config.pop("task", "semantic"))
    teacher = {"kind": "maps", task: {"pattern": "../m/{stem}.npy", **config}}
    return distill.label(folder / "photos", teacher=teacher, out=folder / "out", workers=1, check=False).to_dict()


IDS = np.arange(24 * 32).reshape(24, 32) % 2


@pytest.mark.parametrize(
    ("maps", "config", "reason"),
    [
        ([0 * IDS, 0 * IDS], {"classes": ["road", "car"]}, "all 2 maps are 'road' everywhere: check the ids"),
        ([0 * IDS, 0 * IDS], {"task": "instance"}, "all 2 maps are empty: check the ids"),
        ([IDS / 50 + 0.1], {"task": "depth"}, "the median of all depths is 0.1"),
        (
            [IDS * 10 + 300.0],
            {"task": "depth", "max_value": 900},
            "the median of all depths is 300 m: check that the unit",
        ),
    ],
)
def test_sets_that_can_hardly_be_meant_are_remarked_on(
    tmp_path: Path, maps: list[ndarray], config: dict[str, object], reason: str
) -> None:
    notes = brought(tmp_path, maps, **config)["notes"]
    assert notes[0]["name"] == "all photos" and notes[0]["reason"].startswith(reason)


def test_the_fraction_of_pixels_with_a_value_is_stated(tmp_path: Path) -> None:
    found = brought(tmp_path, [IDS, np.where(IDS, 255, 0)], classes=["road", "car"], remap={255: "ignore"})
    assert found["valid_fraction"] == {"semantic": 0.75}
    assert not [note for note in found["notes"] if note["name"] == "all photos"]
