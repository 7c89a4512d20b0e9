"""Tell videos and animations from photos and other files by their first bytes."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path

from PIL import Image

from distill.files import read_head

HEAD_BYTES = 4096
_ANNEX_B = re.compile(rb"\x00?\x00\x00\x01(.)(.)", re.DOTALL)
_STILL_BRANDS = frozenset({b"mif1", b"heic", b"heix", b"heim", b"heis", b"avif", b"miaf", b"jxl ", b"jp2 ", b"jpx "})
_MOVING_BRANDS = frozenset({b"msf1", b"hevc", b"hevx"})
_BOXES = frozenset({b"moov", b"mdat", b"wide", b"skip", b"pnot"})
"""First boxes of old QuickTime files, which have no ``ftyp``."""
_PHOTOS = (b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
_MAGIC: tuple[tuple[int, bytes], ...] = (
    (0, b"\x1a\x45\xdf\xa3"),  # Matroska, WebM
    (0, b"FLV\x01"),
    (0, b"OggS"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),  # ASF: WMV
    (0, b"\x00\x00\x01\xba"),  # MPEG program stream: MPG, VOB
    (0, b"\x00\x00\x01\xb3"),  # MPEG-1 and 2 video
    (0, b"DHAV"),
    (0, b"DKIF"),  # IVF
    (0, b"YUV4MPEG2 "),
    (0, b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02"),  # MXF
    (0, b".RMF"),
    (0, b"nut/multimedia container"),
    (0, b"\x1f\x07\x00"),  # DV
    (0, b"\xb7\xd8\x00\x20\x37\x49\xda\x11"),  # WTV
    (0, b"\x12\x00\x0a"),  # AV1 in OBUs
)


class MediaKind(StrEnum):
    """What the first bytes of a file say."""

    VIDEO = "video"
    ANIMATION = "animation"
    """An image file with several frames that Pillow reads: WebP, APNG or AVIF."""
    PHOTO = "photo"
    UNKNOWN = "unknown"


def media_kind(path: Path) -> MediaKind:
    """Kind of a file by its bytes; `UNKNOWN` also for files that cannot be read."""
    try:
        head = read_head(path, HEAD_BYTES)
    except OSError:
        return MediaKind.UNKNOWN
    return kind_of_bytes(head)


def has_video_bytes(path: Path) -> bool:
    """Whether the first bytes of a file are those of a video or an animation."""
    return media_kind(path) in (MediaKind.VIDEO, MediaKind.ANIMATION)


def kind_of_bytes(head: bytes) -> MediaKind:
    """Kind of a file by its first `HEAD_BYTES` bytes."""
    if head[4:8] == b"ftyp":
        return _kind_of_brands(head)
    if head.startswith((b"RIFF", b"\x89PNG\r\n\x1a\n")):
        return _kind_of_riff(head) if head.startswith(b"RIFF") else _kind_of_png(head)
    if head.startswith(_PHOTOS):
        return MediaKind.PHOTO
    has_magic = any(head[at : at + len(magic)] == magic for at, magic in _MAGIC) or head[4:8] in _BOXES
    return MediaKind.VIDEO if has_magic or _is_transport_stream(head) or _is_annex_b(head) else MediaKind.UNKNOWN


def _kind_of_riff(head: bytes) -> MediaKind:
    if head[8:12] == b"WEBP":
        return MediaKind.ANIMATION if head[12:16] == b"VP8X" and head[20:21] and head[20] & 2 else MediaKind.PHOTO
    return MediaKind.VIDEO if head[8:12] in (b"AVI ", b"AVIX", b"AMV ") else MediaKind.UNKNOWN


def _kind_of_png(head: bytes) -> MediaKind:
    """An APNG states the number of its frames before the pixels."""
    control, pixels = head.find(b"acTL"), head.find(b"IDAT")
    frames = int.from_bytes(head[control + 4 : control + 8])
    return MediaKind.ANIMATION if 0 <= control < (pixels % (len(head) + 1)) and frames > 1 else MediaKind.PHOTO


def is_animated_gif(path: Path) -> bool:
    """Whether a file is a GIF of more than one frame."""
    try:
        if not read_head(path, 4).startswith(b"GIF8"):
            return False
        with Image.open(path) as image:
            return bool(getattr(image, "is_animated", False))
    except Exception:  # Pillow raises many types for damaged files; reading it as a photo reports the reason
        return False


def _kind_of_brands(head: bytes) -> MediaKind:
    size = min(int.from_bytes(head[:4]), len(head))
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, size, 4))}
    if b"avis" in brands:
        return MediaKind.ANIMATION
    if brands & _MOVING_BRANDS:
        return MediaKind.VIDEO
    return MediaKind.PHOTO if head[8:12] in _STILL_BRANDS else MediaKind.VIDEO


def _is_transport_stream(head: bytes) -> bool:
    """Packets of 188 bytes, of 192 with a time in front (M2TS), or of 204 with a checksum; a cut may precede them."""
    for size, first in ((188, 0), (192, 4), (204, 0)):
        if len(head) > 5 * size and any(
            all(head[at + number * size] == 0x47 for number in range(5)) for at in (first, *range(size))
        ):
            return True
    return False


def _is_annex_b(head: bytes) -> bool:
    """H.264 or HEVC without a container: start codes, and a parameter set or an access unit delimiter first."""
    match = _ANNEX_B.match(head)
    if match is None:
        return False
    first, second = match[1][0], match[2][0]
    is_h264 = first & 0x80 == 0 and first & 0x1F in (7, 9) and (first & 0x60 or first & 0x1F == 9)
    is_hevc = first >> 1 in (32, 33, 35) and first & 1 == 0 and second & 0xF8 == 0 and second & 7 != 0
    return bool(is_h264 or is_hevc)
