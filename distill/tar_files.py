"""Members of a tar, with bounds: the file may come from someone else, and its headers are not trusted."""

from __future__ import annotations

import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self, cast

from distill.files import MAX_FILE_BYTES

_MAX_HEADER_BYTES = 16 * 1024
"""Of extended headers, which hold long names; larger ones take tarfile minutes to parse."""
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
