"""Chunks of PNG files: pixels and what describes their colors, without the text around them."""

from __future__ import annotations

import zlib

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_METADATA_BYTES = 4 * 1024 * 1024
"""Larger color profiles and EXIF blocks are ignored."""
_MAX_CHUNKS = 1_000_000
_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT"})
_COLORS = frozenset({b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM"})
_XMP = b"XML:com.adobe.xmp\0\0"
"""Start of an uncompressed text chunk with XMP, which can state the orientation."""
_MAX_XMP_BYTES = 1024 * 1024
_END = b"\0\0\0\0IEND\xaeB`\x82"


def read_png(data: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """(the PNG without other data than its pixels and orientation, content of the chunks that describe colors).

    Broken and oversized text, profiles and EXIF never cost an image. The end chunk may be missing.

    Raises:
        ValueError: More chunks than any encoder writes.
    """
    kept: list[tuple[int, int]] = []
    colors: dict[bytes, bytes] = {}
    position, has_end = len(PNG_SIGNATURE), False
    for _ in range(_MAX_CHUNKS):
        if has_end or position + 12 > len(data):
            break
        stop = position + 12 + int.from_bytes(data[position : position + 4], "big")
        kind, content = data[position + 4 : position + 8], (position + 8, stop - 4)
        has_end = kind == b"IEND"
        if kind in _COLORS and stop <= len(data):
            colors.setdefault(kind, data[slice(*content)])
        elif kind in _PIXELS or (stop <= len(data) and _states_orientation(kind, data, content)):
            kept.append((position, min(stop, len(data))))
        position = stop
    else:
        raise ValueError("it has more than a million chunks")
    is_whole = has_end and position == len(data) and sum(stop - start for start, stop in kept) == len(data) - 8
    if is_whole:
        return data, colors
    parts = [data[start:stop] for start, stop in kept if data[start + 4 : start + 8] != b"IEND"]
    return b"".join([PNG_SIGNATURE, *parts, _END]), colors


def find_damage(data: bytes) -> str:
    """Reason why the pixels of a PNG cannot be whole, from its chunks alone; empty if there is none.

    Raises:
        ValueError: More chunks than any encoder writes.
    """
    position = len(PNG_SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        stop = position + 12 + int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        if len(kind) < 4 or stop > len(data):
            return "the file ends too early"
        if kind == b"IEND":
            return ""
        check = int.from_bytes(data[stop - 4 : stop], "big")
        if kind in _PIXELS and zlib.crc32(memoryview(data)[position + 4 : stop - 4]) != check:
            return "a checksum in the file is wrong"
        position = stop
    raise ValueError("it has more than a million chunks")


def states_orientation(data: bytes) -> bool:
    """Whether a PNG may state an orientation, in EXIF or XMP."""
    return b"eXIf" in data or _XMP in data


def inflate_profile(chunk: bytes) -> bytes | None:
    """ICC profile of an ``iCCP`` chunk; None if it is damaged or absurdly large."""
    _, _, compressed = chunk.partition(b"\0")
    stream = zlib.decompressobj()
    try:
        profile = stream.decompress(compressed[1:], MAX_METADATA_BYTES)
    except zlib.error:
        return None
    return profile if stream.eof and profile else None


def _states_orientation(kind: bytes, data: bytes, content: tuple[int, int]) -> bool:
    start, stop = content
    if kind == b"eXIf":
        return 0 < stop - start <= MAX_METADATA_BYTES and zlib.crc32(data[start - 4 : stop]) == int.from_bytes(
            data[stop : stop + 4], "big"
        )
    is_xmp = kind == b"iTXt" and data.startswith(_XMP, start) and stop - start <= _MAX_XMP_BYTES
    return is_xmp and zlib.crc32(data[start - 4 : stop]) == int.from_bytes(data[stop : stop + 4], "big")
