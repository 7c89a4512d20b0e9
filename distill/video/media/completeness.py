"""Detect truncated files in formats in which FFmpeg reports no error: by their own structure, not by durations."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

_SEGMENT = b"\x18\x53\x80\x67"
_MAX_HEADER = 4096
_FLV_TAGS = (8, 9, 18)


def is_truncated(path: Path, format_name: str) -> bool:
    """Whether a GIF, Matroska or FLV file ends before its own structure does; False for other formats."""
    check = {"gif": _gif_ends_early, "matroska": _matroska_ends_early, "flv": _flv_ends_early}.get(
        format_name.split(",", maxsplit=1)[0]
    )
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
    """The segment states its size, unless it was written to a pipe."""
    head = file.read(_MAX_HEADER)
    at = head.find(_SEGMENT)
    if at < 0 or at + 12 > len(head):
        return False
    length = 9 - head[at + 4].bit_length()
    if length > 8:
        return False
    stated = int.from_bytes(head[at + 4 : at + 4 + length]) & ((1 << 7 * length) - 1)
    unknown = stated == (1 << 7 * length) - 1
    return not unknown and at + 4 + length + stated > size


def _flv_ends_early(file: BinaryIO, size: int) -> bool:
    """The last four bytes state the size of the last tag."""
    file.seek(max(0, size - 4))
    last = int.from_bytes(file.read(4))
    if last < 11 or last > size - 4:
        return True
    file.seek(size - 4 - last)
    head = file.read(4)
    return head[0] & 0x1F not in _FLV_TAGS or int.from_bytes(head[1:4]) != last - 11
