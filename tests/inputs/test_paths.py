"""Words of the command line that name photos: odd names, packed files, addresses, braces."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from distill.errors import UsageError
from distill.inputs import expand, walk


@pytest.mark.parametrize("name", ["a.jpg_large", "b.jpeg?w=500", "c", "d.PNG-1", "e.pjpeg", "f.jfi", "g.webp@2x"])
def test_odd_names_of_photos_count_by_their_bytes(tmp_path: Path, name: str) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / name, format="PNG" if "PNG" in name else "JPEG")
    (tmp_path / f"text-{name}").write_text("no photo")
    found = walk(tmp_path)
    assert [file for _, file in found.files] == [name] and found.ignored == [f"text-{name}"]


@pytest.mark.parametrize("name", ["a.jpg.bak", "a.json", "a.jpg.part", "a.tmp", "notes.txt"])
def test_other_files_are_ignored_even_with_the_bytes_of_a_photo(tmp_path: Path, name: str) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / name, format="JPEG")
    assert walk(tmp_path).ignored == [name]


@pytest.mark.parametrize("name", ["photos.tar.gz", "photos.tgz", "photos.7z", "photos.rar"])
def test_packed_photos_are_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(UsageError, match=f"{name}: photos in a .* file cannot be read directly .*unpack it"):
        expand(str(tmp_path / name))


@pytest.mark.parametrize(
    "word", ["https://example.org/a.jpg", "s3://bucket/photos/", "hf://datasets/x", "gs://b/x.tar"]
)
def test_addresses_are_refused(word: str) -> None:
    with pytest.raises(UsageError, match="is an address, and photos are read from this machine only"):
        expand(word)


def test_braces_of_a_pattern(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"0000{number}.tar").touch()
    assert [name for _, name in expand(f"{tmp_path}/0000{{1..2}}.tar").files] == ["00001.tar", "00002.tar"]
    with pytest.raises(UsageError, match="no such file"):
        expand(f"{tmp_path}/{{a")


def test_files_that_braces_name_are_expected(tmp_path: Path) -> None:
    for number in (0, 2):
        (tmp_path / f"p{number}.jpg").touch()
    names = [name for _, name in expand(f"{tmp_path}/p{{0..3}}.jpg").files]
    assert names == ["p0.jpg", "p2.jpg", "p1.jpg", "p3.jpg"], "those that are missing come last, as missing photos"
    assert len(expand(f"{tmp_path}/p{{0,1,2}}*.jpg").files) == 2
