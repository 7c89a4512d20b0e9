"""Open image files of unknown origin: format by their bytes, size and effort checked before decoding."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image

from distill.errors import DistillError, UsageError
from distill.images.png_chunks import PNG_SIGNATURE, read_png
from distill.optional import require

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif", ".heic", ".heif", ".hif"}
)
"""Suffixes of photos in a folder, in lower case; the format itself is detected from the bytes."""
MIN_SIDE_PX = 8
"""Smaller photos are refused: too small to learn from."""
_DEFAULT_MAX_PIXELS = 128_000_000
_MAX_SCANS = 100
_MAX_SCAN_PIXELS = 4e9
"""Limits of a JPEG: encoders write 1 to 15 scans, and each one decodes the whole image again."""

_SUFFIX_OF_FORMAT = {
    "JPEG": "jpg",
    "MPO": "jpg",
    "PNG": "png",
    "WEBP": "webp",
    "BMP": "bmp",
    "TIFF": "tif",
    "GIF": "gif",
    "PPM": "ppm",
    "JPEG2000": "jp2",
    "AVIF": "avif",
    "HEIF": "heic",
}
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, PNG_SIGNATURE, "PNG"),
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
    (8, b"WEBP", "WEBP"),
    (0, b"\0\0\0\x0cjP  ", "JPEG2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG2000"),
    *((0, b"P%d" % number, "PPM") for number in range(1, 7)),
)
_UNSUPPORTED: tuple[tuple[int, bytes, str], ...] = (
    (0, b"8BPS", "a Photoshop file"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (8, b"CR\x02", "a raw photo"),
    (4, b"ftypcrx ", "a raw photo"),
    (0, b"FUJIFILMCCD-RAW", "a raw photo"),
    (0, b"%PDF", "a PDF"),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR image"),
    (0, b"#?RADIANCE", "a Radiance HDR image"),
    (0, b"version https://git-lfs", "a Git LFS pointer instead of the file"),
)
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"mif2"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_NEW_SUBFILE_TYPE, _DNG_VERSION = 254, 50706

# `check_pixel_count` is called first; Pillow's own limit only prints a warning at half of it.
Image.MAX_IMAGE_PIXELS = None


def max_pixels() -> int:
    """Maximum number of pixels of an image, set by DISTILL_MAX_PIXELS.

    The default keeps a process below about 4 GB: a few kilobytes can expand to gigabytes (decompression bomb).

    Raises:
        UsageError: DISTILL_MAX_PIXELS is not a positive whole number.
    """
    text = os.environ.get("DISTILL_MAX_PIXELS", "").strip()
    if not text:
        return _DEFAULT_MAX_PIXELS
    if not (text.isascii() and text.isdigit() and int(text[:19]) > 0):
        raise UsageError(
            f"DISTILL_MAX_PIXELS is {text[:40]!r}, which is not a positive whole number",
            hint=f"set it to a number of pixels such as {_DEFAULT_MAX_PIXELS}, or unset it",
        )
    return int(text[:19])


def check_unpacked_size(data: bytes) -> None:
    """Check what a zip, such as ``.npz``, unpacks to; other bytes pass.

    Raises:
        ValueError: Damaged, or more than 16 bytes for each pixel of the largest image.
    """
    if not data.startswith(b"PK"):
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size, limit = sum(member.file_size for member in archive.infolist()), 16 * max_pixels()
    except (zipfile.BadZipFile, struct.error, NotImplementedError, EOFError) as error:
        raise ValueError(str(error) or "not a zip file") from error
    if size > limit:
        raise ValueError(f"unpacks to {size / 1e6:.0f} MB, more than {limit / 1e6:.0f} MB")


def check_pixel_count(size_wh: tuple[int, int], name: str, limit: int | None = None) -> None:
    """Refuse an image whose header states too many pixels or none, before it is decompressed.

    Args:
        size_wh: (width, height).
        name: Display name.
        limit: Maximum number of pixels; None: `max_pixels`.

    Raises:
        DistillError: The image is larger, or has no pixels.
    """
    width, height = size_wh
    if width < 1 or height < 1:
        raise DistillError(f"{name}: the image has no pixels: {width}x{height}", hint="copy or export it again")
    most = max_pixels() if limit is None else min(limit, max_pixels())
    if width * height > most:
        hint = "shrink it, or raise DISTILL_MAX_PIXELS" if limit is None else "shrink it"
        raise DistillError(
            f"{name}: {width}x{height} px is over the limit of {most / 1e6:.0f} million pixels", hint=hint
        )


@contextmanager
def open_image(data: bytes, name: str, limit: int | None = None) -> Iterator[Image.Image]:
    """Open an image and check its header; whatever fails inside the block becomes a `DistillError`.

    Text and other data around the pixels of a PNG is dropped; what describes its colors is in ``info["png"]``.

    Args:
        data: Bytes of the file.
        name: Display name.
        limit: As in `check_pixel_count`.

    Raises:
        DistillError: Empty, not a supported image, damaged, or too large to decode.
    """
    if not data:
        raise DistillError(f"{name}: the file is empty", hint="copy it again")
    kind = _detect_format(data, name)
    colors: dict[bytes, bytes] = {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if kind == "PNG":
                data, colors = read_png(data)
            elif kind == "WEBP" and data[12:16] == b"VP8X":  # opening allocates the canvas
                sides = (int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1)
                check_pixel_count(sides, name, limit)
            with Image.open(io.BytesIO(data), formats=[kind]) as image:
                check_pixel_count(image.size, name, limit)
                _check_effort(image, data, name)
                if kind == "PNG":
                    image.info |= {"png": colors, "png_bits": data[24]}
                yield image
    except DistillError:
        raise
    except MemoryError as error:
        raise DistillError(
            f"{name}: there is not enough memory to decode the image", hint="shrink it, or free memory"
        ) from error
    except Exception as error:  # Pillow's plug-ins raise many types for damaged files
        reason = str(error).split("\n")[0]
        if "cannot identify" in reason:
            raise DistillError(
                f"{name}: is damaged, or a kind of {kind} that cannot be read", hint="export it again as JPEG or PNG"
            ) from error
        raise DistillError(f"{name}: the image cannot be decoded: {reason}", hint="copy or export it again") from error


def suffix_of(image: Image.Image) -> str:
    """Usual suffix of the format, such as ``jpg``."""
    return _SUFFIX_OF_FORMAT[image.format or ""]


def _detect_format(data: bytes, name: str) -> str:
    """Pillow's name of the format of these bytes."""
    for start, magic, description in _UNSUPPORTED:
        if data.startswith(magic, start):
            raise DistillError(
                f"{name}: is {description}, which is not supported", hint="save the photo as JPEG, PNG or TIFF"
            )
    for start, magic, kind in _SIGNATURES:
        if data.startswith(magic, start):
            return kind
    if data[4:8] == b"ftyp":
        length = min(int.from_bytes(data[:4], "big"), 256)
        brands = {data[8:12], *(data[at : at + 4] for at in range(16, length, 4))}
        if brands & _AVIF_BRANDS:
            return "AVIF"
        if brands & _HEIF_BRANDS:
            _register_heif(name)
            return "HEIF"
    raise DistillError(f"{name}: not an image in any known format", hint="remove or convert it")


