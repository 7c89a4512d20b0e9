"""Members of a tar, with bounds: the file may come from someone else, and its headers are not trusted."""

from __future__ import annotations

import re
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self, cast

from distill.files import MAX_FILE_BYTES, open_regular

_MAX_HEADER_BYTES = 16 * 1024
"""Of extended headers, which hold long names; larger ones take tarfile minutes to parse."""
_SEARCHED_BYTES = 1 << 20
_PLAIN = re.compile(rb"(?s).{124}[0-7]{11}\0.{12}[0-7]{6}\0 0.{100}ustar\x0000.{80}\0")
"""Header of a regular file in the ustar format whose name is not continued elsewhere."""
_EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class TarMember(NamedTuple):
    """A regular file in a tar; ``a/k.depth.png`` has the key ``k`` and the extension ``depth.png``."""

    name: str
    key: str
    extension: str
    offset: int
    size: int

    def read(self, tar: BinaryIO) -> bytes:
        """The content, from the opened tar.

        Raises:
            tarfile.ReadError: The tar ends before it.
        """
        tar.seek(self.offset)
        data = tar.read(self.size)
        if len(data) < self.size:
            raise tarfile.ReadError("unexpected end of data")
        return data


class _BoundedTarInfo(tarfile.TarInfo):
    """Header without negative or absurd sizes and without holes, at which `tarfile` would loop or fill the memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Parse one header block."""
        if _PLAIN.match(buf) and 256 + sum(buf[:148]) + sum(buf[156:]) == int(bytes(buf[148:154]), 8):
            # All members that we write; the general parser takes three times as long.
            member = cls(bytes(buf[:100]).partition(b"\0")[0].decode(encoding, errors))
            member.size = int(bytes(buf[124:135]), 8)
            return member
        member = super().frombuf(buf, encoding, errors)
        limit = _MAX_HEADER_BYTES if member.type in _EXTENDED else None
        if member.size < 0 or (limit is not None and member.size > limit):
            raise tarfile.ReadError(f"a header with a size of {member.size} bytes")
        if member.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError(f"{member.name} is stored with holes")
        return member


def iter_members(path: Path) -> Iterator[TarMember]:
    """Regular files of a tar, in order; only headers are read.

    The files of a sample are those of one key, one after the other. A member that the end of the file cuts off is still
    yielded, before the error.

    Raises:
        OSError: Unreadable.
        tarfile.TarError: Not a tar, cut off, a key that comes twice, or a sample of more than `MAX_FILE_BYTES`.
    """
    info = path.stat()
    if not stat.S_ISREG(info.st_mode):
        raise tarfile.ReadError("not a regular file")
    try:
        with tarfile.open(path, mode="r:", tarinfo=_BoundedTarInfo) as tar:
            yield from _checked(tar, info.st_size)
    except (ValueError, RecursionError, OverflowError, MemoryError, EOFError) as error:  # of damaged headers
        raise tarfile.ReadError(f"a damaged header ({type(error).__name__})") from error


class TarGap(NamedTuple):
    """Bytes of a tar that belong to no member: a damaged header, and what follows until the next one."""

    start: int
    stop: int


class TarPiece(NamedTuple):
    """A regular file in a tar that may be damaged.

    Attributes:
        start: Of its first header.
        stop: After its padding.
    """

    member: TarMember
    start: int
    stop: int


def iter_pieces(path: Path) -> Iterator[TarPiece | TarGap]:
    """Everything in a tar that may be damaged: after a damaged header, the next one is searched for.

    The last piece may lead beyond the end of the file.

    Raises:
        OSError: Unreadable.
    """
    file_size, at = path.stat().st_size, 0
    with open_regular(path) as file:
        while at < file_size:
            try:
                file.seek(at)
                tar = tarfile.TarFile(fileobj=file, tarinfo=_BoundedTarInfo)
                while (found := tar.next()) is not None:
                    cast("Any", tar).members.clear()
                    start, at = at, cast("Any", tar).offset
                    if found.isfile() and found.sparse is None:
                        stem, _, extension = found.name.rpartition("/")[2].partition(".")
                        yield TarPiece(TarMember(found.name, stem, extension, found.offset_data, found.size), start, at)
                    elif found.isfile():
                        yield TarGap(start, at)
            except (tarfile.TarError, ValueError, RecursionError, OverflowError, MemoryError, EOFError):
                pass  # of damaged headers; the search below finds the next one
            if at >= file_size or _is_zero(file, at):
                return
            following = _find_header(file, at + tarfile.BLOCKSIZE)
            yield TarGap(at, following or file_size)
            at = following or file_size


def _is_zero(file: BinaryIO, at: int) -> bool:
    """Whether the file has only zeros from here on."""
    file.seek(at)
    return not any(chunk.strip(b"\0") for chunk in iter(lambda: file.read(_SEARCHED_BYTES), b""))


def _find_header(file: BinaryIO, at: int) -> int | None:
    """Offset of the next header of a member; None: there is none."""
    while True:
        file.seek(at)
        chunk = file.read(_SEARCHED_BYTES)
        if len(chunk) < tarfile.BLOCKSIZE:
            return None
        for start in range(0, len(chunk) - tarfile.BLOCKSIZE + 1, tarfile.BLOCKSIZE):
            block = chunk[start : start + tarfile.BLOCKSIZE]
            if block[257:262] == b"ustar" and _is_header(block):
                return at + start
        at += len(chunk) // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE


def _is_header(block: bytes) -> bool:
    try:
        _BoundedTarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError):
        return False
    return True


def _checked(tar: tarfile.TarFile, file_size: int) -> Iterator[TarMember]:
    keys, extensions, size = set[str](), set[str](), 0
    key = ""
    for member in tar:
        cast("Any", tar).members.clear()  # otherwise tarfile keeps every header in memory
        if not member.isfile():
            continue
        if member.sparse is not None or member.size < 0:
            raise tarfile.ReadError(f"{member.name} is stored with holes or a negative size")
        stem, _, extension = member.name.rpartition("/")[2].partition(".")
        if stem != key or extension in extensions:
            if stem in keys:
                raise tarfile.ReadError(f"the key {stem} comes twice")
            keys.add(stem)
            key, extensions, size = stem, set(), 0
        extensions.add(extension)
        size += member.size
        if size > MAX_FILE_BYTES:
            raise tarfile.ReadError(f"sample {stem} has more than {MAX_FILE_BYTES} bytes")
        yield TarMember(member.name, stem, extension, member.offset_data, member.size)
        if member.offset_data + member.size > file_size:
            raise tarfile.ReadError("unexpected end of data")
    # tarfile takes a damaged header for the end of the archive; the samples after it would be lost in silence.
    with Path(cast("Any", tar).name).open("rb") as file:
        file.seek(cast("Any", tar).offset)
        if any(file.read(tarfile.BLOCKSIZE)):
            raise tarfile.ReadError("a damaged header")
