"""Opening files of strangers: format by their bytes, bounded size and effort, one sentence for what is refused."""

from __future__ import annotations

import importlib.util
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from distill.errors import DistillError, UsageError
from distill.images import decode_image, decode_rgb, max_pixels
from tests.builders.images import PNG_HEADER_BYTES, saved, smooth_rgb

RGB = smooth_rgb()


@pytest.mark.parametrize(
    ("kind", "suffix"),
    {
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
    }.items(),
)
def test_the_bytes_decide_not_the_name(kind: str, suffix: str) -> None:
    rgb, found = decode_rgb(saved(Image.fromarray(RGB), kind), "photo.jfif")
    assert found == suffix and rgb.shape == RGB.shape


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"8BPS" + bytes(99), "Photoshop"),
        (b"\xff\x0a" + bytes(99), "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(99), "JPEG XL"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(99), "raw photo"),
        (b"\0\0\0\x18ftypcrx " + bytes(99), "raw photo"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"%PDF-1.7\n", "PDF"),
        (b"<html>404</html>", "not an image in any known format"),
        (b"P9 nothing", "not an image in any known format"),
        (b"\xff\xd8\xff" + bytes(99), "cannot be read"),
        (b"BM" + bytes(99), "cannot be (read|decoded)"),
        (b"", "the file is empty"),
    ],
)
def test_what_cannot_be_read_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(DistillError, match=rf"^here/one\.jpg: .*{reason}") as caught:
        decode_rgb(data, "here/one.jpg")
    assert caught.value.hint


def heic_without_pixels() -> bytes:
    return b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)


def test_heic_photos_name_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(DistillError, match=r"IMG_1\.HEIC: is a HEIC photo.*pillow-heif.*distill\[heic\]"):
        decode_rgb(heic_without_pixels(), "IMG_1.HEIC")


@pytest.mark.skipif(importlib.util.find_spec("pillow_heif") is None, reason="needs pillow-heif")
def test_heic_photos_are_read() -> None:
    import pillow_heif  # type: ignore[import-not-found,unused-ignore]

    pillow_heif.register_heif_opener()
    photo = decode_image(saved(Image.fromarray(RGB), "HEIF", quality=95), "x")
    assert photo.suffix == "heic" and photo.full_hw == (48, 64) == photo.rgb.shape[:2]
    assert np.abs(photo.rgb.astype(int) - RGB).mean() < 8
    with pytest.raises(DistillError):
        decode_rgb(heic_without_pixels(), "x")


@pytest.mark.parametrize("tag", [(254, 1), (50706, b"\1\4\0\0")], ids=["preview", "dng"])
def test_the_preview_of_a_raw_photo_is_not_taken_for_the_photo(tag: tuple[int, int | bytes]) -> None:
    data = saved(Image.fromarray(RGB), "TIFF", tiffinfo={tag[0]: tag[1]})
    with pytest.raises(DistillError, match="raw photo"):
        decode_rgb(data, "x")


def header_of(kind: str, width: int, height: int) -> bytes:
    """A small file that announces another size."""
    data = bytearray(saved(Image.fromarray(RGB), kind))
    if kind == "PNG":
        data[16:24] = struct.pack(">II", width, height)
        data[29:PNG_HEADER_BYTES] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    elif kind == "GIF":
        data[6:10] = struct.pack("<HH", width, height)
    elif kind == "JPEG":
        at = data.index(b"\xff\xc0")
        data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", width, height)
    elif kind == "WEBP":
        sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        data[12:12] = b"VP8X" + struct.pack("<I", 10) + bytes(4) + sides
        data[4:8] = struct.pack("<I", len(data) - 8)
    return bytes(data)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "JPEG", "BMP", "WEBP"])
def test_a_header_of_gigabytes_is_refused_before_decoding(kind: str) -> None:
    side = 16000 if kind == "WEBP" else 60000
    with pytest.raises(DistillError, match=f"^x: {side}x{side} px is over the limit"):
        decode_rgb(header_of(kind, side, side), "x")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
@pytest.mark.parametrize("size", [(0, 10), (10, 0), (0, 0)])
def test_images_without_pixels_are_refused(kind: str, size: tuple[int, int]) -> None:
    with pytest.raises(DistillError, match=r"^x: "):
        decode_rgb(header_of(kind, *size), "x")


@pytest.mark.parametrize("value", ["abc", "-5", "0", "1e9", "12.5", "nan", "128M", "\u0661"])
def test_a_limit_that_is_not_a_number_is_named(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_MAX_PIXELS", value)
    with pytest.raises(UsageError, match=r"DISTILL_MAX_PIXELS is .*not a positive whole number"):
        max_pixels()


@pytest.mark.parametrize(("value", "pixels"), [("", 128_000_000), (" 1000 ", 1000), ("9" * 30, int("9" * 19))])
def test_a_limit_is_read(value: str, pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_MAX_PIXELS", value)
    assert max_pixels() == pixels


@pytest.mark.parametrize("count", [150, 3000])
def test_a_progressive_jpeg_with_thousands_of_scans_is_refused(count: int) -> None:
    data = saved(Image.new("L", (800, 800), 100), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    with pytest.raises(DistillError, match=r"scans takes too long"):
        decode_rgb(data[:-2] + scan * count + b"\xff\xd9", "x")


def test_fewer_scans_are_allowed_in_a_large_jpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    from distill.images import file_format

    data = saved(Image.new("L", (800, 800), 100), "JPEG", progressive=True)
    many = data[:-2] + data[data.rindex(b"\xff\xda") : -2] * 20 + b"\xff\xd9"
    decode_rgb(many, "x")
    monkeypatch.setattr(file_format, "_MAX_SCAN_PIXELS", 800 * 800 * 17)
    with pytest.raises(DistillError, match="scans"):
        decode_rgb(many, "x")
    decode_rgb(data, "x")


def test_ordinary_jpegs_have_few_scans() -> None:
    for options in ({}, {"progressive": True}, {"exif": b"Exif\0\0" + b"\xff\xda" * 200}):
        assert decode_rgb(saved(Image.fromarray(RGB), "JPEG", **options), "x")[0].shape == RGB.shape


def test_a_lack_of_memory_is_one_photo_s_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", full)
    with pytest.raises(DistillError, match=r"^x: there is not enough memory"):
        decode_rgb(saved(Image.fromarray(RGB), "JPEG"), "x")


def test_a_tiff_with_absurd_counts_is_an_error() -> None:
    data = bytearray(saved(Image.fromarray(RGB), "TIFF"))
    start = int.from_bytes(data[4:8], "little")
    for entry in range(int.from_bytes(data[start : start + 2], "little")):
        at = start + 2 + 12 * entry
        if int.from_bytes(data[at : at + 2], "little") in (273, 279):
            data[at + 4 : at + 8] = b"\xff\xff\xff\x7f"
    with pytest.raises(DistillError, match=r"^x: "):
        decode_rgb(bytes(data), "x")
