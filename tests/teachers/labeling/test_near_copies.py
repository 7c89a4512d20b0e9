"""Near-duplicates are left out before they are labeled."""

from __future__ import annotations

import json
import shutil
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import distill
from distill.runtime.progress import SilentReporter
from distill.shards import read_shard
from distill.workflows.label.estimate import plan_label
from distill.workflows.label.options import LabelOptions


def photo(path: Path, seed: int, quality: int = 95, scale: float = 1.0) -> None:
    cells = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    rgb = cv2.resize(cells, (int(160 * scale), int(120 * scale)), interpolation=cv2.INTER_CUBIC)
    Image.fromarray(rgb).save(path, quality=quality)


def photos(folder: Path) -> Path:
    folder.mkdir()
    photo(folder / "a.jpg", 1)
    photo(folder / "b.jpg", 2)
    photo(folder / "c-smaller.jpg", 1, scale=0.5)
    photo(folder / "d-worse.jpg", 2, quality=30)
    shutil.copy(folder / "a.jpg", folder / "e.jpg")
    Image.new("RGB", (64, 48)).save(folder / "black1.png")
    Image.new("RGB", (64, 48)).save(folder / "black2.png")
    (folder / "f.jpg").write_bytes(b"\xff\xd8\xff damaged")
    return folder


def depth_of(rgb: np.ndarray) -> dict[str, np.ndarray]:
    return {"depth": np.linspace(1, 5, rgb.shape[0] * rgb.shape[1]).reshape(rgb.shape[:2])}


class Notes(SilentReporter):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def info(self, text: str) -> None:
        self.texts.append(text)


def label(folder: Path | str, out: Path, reporter: Notes | None = None, **options: object) -> distill.LabelResult:
    values = {"kind": "callable", "function": f"{__name__}:depth_of", "outputs": [{"task": "depth"}]}
    return distill.label(folder, teacher=values, out=out, workers=1, check=False, reporter=reporter, **options)


def test_of_photos_that_look_alike_the_first_is_labeled(tmp_path: Path) -> None:
    notes = Notes()
    folder = photos(tmp_path / "photos")
    result = label(folder, tmp_path / "out", notes, dedupe=True)
    assert result.near_duplicates == ("c-smaller.jpg", "d-worse.jpg", "e.jpg")
    assert result.photos == 5 and result.labels["depth"] == 4 and len(result.failed) == 1
    assert any("leaving out 3 near-duplicates: " in text and "e.jpg (like a.jpg)" in text for text in notes.texts)


def test_photos_of_the_set_stay_when_it_grows(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos")
    before = label(folder, tmp_path / "out", dedupe=True)
    photo(folder / "0.jpg", 1)  # sorts before a.jpg, which has a label
    photo(folder / "g.jpg", 7)
    after = label(folder, tmp_path / "out", dedupe=True)
    assert "0.jpg" in after.near_duplicates and after.labeled == before.labeled + 1
    whole = label(folder, tmp_path / "out")
    assert whole.near_duplicates == () and whole.labeled == 9


def test_the_limit_counts_photos_that_differ(tmp_path: Path) -> None:
    result = label(photos(tmp_path / "photos"), tmp_path / "out", dedupe=True, limit=4)
    assert result.photos == 4


def test_a_plan_counts_without_copies(tmp_path: Path) -> None:
    values = {"kind": "callable", "function": f"{__name__}:depth_of", "outputs": [{"task": "depth"}]}
    options = LabelOptions(values, [str(photos(tmp_path / "photos"))], tmp_path / "out", check=False)
    plain, deduped = (plan_label(replace(options, dedupe=dedupe).job()) for dedupe in (False, True))
    assert (plain.values["photos"], deduped.values["photos"]) == (8, 5)


def packed(folder: Path, place: Path) -> dict[str, Path | str]:
    """The same photos in every form that is read."""
    files = sorted(folder.iterdir())
    place.mkdir()
    for number, half in enumerate((files[:2], files[2:])):
        with tarfile.open(place / f"{number:04d}.tar", "w") as tar:
            for file in half:
                tar.add(file, file.name)
    with tarfile.open(place / "all.tar", "w") as tar, zipfile.ZipFile(place / "all.zip", "w") as archive:
        for file in files:
            tar.add(file, file.name)
            archive.write(file, file.name)
    (place / "list.csv").write_text("photo;note\n" + "".join(f"../photos/{file.name};x\n" for file in files))
    images = [{"id": number, "file_name": file.name} for number, file in enumerate(files)]
    (place / "instances_photos.json").write_text(json.dumps({"images": images}))
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pa.table({"image": [{"bytes": file.read_bytes(), "path": file.name} for file in files]})
    pq.write_table(table, place / "train.parquet", row_group_size=2)
    with pa.ipc.new_stream(place / "data.arrow", table.schema) as stream:
        stream.write_table(table)
    names = ("all.tar", "all.zip", "list.csv", "instances_photos.json", "train.parquet", "data.arrow")
    return {name: place / name for name in names} | {"braces": f"{place}/{{0000..0001}}.tar"}


def test_every_form_of_input_gives_the_same_labels(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(5):
        photo(folder / f"{number}.jpg", number)
    (folder / "last.png").write_bytes(cv2.imencode(".png", np.full((30, 40, 3), 90, np.uint8))[1].tobytes())

    def maps(source: Path | str, out: Path) -> list[tuple[bytes, ...]]:
        result = label(source, out)
        assert result.labeled == 6 and not result.failed
        samples = [sample for path in sorted(out.glob("shard-*.tar")) for sample in read_shard(path)]
        return [tuple(s.files[name] for name in ("jpg", "depth.png", "depth.confidence.png")) for s in samples]

    expected = maps(folder, tmp_path / "expected")
    for name, source in packed(folder, tmp_path / "packed").items():
        assert maps(source, tmp_path / f"out-{name}") == expected, name
