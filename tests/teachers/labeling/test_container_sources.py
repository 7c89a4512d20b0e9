"""Photos in tars and zips, read without unpacking."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

from distill.errors import UsageError
from distill.images import Photo
from distill.inputs import UnreadablePhoto
from distill.teachers.labeling.photo_sources import open_source


def picture(level: int = 90, suffix: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (24, 16), (level, 90, 40)).save(buffer, suffix)
    return buffer.getvalue()


def write_tar(path: Path, files: Mapping[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def read(*words: Path) -> tuple[list[str], list[str], list[str]]:
    """(names of photos, names of unreadable ones, ignored files)."""
    source = open_source([str(word) for word in words])
    found = list(source.read(0, len(source)))
    photos = [item for item in found if isinstance(item, Photo)]
    assert len({photo.key for photo in photos}) == len(photos) and all("." not in photo.key for photo in photos)
    return [p.name for p in photos], [i.name for i in found if isinstance(i, UnreadablePhoto)], list(source.ignored)


def test_webdataset_samples(tmp_path: Path) -> None:
    files = {"000.jpg": picture(), "000.json": b"{}", "000.txt": b"a cat", "000.seg.png": picture(1, "PNG")}
    path = write_tar(tmp_path / "00000.tar", files | {"001.jpg": picture()})
    assert read(path) == (
        ["00000/000.jpg", "00000/001.jpg"],
        [],
        ["00000/000.json", "00000/000.txt", "00000/000.seg.png"],
    )


def test_plain_photos_with_dots_folders_and_system_files(tmp_path: Path) -> None:
    names = ["trip/IMG.2020.01.jpg", "./b.PNG", "__MACOSX/trip/._b.jpg", "trip/@eaDir/b.jpg", "trip/readme.md"]
    path = write_tar(tmp_path / "photos.tar", {name: picture() for name in names})
    photos, bad, ignored = read(path)
    assert photos == ["photos/trip/IMG.2020.01.jpg", "photos/b.PNG"] and bad == [] and len(ignored) == 3


def test_equal_members_of_several_tars_and_a_folder_of_tars(tmp_path: Path) -> None:
    for number in range(2):
        write_tar(tmp_path / f"{number}.tar", {"a.jpg": picture(number), "a.json": b"{}"})
    assert read(tmp_path) == (["0/a.jpg", "1/a.jpg"], [], ["0/a.json", "1/a.json"])
    Image.new("RGB", (20, 20)).save(tmp_path / "photo.jpg")
    assert read(tmp_path) == (["photo.jpg"], [], ["0.tar", "1.tar"]), "tars next to photos are not opened"


def test_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "p.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in/a.jpg", picture())
        archive.writestr("in/b.jpg", b"no photo")
        archive.writestr("notes.txt", b"x")
    assert read(tmp_path / "p.zip") == (["p/in/a.jpg"], ["p/in/b.jpg"], ["p/notes.txt"])


@pytest.mark.parametrize("name", ["cut.tar", "cut.zip", "text.tar", "packed.tar"])
def test_damaged_archives_are_listed(tmp_path: Path, name: str) -> None:
    good = write_tar(tmp_path / "good.tar", {"a.jpg": picture(), "b.jpg": picture()})
    data = {
        "cut.tar": good.read_bytes()[:700],
        "cut.zip": b"PK\3\4" + bytes(50),
        "text.tar": b"no archive" * 100,
        "packed.tar": write_tar(tmp_path / "x", {"a.jpg": picture()}, "w:gz").read_bytes(),
    }[name]
    (tmp_path / name).write_bytes(data)
    photos, bad, _ = read(good, tmp_path / name)
    assert photos[:2] == ["good/a.jpg", "good/b.jpg"] and bad


def test_an_archive_without_photos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no photos there"):
        open_source([str(write_tar(tmp_path / "a.tar", {"a.txt": b"x"}))])


def test_a_changed_archive_is_noticed(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"a.jpg": picture()})
    before = open_source([str(path)]).dependencies(0)
    write_tar(path, {"a.jpg": picture(), "b.jpg": picture()})
    assert open_source([str(path)]).dependencies(0) != before
