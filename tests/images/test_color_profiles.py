"""Color profiles: what a file states about its colors is converted to sRGB."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from numpy import ndarray
from PIL import Image, ImageCms

from distill.errors import DistillError
from distill.images import decode_color_map, decode_image, decode_map
from distill.images.color_profiles import _ADOBE_RGB, _BT709, _PRIMARIES, _matrix_profile
from tests.builders.images import chunk, gray_profile, in_space, saved, smooth_rgb, srgb_profile, with_chunks

RGB = smooth_rgb()
PROPHOTO = ((0.3457, 0.3585), (0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001))
PROFILES = {
    "display p3": _matrix_profile(_PRIMARIES[12], None),
    "adobe rgb": _matrix_profile(_ADOBE_RGB, 563 / 256),
    "prophoto": _matrix_profile(PROPHOTO, 1.8),
    "rec 2020": _matrix_profile(_PRIMARIES[9], None),
    "linear": _matrix_profile(_BT709, 1.0),
}
ROUNDING = 12
"""Levels that a round trip through 8 bits of a wider or linear space may cost."""


def difference(data: bytes, rgb: ndarray = RGB) -> int:
    return int(np.abs(decode_image(data, "x").rgb.astype(int) - rgb).max())


def chromaticities(primaries: tuple[tuple[float, float], ...]) -> bytes:
    return b"".join(struct.pack(">II", round(x * 1e5), round(y * 1e5)) for x, y in primaries)


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_an_embedded_profile_is_converted(name: str, kind: str) -> None:
    other = in_space(RGB, PROFILES[name])
    options = {"lossless": True} if kind == "WEBP" else {}
    assert difference(saved(other, kind, **options)) > 2 * ROUNDING  # without the profile
    data = saved(other, kind, icc_profile=PROFILES[name], **options)
    assert difference(data) <= ROUNDING and decode_image(data, "x").notes == ()


def test_profiles_of_lossy_formats_are_converted() -> None:
    profile = PROFILES["display p3"]
    other = in_space(RGB, profile)
    for kind in ("JPEG", "AVIF"):
        pixels = decode_image(saved(other, kind, quality=97, icc_profile=profile), "x").rgb
        assert np.abs(pixels.astype(int) - RGB).mean() < np.abs(np.asarray(other, int) - RGB).mean() / 3


def test_a_profile_that_is_srgb_leaves_the_numbers_alone() -> None:
    assert difference(saved(Image.fromarray(RGB), icc_profile=srgb_profile())) == 0


def test_red_of_display_p3_has_known_numbers() -> None:
    other = in_space(np.full((8, 8, 3), (255, 0, 0), np.uint8), PROFILES["display p3"])
    assert np.asarray(other)[0, 0].tolist() == [234, 51, 35]


@pytest.mark.parametrize(
    ("chunks", "profile"),
    [
        ([(b"gAMA", struct.pack(">I", 100000))], "linear"),
        ([(b"cHRM", chromaticities(_PRIMARIES[12]))], "display p3"),
        ([(b"cICP", bytes([12, 13, 0, 1]))], "display p3"),
        ([(b"cICP", bytes([9, 1, 0, 1])), (b"gAMA", struct.pack(">I", 100000))], "rec 2020"),
        ([(b"cICP", bytes([1, 8, 0, 1])), (b"sRGB", b"\0")], "linear"),
        ([(b"gAMA", struct.pack(">I", 45455)), (b"cHRM", chromaticities(_PRIMARIES[9]))], "rec 2020"),
        ([(b"iCCP", b"p\0\0" + zlib.compress(PROFILES["prophoto"])), (b"gAMA", struct.pack(">I", 100000))], "prophoto"),
    ],
)
def test_png_chunks_state_the_colors(chunks: list[tuple[bytes, bytes]], profile: str) -> None:
    other = in_space(RGB, PROFILES[profile])
    assert difference(with_chunks(other, *(chunk(*pair) for pair in chunks))) <= ROUNDING


@pytest.mark.parametrize(
    "chunks",
    [
        [(b"gAMA", struct.pack(">I", 45455))],
        [(b"gAMA", struct.pack(">I", 45455)), (b"cHRM", chromaticities(_BT709))],
        [(b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 100000))],
        [(b"cICP", bytes([1, 13, 0, 1]))],
    ],
)
def test_png_chunks_that_state_srgb_leave_the_numbers_alone(chunks: list[tuple[bytes, bytes]]) -> None:
    data = with_chunks(Image.fromarray(RGB), *(chunk(*pair) for pair in chunks))
    assert difference(data) == 0 and decode_image(data, "x").notes == ()


@pytest.mark.parametrize(
    "content",
    [
        (b"iCCP", b"p\0\0nonsense"),
        (b"iCCP", b"p\0\0" + zlib.compress(bytes(200_000))),
        (b"iCCP", b"p\0\0" + zlib.compress(bytes(20_000_000))),
        (b"iCCP", b""),
        (b"gAMA", struct.pack(">I", 0)),
        (b"cHRM", bytes(32)),
        (b"cICP", bytes([99, 99, 0, 1])),
        (b"iCCP", b"p\0\0" + zlib.compress(gray_profile(1.0))),
    ],
    ids=str,
)
def test_impossible_statements_are_ignored_with_a_note(content: tuple[bytes, bytes]) -> None:
    photo = decode_image(with_chunks(Image.fromarray(RGB), chunk(*content)), "x")
    assert (photo.rgb == RGB).all()
    assert len(photo.notes) == 1 and "ignored" in photo.notes[0]


def test_a_profile_of_three_megabytes_is_honored() -> None:
    small = PROFILES["display p3"]
    large = struct.pack(">I", 3_000_000) + small[4:].ljust(3_000_000 - 4, b"\0")
    other = in_space(RGB, small)
    assert difference(with_chunks(other, chunk(b"iCCP", b"p\0\0" + zlib.compress(large)))) <= ROUNDING


def test_gray_images_use_gray_and_color_profiles() -> None:
    gray = np.asarray(Image.fromarray(RGB).convert("L"))
    light = np.where(gray > 10, ((gray / 255 + 0.055) / 1.055) ** 2.4, gray / 255 / 12.92)
    linear = Image.fromarray(np.rint(light * 255).astype(np.uint8))
    three = np.repeat(gray[..., None], 3, 2)
    bright = np.repeat((gray > 60)[..., None], 3, 2)
    pixels = decode_image(saved(linear, icc_profile=gray_profile(1.0)), "x").rgb
    assert np.abs(pixels.astype(int) - three)[bright].max() <= 4
    assert difference(saved(Image.fromarray(gray), icc_profile=srgb_profile()), three) == 0
    assert difference(saved(Image.fromarray(gray), icc_profile=PROFILES["display p3"]), three) <= 1


def test_profiles_of_palette_and_transparent_images_are_converted() -> None:
    profile = PROFILES["display p3"]
    other = in_space(RGB, profile)
    transparent = Image.merge("RGBA", [*other.split(), Image.new("L", other.size, 254)])
    assert difference(saved(transparent, icc_profile=profile)) <= ROUNDING
    palette = other.quantize(64)
    expected = decode_image(saved(palette.convert("RGB"), icc_profile=profile), "x").rgb
    assert difference(saved(palette, icc_profile=profile), expected) == 0


def test_a_print_image_with_a_profile_of_a_screen_is_read_with_a_note() -> None:
    data = saved(Image.fromarray(RGB).convert("CMYK"), "JPEG", quality=99, icc_profile=PROFILES["display p3"])
    assert "another kind" in decode_image(data, "x").notes[0] and difference(data) <= 4


def test_lab_images_are_read() -> None:
    lab = ImageCms.profileToProfile(
        Image.fromarray(RGB), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    assert np.abs(decode_image(saved(lab, "TIFF"), "x").rgb.astype(int) - RGB).mean() < 3


@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_images_are_refused(transfer: int) -> None:
    stated = chunk(b"cICP", bytes([9, transfer, 0, 1]))
    with pytest.raises(DistillError, match=r"^x: the image is HDR \((PQ|HLG)\)"):
        decode_image(with_chunks(Image.fromarray(RGB), stated), "x")


def test_hdr_avif_images_are_refused() -> None:
    data = bytearray(saved(Image.fromarray(RGB), "AVIF"))
    at = data.index(b"colrnclx")
    data[at + 8 : at + 12] = struct.pack(">HH", 9, 16)
    with pytest.raises(DistillError, match="HDR"):
        decode_image(bytes(data), "x")


@pytest.mark.parametrize(("interoperability", "is_converted"), [("R03", True), ("R98", False), (None, False)])
def test_exif_states_adobe_rgb(interoperability: str | None, is_converted: bool) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 0xFFFF
    if interoperability:
        exif.get_ifd(0x8769)[0xA005] = {1: interoperability}
    other = in_space(RGB, PROFILES["adobe rgb"])
    data = saved(other, "JPEG", quality=99, subsampling=0, exif=exif)
    expected = RGB if is_converted else np.asarray(other)
    assert np.abs(decode_image(data, "x").rgb.astype(int) - expected).mean() < 2


def test_profiles_of_jpeg_2000_are_converted() -> None:
    other = in_space(RGB, PROFILES["display p3"])
    data = saved(other, "JPEG2000", irreversible=False)
    at = data.index(b"colr") - 4
    stated = b"colr\2\0\0" + PROFILES["display p3"]
    box = struct.pack(">I", len(stated) + 4) + stated
    old = int.from_bytes(data[at : at + 4], "big")
    header = data.index(b"jp2h") - 4
    grown = int.from_bytes(data[header : header + 4], "big") + len(box) - old
    data = data[:header] + struct.pack(">I", grown) + data[header + 4 : at] + box + data[at + old :]
    assert difference(data) <= ROUNDING


def test_numbers_of_maps_are_never_converted() -> None:
    profile = PROFILES["linear"]
    ids = (np.arange(48 * 64) % 200).astype(np.uint8).reshape(48, 64)
    depth = (ids.astype(np.uint16) * 300).astype(np.uint16)
    for stored in (ids, depth, RGB):
        for kind in ("PNG", "TIFF"):
            data = saved(Image.fromarray(stored), kind, icc_profile=profile)
            assert (decode_map(data, "x") == stored).all()
    assert (decode_map(with_chunks(Image.fromarray(ids), chunk(b"gAMA", struct.pack(">I", 100000))), "x") == ids).all()
    assert (decode_color_map(saved(Image.fromarray(RGB), icc_profile=profile), "x") == RGB).all()
