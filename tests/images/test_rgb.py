"""Levels of every mode as 8-bit RGB: one white per format, alpha over white."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from distill.errors import DistillError
from distill.images import convert_to_srgb, decode_image, rgb
from tests.builders.images import gray_tiff, saved, smooth_rgb

GRAY = np.asarray(Image.fromarray(smooth_rgb()).convert("L"))


def gray_of(data: bytes) -> np.ndarray:
    pixels = decode_image(data, "x").rgb
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0].astype(int)


def test_sixteen_bits_are_scaled_by_the_format() -> None:
    stored = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    for kind in ("PNG", "TIFF", "JPEG2000"):
        assert np.abs(gray_of(saved(Image.fromarray(stored), kind)) - stored / 257).max() <= 0.5


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_the_stated_bits_of_a_tiff_are_its_range(bits: int) -> None:
    stored = np.rint(GRAY / 255 * (2**bits - 1)).astype(int)
    photo = decode_image(gray_tiff(stored, bits), "x")
    assert np.abs(photo.rgb[..., 0].astype(int) - GRAY).max() <= 1 and photo.notes == ()


def test_the_stated_maximum_of_a_pgm_is_its_white() -> None:
    stored = np.rint(GRAY / 255 * 4095).astype(">u2")
    assert np.abs(gray_of(b"P5 64 48 4095\n" + stored.tobytes()) - GRAY).max() <= 1


@pytest.mark.parametrize("factor", [1, 16])
def test_a_dark_deep_photo_is_not_brightened_but_noted(factor: int) -> None:
    photo = decode_image(saved(Image.fromarray(GRAY.astype(np.uint16) * factor)), "x")
    assert photo.rgb.max() == round(int(GRAY.max()) * factor / 257)
    assert len(photo.notes) == 1 and "16 bits" in photo.notes[0]


def test_two_photos_of_one_set_keep_their_brightness() -> None:
    dark, light = (decode_image(saved(Image.fromarray(GRAY.astype(np.uint16) * k)), "x").rgb for k in (20, 200))
    assert 8 < light.mean() / dark.mean() < 12


def test_floats_from_zero_to_one_are_read_and_others_are_not() -> None:
    assert (gray_of(saved(Image.fromarray(GRAY / np.float32(255)), "TIFF")) == GRAY).all()
    for values in (GRAY.astype(np.float32), GRAY / np.float32(-255), GRAY.astype(np.int32) * 70000):
        with pytest.raises(DistillError, match="where white is not defined"):
            decode_image(saved(Image.fromarray(values), "TIFF"), "x")


@pytest.mark.parametrize("alpha", [250, 252, 254, 255])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_high_alpha_is_opaque(mode: str, alpha: int) -> None:
    picture = Image.fromarray(smooth_rgb()).convert("RGB" if mode == "RGBA" else "L")
    layers = Image.merge(mode, [*picture.split(), Image.new("L", picture.size, alpha)])
    photo = decode_image(saved(layers), "x", with_opaque=True)
    assert (photo.rgb == np.asarray(picture.convert("RGB"))).all() and photo.opaque is None


def test_transparent_pixels_are_white_and_not_opaque() -> None:
    rgba = np.zeros((20, 30, 4), np.uint8)
    rgba[:10, :, 0], rgba[:10, :, 3] = 255, 255
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = decode_image(saved(Image.fromarray(rgba), exif=exif), "x", with_opaque=True)
    assert photo.opaque is not None and photo.opaque.shape == (30, 20)
    assert (photo.rgb[photo.opaque] == (255, 0, 0)).all() and (photo.rgb[~photo.opaque] == 255).all()
    assert photo.opaque.mean() == 0.5


@pytest.mark.parametrize("mode", ["1", "L", "P", "PA", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_strips_give_the_same_pixels(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Image.fromarray(smooth_rgb())
    picture = Image.fromarray(GRAY.astype(np.uint16) * 257) if mode == "I;16" else picture.convert(mode)
    whole = convert_to_srgb(picture, "x")
    monkeypatch.setattr(rgb, "_STRIP_PIXELS", 64 * 7)
    assert (convert_to_srgb(picture, "x") == whole).all()


def test_cmyk_and_ycck_jpegs_are_read() -> None:
    picture = Image.fromarray(smooth_rgb())
    data = saved(picture.convert("CMYK"), "JPEG", quality=99)
    assert np.abs(decode_image(data, "x").rgb.astype(int) - np.asarray(picture)).max() < 8
    at = data.index(b"Adobe")
    ycck = data[: at + 11] + b"\2" + data[at + 12 :]
    assert decode_image(ycck, "x").rgb.shape == (48, 64, 3)


def test_pillow_images_of_16_bits_are_not_cut_off() -> None:
    stored = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    assert np.abs(convert_to_srgb(Image.fromarray(stored), "x")[..., 0] - stored / 257).max() <= 0.5
