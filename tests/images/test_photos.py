"""Photos and maps on disk."""

from __future__ import annotations

import io
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from distill.errors import DistillError
from distill.files import write_atomic
from distill.images import decode_map, decode_rgb, encode_jpeg, encode_map, read_photo

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def saved(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_maps_come_back_bit_for_bit(dtype: type, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)
    back = decode_map(encode_map(values), "map")
    assert back.dtype == values.dtype and (back == values).all()


def test_the_format_is_detected_from_the_bytes() -> None:
    rgb, suffix = decode_rgb(saved(Image.fromarray(PIXELS), "JPEG", quality=100, subsampling=0), "answer.png")
    assert suffix == "jpg" and rgb.shape == PIXELS.shape


def test_sixteen_bit_gray_is_scaled_and_not_clipped() -> None:
    stored = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    rgb, _ = decode_rgb(saved(Image.fromarray(stored)), "x")
    assert np.abs(rgb[..., 0].astype(float) - stored / 257).max() <= 0.5


def test_transparent_pixels_become_white() -> None:
    rgba = np.zeros((20, 30, 4), np.uint8)
    rgba[:10, :, 0], rgba[:10, :, 3] = 255, 255
    rgb, _ = decode_rgb(saved(Image.fromarray(rgba)), "x")
    assert (rgb[0, 0] == (255, 0, 0)).all() and (rgb[15, 0] == 255).all()


@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (-1, -1)), (6, (0, -1)), (8, (-1, 0))])
def test_orientation_is_applied(orientation: int, corner: tuple[int, int]) -> None:
    pixels = np.zeros((16, 24, 3), np.uint8)
    pixels[:4, :4] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    rgb, _ = decode_rgb(saved(Image.fromarray(pixels), exif=exif), "x")
    assert rgb[corner][0] == 255 and rgb[::-1, ::-1][corner][0] == 0


def test_huge_images_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_MAX_PIXELS", "599")
    with pytest.raises(DistillError, match="over the limit"):
        decode_rgb(saved(Image.fromarray(PIXELS)), "x")
    with pytest.raises(DistillError, match="over the limit"):
        decode_map(encode_map(PIXELS), "x")


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"<svg/>", bytes(1000)])
def test_damaged_bytes_raise_an_error_with_the_file_name(data: bytes) -> None:
    with pytest.raises(DistillError, match=r"^here/one\.jpg: ") as caught:
        decode_rgb(data, "here/one.jpg")
    assert "0x" not in str(caught.value) and "\n" not in str(caught.value)


def test_truncated_images_are_read_or_refused() -> None:
    for data in (saved(Image.fromarray(PIXELS)), encode_jpeg(PIXELS)):
        for length in range(0, len(data) - 20, max(1, len(data) // 40)):
            with pytest.raises(DistillError):
                decode_rgb(data[:length], "x")


def test_a_thin_image_is_refused() -> None:
    with pytest.raises(DistillError, match="too small"):
        read_photo(saved(Image.fromarray(PIXELS[:1])), key="x", name="x.png")


def test_files_are_written_atomically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DistillError, match="No space left"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["file"]


def test_large_jpegs_are_decoded_at_a_reduced_size() -> None:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (15, 20, 3), dtype=np.uint8)
    rgb = cv2.resize(small, (800, 600), interpolation=cv2.INTER_CUBIC)
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=95)
    data = buffer.getvalue()
    whole = read_photo(data, key="k", name="a.jpg")
    enough = read_photo(data, key="k", name="a.jpg", min_size_hw=(150, 190))
    assert (whole.size_hw, enough.size_hw) == ((600, 800), (600, 800))
    assert enough.rgb.shape == (150, 200, 3)
    assert np.abs(cv2.resize(whole.rgb, (200, 150), interpolation=cv2.INTER_AREA) - enough.rgb.astype(int)).max() < 8
    assert read_photo(data, key="k", name="a.jpg", min_size_hw=(301, 100)).rgb.shape == (600, 800, 3)


def test_rotated_jpegs_are_decoded_at_a_reduced_size() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((400, 800, 3), np.uint8)).save(buffer, "JPEG", exif=exif)
    photo = read_photo(buffer.getvalue(), key="k", name="a.jpg", min_size_hw=(400, 100))
    assert (photo.size_hw, photo.rgb.shape) == ((800, 400), (400, 200, 3))
    assert read_photo(buffer.getvalue(), key="k", name="a.jpg", min_size_hw=(100, 300)).rgb.shape == (800, 400, 3)
