"""Image files with unusual formats, chunks and color profiles."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from numpy import ndarray
from PIL import Image, ImageCms

PNG_HEADER_BYTES = 33


def saved(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def smooth_rgb(height: int = 48, width: int = 64) -> ndarray:
    """A picture without sharp borders, which survives JPEG."""
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_chunks(picture: Image.Image, *chunks: bytes) -> bytes:
    """A PNG with these chunks after its header."""
    data = saved(picture)
    return data[:PNG_HEADER_BYTES] + b"".join(chunks) + data[PNG_HEADER_BYTES:]


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def in_space(rgb: ndarray, profile: bytes) -> Image.Image:
    """The same colors with the numbers of another color space."""
    target = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    converted = ImageCms.profileToProfile(
        Image.fromarray(rgb), ImageCms.createProfile("sRGB"), target, ImageCms.Intent.RELATIVE_COLORIMETRIC
    )
    assert converted is not None
    converted.info.clear()  # else the profile is saved, too
    return converted


def gray_profile(gamma: float) -> bytes:
    """A profile for gray images with a power law."""
    d50 = struct.pack(">3i", 63190, 65536, 54061)
    curve = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, round(gamma * 256))
    white = b"XYZ \0\0\0\0" + d50
    table = struct.pack(">4sII", b"wtpt", 156, len(white)) + struct.pack(">4sII", b"kTRC", 156 + len(white), len(curve))
    header = struct.pack(">I4sI4s4s4s", 156 + len(white) + len(curve), b"", 0x02400000, b"mntr", b"GRAY", b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + d50
    return header.ljust(128, b"\0") + struct.pack(">I", 2) + table + white + curve


def gray_tiff(values: ndarray, bits: int) -> bytes:
    """An uncompressed gray TIFF of any number of bits, rows padded to bytes."""
    height, width = values.shape
    planes = (values[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    rows = np.packbits(planes.reshape(height, width * bits).astype(np.uint8), axis=1).tobytes()
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, 1), (273, 8), (277, 1), (278, height)]
    tags.append((279, len(rows)))
    table = b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in tags)
    return struct.pack("<4sI", b"II*\0", 8 + len(rows)) + rows + struct.pack("<H", len(tags)) + table + bytes(4)


def gray_png(values: ndarray, bits: int) -> bytes:
    """A gray PNG of 1, 2 or 4 bits."""
    height, width = values.shape
    planes = (values[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    rows = np.packbits(planes.reshape(height, width * bits).astype(np.uint8), axis=1)
    filtered = np.pad(rows, ((0, 0), (1, 0))).tobytes()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(filtered)) + chunk(b"IEND", b"")
