"""Results of earlier runs and folders of storage systems are not taken for photos; photos next to them are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from distill.inputs import expand, find_inputs, walk
from distill.teachers.labeling.photo_sources import open_source


def save(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16)).save(path, format="JPEG")
    return path


def write(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def names(folder: Path) -> list[str]:
    return [name for _, name in walk(folder).files]


PREVIEW = "00000.1.a.depth_confidence.jpg"


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("dataset.json", {"format": 4, "tasks": ["depth"], "shards": []}),
        ("label.json", {"labeled": 1, "answers": 1, "shards": 1}),
        ("label.provenance.json", {"distill": "1", "verb": "label"}),
    ],
)
def test_previews_of_a_finished_and_of_an_interrupted_job(tmp_path: Path, file: str, values: Any) -> None:
    save(tmp_path / "a.jpg")
    write(tmp_path / "out" / file, values)
    save(tmp_path / "out" / "previews" / "anything.jpg")
    found = walk(tmp_path)
    assert [name for _, name in found.files] == ["a.jpg"] and found.left_out == ["out/previews/"]


def test_previews_without_the_files_of_their_job_are_recognized_by_name(tmp_path: Path) -> None:
    save(tmp_path / "previews" / PREVIEW)
    save(tmp_path / "previews" / "holiday.jpg")
    assert names(tmp_path) == ["previews/holiday.jpg"]


@pytest.mark.parametrize(
    "values",
    [
        {"count": 3, "ids": ["a"]},  # the dataset.json of other programs
        {"images": [], "annotations": []},
        ["a.jpg"],
        "text",
    ],
)
def test_photos_next_to_files_of_the_same_name_of_other_programs_are_kept(tmp_path: Path, values: Any) -> None:
    for file in ("dataset.json", "label.json", "predictions.json", "train.json"):
        write(tmp_path / file, values)
    for folder in ("previews", "samples", "photos"):
        save(tmp_path / folder / "a.jpg")
    save(tmp_path / "b.jpg")
    assert names(tmp_path) == ["b.jpg", "photos/a.jpg", "previews/a.jpg", "samples/a.jpg"]
    assert len(open_source([str(tmp_path)])) == 4


def test_photos_below_the_output_of_a_job_are_kept(tmp_path: Path) -> None:
    write(tmp_path / "project" / "dataset.json", {"format": 4, "tasks": ["depth"], "shards": []})
    save(tmp_path / "project" / "photos" / "a.jpg")
    save(tmp_path / "project" / "previews" / PREVIEW)
    assert names(tmp_path) == ["project/photos/a.jpg"]


def test_predictions_are_left_out_and_the_photos_of_their_folder_are_kept(tmp_path: Path) -> None:
    rows = [{"name": "a.jpg", "files": {"depth.png": "a.depth.png", "overlay.jpg": "a.overlay.jpg"}}]
    write(tmp_path / "predictions.json", {"maps": {}, "results": rows})
    for name in ("a.jpg", "a.depth.png", "a.overlay.jpg", "b.depth.png"):
        save(tmp_path / name)
    assert names(tmp_path) == ["a.jpg", "b.depth.png"]


def test_predictions_of_an_interrupted_run(tmp_path: Path) -> None:
    for name in ("a.overlay.jpg", "a.depth.png", "a.depth.confidence.png", "c.overlay.jpg", "d.jpg"):
        save(tmp_path / name)
    assert names(tmp_path) == ["c.overlay.jpg", "d.jpg"], "an overlay without a map may be a photo"


def test_sample_images_of_training_and_stored_answers(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg")
    write(tmp_path / "run" / "train.provenance.json", {"distill": "1", "verb": "train"})
    save(tmp_path / "run" / "samples" / "step-0000010.png")
    (tmp_path / "answers").mkdir()
    (tmp_path / "answers" / "ledger.sqlite").touch()
    save(tmp_path / "answers" / "ab" / f"{'ab' * 32}.png")
    assert names(tmp_path) == ["a.jpg"]


@pytest.mark.parametrize(
    "folder",
    [
        "@eaDir",
        "#recycle",
        "$RECYCLE.BIN",
        "System Volume Information",
        ".Trash-1000",
        "__MACOSX",
        "@Recycle",
        ".thumbnails",
    ],
)
def test_folders_of_storage_systems(tmp_path: Path, folder: str) -> None:
    save(tmp_path / "a.jpg")
    save(tmp_path / "sub" / folder / "a.jpg" / "SYNOPHOTO_THUMB_XL.jpg")
    save(tmp_path / "sub" / "._b.jpg")
    (tmp_path / "Thumbs.db").touch()
    found = walk(tmp_path)
    assert [name for _, name in found.files] == ["a.jpg"]
    assert found.left_out == [f"sub/{folder}/", "sub/._b.jpg"] and found.ignored == ["Thumbs.db"]


def test_a_glob_matches_no_results(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg")
    write(tmp_path / "out" / "label.provenance.json", {"distill": "1", "verb": "label"})
    save(tmp_path / "out" / "previews" / PREVIEW)
    found = expand(f"{tmp_path}/**/*.jpg")
    assert [name for _, name in found.files] == ["a.jpg"] and len(found.left_out) == 1
    assert [file.name for file in find_inputs([str(tmp_path)]).files] == ["a.jpg"]


def test_a_folder_named_by_the_user_is_read_whatever_its_name(tmp_path: Path) -> None:
    save(tmp_path / "#recycle" / "a.jpg")
    assert names(tmp_path / "#recycle") == ["a.jpg"]
