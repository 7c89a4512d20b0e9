"""Detect truncated files in formats in which FFmpeg reports no error: by their own structure, not by durations."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

_SEGMENT, _CLUSTER = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"
_MAX_HEADER = 4096
_FLV_TAGS = (8, 9, 18)
_MOV_BOXES = (b"moov", b"mdat", b"moof")
"""Boxes that hold frames or their places."""


def is_truncated(path: Path, format_name: str) -> bool:
    """Whether a file ends before its own structure does; False for formats without such a structure."""
    check = _CHECKS.get(format_name.split(",", maxsplit=1)[0])
    if check is None:
        return False
    try:
        with path.open("rb") as file:
            return check(file, path.stat().st_size)
    except OSError:
        return False


def _gif_ends_early(file: BinaryIO, size: int) -> bool:
    file.seek(-min(64, size), 2)
    return not file.read().rstrip(b"\0").endswith(b";")


def _matroska_ends_early(file: BinaryIO, size: int) -> bool:
    """The segment states its size; in a recording to a pipe, only the elements in it do."""
    at = file.read(_MAX_HEADER).find(_SEGMENT)
    while 0 <= at < size:
        file.seek(at)
        head = file.read(12)
        id_bytes = 9 - head[0].bit_length()
        size_bytes = 9 - head[id_bytes].bit_length() if id_bytes < len(head) else 9
        content = id_bytes + size_bytes
        if id_bytes > 4 or size_bytes > 8 or content > len(head):
            return at + 12 > size
        stated = int.from_bytes(head[id_bytes:content]) & ((1 << 7 * size_bytes) - 1)
        if stated == (1 << 7 * size_bytes) - 1:  # unknown: the elements in it follow
            if head[:id_bytes] not in (_SEGMENT, _CLUSTER):
                return False
            at += content
        else:
            at += content + stated
    return at > size


def _flv_ends_early(file: BinaryIO, size: int) -> bool:
    """The last four bytes state the size of the last tag."""
    file.seek(max(0, size - 4))
    last = int.from_bytes(file.read(4))
    if last < 11 or last > size - 4:
        return True
    file.seek(size - 4 - last)
    head = file.read(4)
    return head[0] & 0x1F not in _FLV_TAGS or int.from_bytes(head[1:4]) != last - 11


def _mov_ends_early(file: BinaryIO, size: int) -> bool:
    """The file is a row of boxes; each states its size. What follows the last one may be no box."""
    at, kind = 0, b""
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16)
        length, kind = int.from_bytes(head[:4]), head[4:8]
        if length == 0:  # to the end of the file
            return False
        if length == 1:
            length = int.from_bytes(head[8:16])
        if length < 8:
            return False  # what follows are no boxes, but all frames may be there
        at += length
    return at > size and kind in _MOV_BOXES


def _avi_ends_early(file: BinaryIO, size: int) -> bool:
    """The first chunk states its size; 0 in recordings that were not closed."""
    return int.from_bytes(file.read(8)[4:], "little") + 8 > size + 1


_CHECKS = {
    "gif": _gif_ends_early,
    "matroska": _matroska_ends_early,
    "flv": _flv_ends_early,
    "mov": _mov_ends_early,
    "avi": _avi_ends_early,
}
