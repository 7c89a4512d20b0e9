"""Photo sources: folders, globs, links, unreadable folders."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from distill.errors import UsageError
from distill.images import Photo
from distill.inputs import UnreadablePhoto, unique_keys
from distill.teachers.labeling.photo_sources import open_source


@given(st.lists(st.text(alphabet="aAbB._-/é ", min_size=1, max_size=12), max_size=20))
def test_keys_are_unique_ignoring_case_and_have_no_dots(stems: list[str]) -> None:
    keys = unique_keys([f"{stem}.jpg" for stem in stems])
    assert len({key.casefold() for key in keys}) == len(stems)
    assert all(key and "." not in key and "/" not in key for key in keys)


def test_keys_do_not_depend_on_the_order() -> None:
    names = ["street/0001.jpg", "b.jpg", "b.png"]
    keys = unique_keys(names)
    assert keys[0] == "street_0001"
    assert keys[1] != keys[2]
    assert sorted(keys) == sorted(unique_keys(names[::-1]))


def save(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(path)
    return path


def names(inputs: list[str]) -> list[str]:
    source = open_source(inputs)
    return [photo.name for photo in source.read(0, len(source)) if isinstance(photo, Photo)]


def test_folders_are_sorted_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b.jpg", "a/z.png", "a/.hidden.png", ".git/c.png"):
        save(tmp_path / name)
    assert names([str(tmp_path)]) == ["a/z.png", "b.jpg"]


def test_globs_and_files_together_count_once(tmp_path: Path) -> None:
    one, two = save(tmp_path / "1.jpg"), save(tmp_path / "2.jpg")
    (tmp_path / "3.txt").write_text("no photo")
    assert names([str(one), str(tmp_path / "*.jpg")]) == ["1.jpg", "2.jpg"]
    assert names([str(tmp_path / "*"), str(two)]) == ["1.jpg", "2.jpg"]


def test_range_reads_its_photos_and_names_their_files(tmp_path: Path) -> None:
    for index in range(5):
        save(tmp_path / f"{index}.jpg")
    source = open_source([str(tmp_path)])
    assert [photo.name for photo in source.read(2, 4)] == ["2.jpg", "3.jpg"]
    assert source.photo(2).name == "2.jpg" and source.dependencies(2).files == (tmp_path / "2.jpg",)


def test_chained_sources_find_the_place_of_a_photo(tmp_path: Path) -> None:
    save(tmp_path / "photos" / "a.jpg")
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        tar.add(save(tmp_path / "c.jpg"), "c.jpg")
    source = open_source([str(tmp_path / "photos"), str(tmp_path / "b.tar")])
    assert [source.photo(position).name for position in range(2)] == ["a.jpg", "b/c.jpg"]
    assert [item.name for item in source.read(0, 2)] == ["a.jpg", "b/c.jpg"]
    assert [item.name for item in source.read(1, 2)] == ["b/c.jpg"]
    assert source.dependencies(0).files and not source.dependencies(1).files


@pytest.mark.parametrize("inputs", [["nowhere"], ["*.nothing"]])
def test_missing_path_is_an_error(inputs: list[str]) -> None:
    with pytest.raises(UsageError, match="no such file"):
        open_source(inputs)


def test_folder_without_photos_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no photo")
    with pytest.raises(UsageError, match="no photos"):
        open_source([str(tmp_path)])


def test_linked_folders_are_read_once_and_loops_end(tmp_path: Path) -> None:
    save(tmp_path / "photos" / "a.jpg")
    save(tmp_path / "elsewhere" / "b.jpg")
    (tmp_path / "photos" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "photos")
    assert names([str(tmp_path / "photos")]) == ["a.jpg", "again/b.jpg"]


def test_unreadable_folder_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a.jpg")
    save(tmp_path / "closed" / "b.jpg")
    scan = os.scandir

    def scandir(path: str) -> Any:
        if Path(path).name == "closed":  # as for anyone but root
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    source = open_source([str(tmp_path)])
    found = list(source.read(0, len(source)))
    assert [type(item) for item in found] == [Photo, UnreadablePhoto] and len(source) == 2
    assert (found[1].name, found[1].reason) == ("closed", "cannot be read: Permission denied")
    assert [item.name for item in source.read(0, 1)] == ["a.jpg"]
    assert [item.name for item in source.read(1, 2)] == ["closed"]
    assert (source.photo(1).name, source.dependencies(1).text) == ("closed", "cannot be read: Permission denied")
