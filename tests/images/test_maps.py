"""Label maps: exact numbers out of every file that annotation tools write."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy import ndarray
from PIL import Image

from distill.errors import DistillError
from distill.images import decode_color_map, decode_map, encode_map, is_lossy
from tests.builders.images import gray_png, gray_tiff, saved, smooth_rgb

IDS = np.random.default_rng(0).integers(0, 4, (12, 17)).astype(np.uint8)
COLORS = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0] + [0] * 756


def palette(ids: ndarray = IDS) -> Image.Image:
    picture = Image.fromarray(ids).copy()
    picture.putpalette(COLORS)
    return picture


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_maps_come_back_bit_for_bit(dtype: type, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)
    back = decode_map(encode_map(values), "map")
    assert back.dtype == values.dtype and (back == values).all()


FILES = {
    "gray": saved(Image.fromarray(IDS)),
    "gray, transparent color": saved(Image.fromarray(IDS), transparency=0),
    "gray and alpha": saved(Image.merge("LA", [Image.fromarray(IDS), Image.new("L", IDS.shape[::-1], 255)])),
    "16 bits": saved(Image.fromarray(IDS.astype(np.uint16))),
    "2 bits": gray_png(IDS, 2),
    "4 bits": gray_png(IDS, 4),
    "palette": saved(palette()),
    "palette, 2 bits": saved(palette(), bits=2),
    "palette, transparent": saved(palette(), transparency=0),
    "palette, TIFF": saved(palette(), "TIFF"),
    "palette, GIF": saved(palette(), "GIF"),
    "palette, BMP": saved(palette(), "BMP"),
    "gray, GIF": saved(Image.fromarray(IDS), "GIF"),
    "TIFF": saved(Image.fromarray(IDS), "TIFF", compression="tiff_lzw"),
    "TIFF, 4 bits": gray_tiff(IDS, 4),
    "TIFF, 2 bits": gray_tiff(IDS, 2),
    "TIFF, integers": saved(Image.fromarray(IDS.astype(np.int32)), "TIFF"),
    "TIFF, floats": saved(Image.fromarray(IDS.astype(np.float32)), "TIFF"),
    "BigTIFF": saved(Image.fromarray(IDS), "TIFF", big_tiff=True),
    "PGM": saved(Image.fromarray(IDS), "PPM"),
}


@pytest.mark.parametrize("name", FILES)
def test_ids_are_read_exactly(name: str) -> None:
    values = decode_map(FILES[name], name)
    assert values.shape == IDS.shape and (values == IDS).all()
    assert not is_lossy(FILES[name], name)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_masks_of_one_bit_hold_zero_and_one(kind: str) -> None:
    mask = IDS > 1
    values = decode_map(saved(Image.fromarray(mask), kind), "x")
    assert sorted(np.unique(values)) == [0, 1] and (values == mask).all()


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colors_are_in_rgb_order_without_alpha(mode: str) -> None:
    rgb = smooth_rgb()
    for kind in ("PNG", "TIFF"):
        data = saved(Image.fromarray(rgb).convert(mode), kind)
        assert (decode_map(data, "x") == rgb).all() and (decode_color_map(data, "x") == rgb).all()


def test_colors_of_a_palette_are_those_of_its_table() -> None:
    expected = np.array(COLORS, np.uint8).reshape(-1, 3)[IDS]
    assert (decode_color_map(saved(palette()), "x") == expected).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_maps_in_a_tiff_are_turned_once(orientation: int) -> None:
    values = np.arange(12 * 17, dtype=np.uint8).reshape(12, 17)
    exif = Image.Exif()
    exif[0x0112] = orientation
    shown = decode_color_map(saved(Image.fromarray(values), "TIFF", exif=exif), "x")[..., 0]
    assert (decode_map(saved(Image.fromarray(values), "TIFF", exif=exif), "x") == shown).all()
    assert (shown.shape == (12, 17)) == (orientation < 5)


def test_lossy_formats_are_named() -> None:
    picture = Image.fromarray(smooth_rgb())
    assert all(is_lossy(saved(picture, kind), "x") for kind in ("JPEG", "WEBP", "AVIF", "MPO"))
    assert is_lossy(saved(picture, "JPEG2000", irreversible=True), "x")
    assert is_lossy(saved(picture, "TIFF", compression="jpeg"), "x")
    assert not is_lossy(saved(picture, "WEBP", lossless=True), "x")
    assert not is_lossy(saved(picture, "JPEG2000", irreversible=False), "x")


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", FILES["gray"][:60], FILES["palette"][:60], b"\0" * 99])
def test_damaged_maps_are_named(data: bytes) -> None:
    with pytest.raises(DistillError, match=r"^a/b\.png: "):
        decode_map(data, "a/b.png")


def test_huge_maps_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_MAX_PIXELS", "203")
    for name in ("gray", "palette", "TIFF"):
        with pytest.raises(DistillError, match="over the limit"):
            decode_map(FILES[name], "x")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[: len(data) // 2], "ends too early"),
        (lambda data: data[:40], "ends too early"),
        (lambda data: data[:-12], "ends too early"),
        (lambda data: data[:60] + bytes([data[60] ^ 255]) + data[61:], "checksum"),
    ],
)
def test_damaged_pngs_are_named_without_a_word_of_the_decoder(
    damage: Callable[[bytes], bytes], reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = encode_map(np.random.default_rng(0).integers(0, 60000, (40, 50), np.uint16))
    with pytest.raises(DistillError, match=rf"map\.png: the map is damaged or not readable: .*{reason}"):
        decode_map(damage(whole), "map.png")
    assert capfd.readouterr() == ("", "")
