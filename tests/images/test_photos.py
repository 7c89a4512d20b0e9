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
from distill.images import decode_map, decode_rgb, encode_jpeg, encode_map, image_size_hw, read_photo
from tests.builders.images import saved, smooth_rgb

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def test_the_format_is_detected_from_the_bytes() -> None:
    rgb, suffix = decode_rgb(saved(Image.fromarray(PIXELS), "JPEG", quality=100, subsampling=0), "answer.png")
    assert suffix == "jpg" and rgb.shape == PIXELS.shape


OPTIONS: dict[str, dict[str, object]] = {
    "PNG": {},
    "WEBP": {"lossless": True},
    "TIFF": {"compression": "tiff_lzw"},
    "JPEG": {"quality": 99, "subsampling": 0},
    "AVIF": {"quality": 99, "subsampling": "4:4:4"},
}


@pytest.mark.parametrize("kind", OPTIONS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(orientation: int, kind: str) -> None:
    """The eight orientations of the EXIF specification, mirrored ones included."""
    stored = smooth_rgb()
    turned = np.rot90(stored, {3: 2, 4: 2, 5: 1, 6: -1, 7: -1, 8: 1}.get(orientation, 0))
    shown = {2: turned[:, ::-1], 4: turned[:, ::-1], 5: turned[::-1], 7: turned[::-1]}.get(orientation, turned)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(stored), kind, exif=exif, **OPTIONS[kind])
    photo = read_photo(data, key="k", name="x")
    assert photo.size_hw == image_size_hw(data, "x") == photo.rgb.shape[:2] == shown.shape[:2]
    assert np.abs(photo.rgb.astype(int) - shown).mean() < 2


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_impossible_orientation_is_none(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(PIXELS), exif=exif)
    assert (decode_rgb(data, "x")[0] == PIXELS).all() and image_size_hw(data, "x") == (20, 30)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "TIFF", "AVIF"])
def test_the_first_frame_of_several_is_read_with_a_note(kind: str) -> None:
    first = Image.fromarray(smooth_rgb())
    data = saved(first, kind, save_all=True, append_images=[Image.new("RGB", first.size)])
    photo = read_photo(data, key="k", name="x")
    assert len(photo.notes) == 1 and "the first was read" in photo.notes[0]
    assert np.abs(photo.rgb.astype(int) - np.asarray(first)).mean() < 20


def test_the_second_image_of_an_mpo_is_no_frame() -> None:
    first = Image.fromarray(smooth_rgb())
    data = saved(first, "MPO", save_all=True, append_images=[first.resize((32, 24))])
    photo = read_photo(data, key="k", name="x")
    assert photo.notes == () and photo.suffix == "jpg" and photo.rgb.shape == (48, 64, 3)


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


def test_pngs_have_the_pixels_of_pillow_with_and_without_transparency() -> None:
    for options in ({}, {"transparency": tuple(PIXELS[3, 4].tolist())}):
        data = saved(Image.fromarray(PIXELS), **options)
        on_white = np.where((PIXELS[3, 4] == PIXELS).all(axis=-1, keepdims=True) if options else False, 255, PIXELS)
        np.testing.assert_array_equal(decode_rgb(data, "x")[0], on_white)


def test_pngs_with_damaged_pixels_are_errors() -> None:
    data = saved(Image.fromarray(PIXELS))
    middle = len(data) // 2
    for damaged in (data[:middle], data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]):
        with pytest.raises(DistillError, match=r"^x: "):
            decode_rgb(damaged, "x")
