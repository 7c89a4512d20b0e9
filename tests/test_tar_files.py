"""Tar headers of others: bounds, damage, keys that repeat."""

from __future__ import annotations

import io
import os
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from distill.files import MAX_FILE_BYTES
from distill.tar_files import TarGap, iter_members, iter_pieces


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """One header block; a size below zero or above 8 GiB in base 256."""
    member = tarfile.TarInfo(name)
    member.type = kind
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    field = b"%011o\0" % size if 0 <= size < 8**11 else struct.pack(">iq", -1 if size < 0 else -(2**31), size)
    block[124:136] = field
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def content(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def member(name: str, data: bytes = b"data") -> bytes:
    return header(name, len(data)) + content(data)


def extended(data: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    return header("extended", len(data), kind) + content(data)


END = bytes(1024)
GOOD = member("a.json", b"{}") + member("a.jpg")


@pytest.mark.parametrize(
    "damaged",
    [
        header("b.jpg", -512),
        header("b.jpg", -1),
        header("b.jpg", 2**62),
        header("b.jpg", MAX_FILE_BYTES + 1),
        header("b.jpg", 5000) + b"short",
        header("b.jpg", 500 * 10**6, tarfile.GNUTYPE_SPARSE) + bytes(512),
        extended(b"9" * 200_000 + b" path=b\n") + member("b.jpg"),
        extended(b"9" * 10_000 + b" path=b\n") + member("b.jpg"),
        extended(b"0 " * 500_000) + member("b.jpg"),
        b"x" * 512 + member("b.jpg"),
        header("b.jpg", 4)[:-20] + b"y" * 20 + content(b"data"),
        extended(b"17 size=-1000000\n") + member("b.jpg"),
        extended(b"x" * 100_000, tarfile.GNUTYPE_LONGNAME) + member("b.jpg"),
        extended(b"30 GNU.sparse.size=5000000000\n" + b"22 GNU.sparse.major=1\n" + b"22 GNU.sparse.minor=0\n")
        + member("b.jpg", b"1\n0\n0\n"),
        extended(b"11 path=b\n") * 5000 + member("b.jpg"),
        member("b.jpg") + member("a.png"),
        member("a.jpg"),
    ],
)
def test_a_damaged_header_ends_the_tar_in_one_error(tmp_path: Path, damaged: bytes) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(GOOD + damaged + END)
    found = []
    with pytest.raises(tarfile.TarError):
        for entry in iter_members(path):
            found.append(entry)
    assert [entry.name for entry in found[:2]] == ["a.json", "a.jpg"] and len(found) < 5


def test_a_sample_is_bounded_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with path.open("wb") as file:
        for number in range(3):
            file.write(header(f"a.{number}", MAX_FILE_BYTES // 2))
            file.seek(MAX_FILE_BYTES // 2, os.SEEK_CUR)  # a hole in the file itself
        file.write(END)
    with pytest.raises(tarfile.TarError, match="sample a has more than"):
        list(iter_members(path))


def test_ordinary_tars_of_every_format_are_read(tmp_path: Path) -> None:
    long = "folder/" * 30 + "k" * 120
    for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        path = tmp_path / f"{kind}.tar"
        names = ["x/k1.jpg", "x/k1.depth.png", "x/k2.jpg", *([f"{long}.jpg"] if kind != tarfile.USTAR_FORMAT else [])]
        with tarfile.open(path, "w", format=kind) as tar:
            tar.addfile(tarfile.TarInfo("x"), None)
            for name in names:
                info = tarfile.TarInfo(name)
                info.size = len(name)
                tar.addfile(info, io.BytesIO(name.encode()))
        found = list(iter_members(path))[1:]
        assert [entry.name for entry in found] == names
        assert found[1].key == "k1" and found[1].extension == "depth.png"
        with path.open("rb") as file:
            assert [entry.read(file).decode() for entry in found] == names


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_only_regular_files_are_tars(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "x.tar")
    with pytest.raises(tarfile.TarError, match="not a regular file"):
        list(iter_members(tmp_path / "x.tar"))


def pieces(path: Path, data: bytes) -> list[tuple[str, int, int] | tuple[int, int]]:
    path.write_bytes(data)
    return [
        (piece.start, piece.stop) if isinstance(piece, TarGap) else (piece.member.name, piece.start, piece.stop)
        for piece in iter_pieces(path)
    ]


def test_the_pieces_of_a_whole_tar_cover_it(tmp_path: Path) -> None:
    data = member("a.jpg", b"x" * 600) + member("a.json") + bytes(1024)
    assert pieces(tmp_path / "a.tar", data) == [("a.jpg", 0, 1536), ("a.json", 1536, 2560)]
    assert pieces(tmp_path / "a.tar", b"") == [] == pieces(tmp_path / "a.tar", bytes(4096))


@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_after_a_damaged_header_the_next_one_is_found(at: int, tmp_path: Path) -> None:
    data = bytearray(b"".join(member(f"{number}.jpg") for number in range(4)) + bytes(1024))
    data[1024 * at] ^= 1
    found = pieces(tmp_path / "a.tar", bytes(data))
    stop = 1024 * (at + 1) if at < 3 else len(data)
    expected = [(f"{number}.jpg", 1024 * number, 1024 * (number + 1)) for number in range(4) if number != at]
    assert found == sorted([*expected, (1024 * at, stop)], key=lambda piece: piece[-2])


def test_a_piece_may_lead_beyond_the_end(tmp_path: Path) -> None:
    data = (member("a.jpg") + member("b.jpg", b"x" * 2000))[:-1500]
    assert pieces(tmp_path / "a.tar", data)[-1] == ("b.jpg", 1024, 1024 + 512 + 2048)


@pytest.mark.parametrize(
    "data",
    [
        header("a.jpg", -1) + member("b.jpg"),
        extended(b"1" * (1 << 15)) + member("b.jpg"),
        header("a.jpg", 4, tarfile.GNUTYPE_SPARSE) + member("b.jpg"),
        b"\xff" * 512 + member("b.jpg"),
    ],
)
def test_absurd_headers_are_gaps(data: bytes, tmp_path: Path) -> None:
    found = pieces(tmp_path / "a.tar", data)
    assert len(found[0]) == 2 and found[-1][0] == "b.jpg"


def test_folders_and_links_are_no_pieces(tmp_path: Path) -> None:
    data = header("folder", 0, tarfile.DIRTYPE) + header("link", 0, tarfile.SYMTYPE) + member("a.jpg")
    assert pieces(tmp_path / "a.tar", data) == [("a.jpg", 1024, 2048)]


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", ["a.jpg", "x" * 96 + ".jpg", "folder/" * 20 + "a.jpg", "é.jpg"])
def test_headers_are_read_as_tarfile_reads_them(kind: int, name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=kind) as tar:
        info = tarfile.TarInfo(name)
        info.size = 1000
        tar.addfile(info, io.BytesIO(bytes(1000)))
    with tarfile.open(path) as tar:
        expected = [(found.name, found.offset_data, found.size) for found in tar]
    assert [(found.name, found.offset, found.size) for found in iter_members(path)] == expected


def test_no_flipped_bit_of_a_header_is_overlooked(tmp_path: Path) -> None:
    """The checksum itself may be written with spaces in place of zeros, and its end may be anything."""
    path, data = tmp_path / "a.tar", member("a.jpg") + bytes(1024)
    whole = list(iter_members(path)) if path.write_bytes(data) else []
    for bit in range(8 * 512):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            found = list(iter_members(path))
        except tarfile.TarError:
            continue
        assert found == whole and 148 <= bit // 8 < 156, bit