def _register_heif(name: str) -> None:
    try:
        plugin: Any = require("pillow_heif", extra="heic", why="read HEIC photos")
    except DistillError as error:
        raise DistillError(
            f"{name}: is a HEIC photo, which needs the package pillow-heif", hint=f"{error.hint}, or convert it to JPEG"
        ) from error
    plugin.register_heif_opener(thumbnails=False)


def _check_effort(image: Image.Image, data: bytes, name: str) -> None:
    """Refuse what looks like a photo but is the preview of a raw file, and JPEGs with an absurd number of scans."""
    if image.format == "TIFF":
        tags: Any = getattr(image, "tag_v2", {})
        if _DNG_VERSION in tags or int(tags.get(_NEW_SUBFILE_TYPE, 0) or 0) & 1:
            raise DistillError(
                f"{name}: is a raw photo or a preview, whose pixels cannot be read",
                hint="save the photo as JPEG or TIFF",
            )
    elif image.format in ("JPEG", "MPO"):
        scans = _count_scans(data)
        if scans > min(_MAX_SCANS, max(16, _MAX_SCAN_PIXELS / (image.width * image.height))):
            raise DistillError(
                f"{name}: a JPEG of {scans} scans takes too long to decode; encoders write at most 15",
                hint="save it again as baseline JPEG",
            )


def _count_scans(data: bytes) -> int:
    """Number of scans of a JPEG; the entropy-coded data is only searched if there can be more than one."""
    position, components, is_progressive = 2, 0, False
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in (0xFF, 0x01) or 0xD0 <= marker <= 0xD8:  # fill byte, or no content
            position += 1 if marker == 0xFF else 2
            continue
        if marker == 0xDA:
            if not is_progressive and data[position + 4 : position + 5] >= bytes([components]):
                return 1
            return data.count(b"\xff\xda", position)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            components, is_progressive = data[position + 9] if position + 9 < len(data) else 0, marker & 3 == 2
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return 1
