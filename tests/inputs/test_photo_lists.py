"""Lists of photos as spreadsheets and scripts write them."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from distill.errors import UsageError
from distill.inputs import expand
from distill.inputs.photo_lists import read_list


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "photos" / name for name in ("a.jpg", "b, c.jpg", unicodedata.normalize("NFD", "Küche.jpg"))]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return paths


NAMES = ["photos/a.jpg", "photos/b, c.jpg", "photos/Küche.jpg"]


@pytest.mark.parametrize(
    ("file", "text", "encoding"),
    [
        ("list.txt", "\n".join(NAMES), "utf-8"),
        ("list.txt", "# photos\r\n\r\n" + "\r\n".join(NAMES) + "\r\n", "utf-8-sig"),
        ("list.lst", "\n".join(name.replace("/", "\\") for name in NAMES), "utf-16"),
        ("list.csv", "id;image;note\n" + "".join(f"1;{name};x\n" for name in NAMES), "cp1252"),
        ("list.csv", "".join(f'"{name}",1\n' for name in NAMES), "utf-8"),
        ("list.tsv", "path\tn\n" + "".join(f"{name}\t1\n" for name in NAMES), "utf-8"),
    ],
)
def test_dialects(photos: list[Path], tmp_path: Path, file: str, text: str, encoding: str) -> None:
    path = tmp_path / file
    path.write_bytes(text.encode(encoding))
    for word in (str(path), f"@{path}"):
        assert [file for file, _ in expand(word).files] == photos
    assert [unicodedata.normalize("NFC", name) for _, name in read_list(path)] == NAMES


def test_absolute_paths_are_named_without_the_part_that_all_share(photos: list[Path], tmp_path: Path) -> None:
    elsewhere = tmp_path / "lists" / "list.txt"
    elsewhere.parent.mkdir()
    elsewhere.write_text("\n".join(map(str, photos)))
    assert [name for _, name in read_list(elsewhere)][:2] == ["a.jpg", "b, c.jpg"]


def test_missing_photos_stay_and_repeated_lines_count_once(photos: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("photos/a.jpg\nphotos/a.jpg\nphotos/lost.jpg\n")
    assert [file.name for file, _ in read_list(path)] == ["a.jpg", "lost.jpg"]


@pytest.mark.parametrize("text", ["", "notes about nothing\n", "lost.jpg\nhttps://example.org/a.jpg\n"])
def test_a_text_that_names_no_photo_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "readme.txt"
    path.write_text(text)
    with pytest.raises(UsageError, match="names no photo that exists"):
        read_list(path)


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xff\xd8\x00\x81\x00")
    with pytest.raises(UsageError, match="not a text file"):
        read_list(path)


@pytest.mark.parametrize("place", ["val2017", "images/val2017", "images", "", "annotations"])
def test_photos_of_coco_annotations(tmp_path: Path, place: str) -> None:
    photo = tmp_path / place / "000000000139.jpg"
    photo.parent.mkdir(parents=True, exist_ok=True)
    photo.touch()
    path = tmp_path / "annotations" / "instances_val2017.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"images": [{"file_name": "000000000139.jpg"}, {"file_name": "lost.jpg"}], "annotations": []}')
    found = read_list(path)
    assert found[0][0].samefile(photo) and not found[1][0].exists()


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"images": []}', '{"images": [{"id": 1}]}', '{"images": [3]}', "[" * 5000]
)
def test_json_that_lists_no_photos(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"a\.json: (has no images|not JSON)"):
        read_list(path)
