"""PNG files: what surrounds the pixels never costs the image."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from distill.errors import DistillError
from distill.images import decode_image, decode_map, png_chunks
from distill.images.png_chunks import read_png
from tests.builders.images import chunk, saved, smooth_rgb, with_chunks

RGB = smooth_rgb()
TEXT = zlib.compress(b"y" * 3_000_000)
ODD_CHUNKS = {
    "long text": chunk(b"tEXt", b"workflow\0" + b"x" * 3_000_000),
    "compressed text": chunk(b"zTXt", b"workflow\0\0" + TEXT),
    "compressed international text": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + TEXT),
    "more text than Pillow's limit": chunk(b"zTXt", b"k\0\0" + zlib.compress(b"y" * 900_000)) * 90,
    "broken compressed text": chunk(b"zTXt", b"k\0\0nonsense"),
    "broken EXIF": chunk(b"eXIf", b"II*\0\xff\xff\xff\xff"),
    "empty EXIF": chunk(b"eXIf", b""),
    "no resolution": chunk(b"pHYs", struct.pack(">IIB", 0, 0, 1)),
    "content credentials": chunk(b"caBX", b"jumbf" * 1000),
    "wrong checksum": chunk(b"tEXt", b"a\0b")[:-4] + bytes(4),
    "wrong checksum of a profile": chunk(b"iCCP", b"p\0\0" + zlib.compress(b"x"))[:-4] + bytes(4),
}


@pytest.mark.parametrize("name", ODD_CHUNKS)
def test_odd_chunks_never_cost_the_pixels(name: str) -> None:
    data = with_chunks(Image.fromarray(RGB), ODD_CHUNKS[name])
    assert (decode_image(data, "x").rgb == RGB).all()
    assert (decode_map(data, "x") == RGB).all()


def test_text_after_the_pixels_and_trailing_bytes_are_left_out() -> None:
    data = saved(Image.fromarray(RGB))
    end = data.index(b"IEND") - 4
    for odd in (data[:end] + ODD_CHUNKS["compressed text"] + data[end:], data + bytes(5000), data + b"\xff\xd8\xff"):
        assert (decode_image(odd, "x").rgb == RGB).all()


@pytest.mark.parametrize("missing", [1, 4, 11, 12])
def test_a_missing_end_chunk_costs_nothing(missing: int) -> None:
    assert (decode_image(saved(Image.fromarray(RGB))[:-missing], "x").rgb == RGB).all()


@pytest.mark.parametrize("missing", [17, 40, 300])
def test_missing_pixels_are_an_error(missing: int) -> None:
    with pytest.raises(DistillError, match=r"^x: the image cannot be decoded"):
        decode_image(saved(Image.fromarray(RGB))[:-missing], "x")


def test_a_plain_file_is_not_copied() -> None:
    data = saved(Image.fromarray(RGB))
    assert read_png(data)[0] is data


def test_more_chunks_than_any_encoder_writes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png_chunks, "_MAX_CHUNKS", 1000)
    data = with_chunks(Image.fromarray(RGB), chunk(b"teXt", b"") * 1001)
    with pytest.raises(DistillError, match="more than a million chunks"):
        decode_image(data, "x")


def test_orientation_is_read_from_exif_and_xmp() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = np.rot90(RGB, -1)
    xmp = b'XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    assert (decode_image(saved(Image.fromarray(RGB), exif=exif), "x").rgb == turned).all()
    assert (decode_image(with_chunks(Image.fromarray(RGB), chunk(b"iTXt", xmp)), "x").rgb == turned).all()
