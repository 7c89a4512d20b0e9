"""Label maps as images: exact numbers in and out, never converted between color spaces."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8
from numpy import ndarray
from PIL import Image

from distill.errors import DistillError
from distill.images.file_format import check_pixel_count, open_image
from distill.images.png_chunks import PNG_SIGNATURE, find_damage, read_png

_BITS_PER_SAMPLE = 258
_JPEG_COMPRESSED_TIFF = (6, 7, 34892)
_COMPRESSION = 259
_PNG_PALETTE, _PNG_GRAY, _PNG_GRAY_ALPHA = 3, 0, 4

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # a damaged file is reported in a sentence, once

# Level 1 and one filter for all rows: 18 ms and 565 kB for a 1280x720 depth map decoded from a generated image, where
# trying five filters per row and OpenCV's default strategy take 33 ms and 1040 kB. Run lengths are best for 8-bit maps
# (normals, ids) and for network outputs, whose neighbors are hardly ever equal: half the time, equal size.
_PNG_MATCHES = [
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT),
]
_PNG_RUNS = [*_PNG_MATCHES[:-1], cv2.IMWRITE_PNG_STRATEGY_RLE]
_EQUAL_NEIGHBORS = 0.1
"""A map with a larger share of equal neighbors was decoded from a generated image, or is flat."""


def encode_map(values: Shaped[ndarray, "h w *c"]) -> bytes:
    """Encode a uint8 or uint16 map (gray, or RGB in the last axis) as a lossless PNG."""
    ordered = values[..., ::-1] if values.ndim == 3 else values
    equal = values[::8, 1:] == values[::8, :-1]
    matches = values.itemsize > 1 and np.count_nonzero(equal) > _EQUAL_NEIGHBORS * equal.size
    done, data = cv2.imencode(".png", np.ascontiguousarray(ordered), _PNG_MATCHES if matches else _PNG_RUNS)
    if not done:
        raise DistillError(f"a map of {values.dtype} and shape {values.shape} cannot be written as PNG")
    return data.tobytes()


def decode_map(data: bytes, name: str) -> Shaped[ndarray, "h w *c"]:
    """Numbers of a map in any lossless format, exactly as stored; the inverse of `encode_map`.

    Palette images give their indices, gray of 1, 2 and 4 bits its levels from 0, three channels are in RGB order and
    alpha is left out. TIFFs are rotated as their orientation states; PNGs are not.

    Raises:
        DistillError: Not a readable image, or too large.
    """
    if data.startswith(PNG_SIGNATURE) and len(data) > 33:
        # Width and height from the header, checked before decompression.
        check_pixel_count((int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")), name)
        bits, color_type = data[24], data[25]
        if color_type == _PNG_PALETTE:
            return _pillow_values(data, name)
        values = _opencv_values(data, name)
        if color_type == _PNG_GRAY and bits < 8:
            # Levels are stretched to 0..255 when they are decoded; ids must not be.
            values = values // (255 // (2**bits - 1))
        return values[..., 0] if color_type == _PNG_GRAY_ALPHA and values.ndim == 3 else _in_rgb_order(values)
    with open_image(data, name) as image:
        divisor = _stretched_by(image)
        is_exact = image.mode in ("P", "PA", "1") or image.format == "GIF" or divisor > 1
    if is_exact:
        return _pillow_values(data, name) // divisor
    return _in_rgb_order(_opencv_values(data, name))


def decode_color_map(data: bytes, name: str, *, alpha: bool = False) -> UInt8[ndarray, "h w c"]:
    """Colors of a map whose classes or numbers are encoded as RGB or RGBA, exactly as stored.

    Raises:
        DistillError: Not a readable image, or too large.
    """
    with open_image(data, name) as image:
        return np.array(image.convert("RGBA" if alpha else "RGB"))


def is_lossy(data: bytes, name: str) -> bool:
    """Whether the format stores approximate values: JPEG, and other formats unless they state to be lossless.

    Raises:
        DistillError: Not a readable image.
    """
    with open_image(data, name) as image:
        if image.format == "TIFF":
            tags: Any = getattr(image, "tag_v2", {})
            return tags.get(_COMPRESSION) in _JPEG_COMPRESSED_TIFF
        if image.format == "WEBP":
            return b"VP8L" not in data or b"VP8 " in data
        if image.format == "JPEG2000":
            at = data.find(b"\xff\x52")  # the byte names the wavelet: 0 is the irreversible one
            return at < 0 or data[at + 13 : at + 14] == b"\0"
        return image.format in ("JPEG", "MPO", "AVIF", "HEIF")


def _opencv_values(data: bytes, name: str) -> ndarray:
    """Values as OpenCV decodes them; PNGs are checked first, because libpng writes its errors to the terminal."""
    values: ndarray | None = None
    damage = ""
    try:
        is_png = data.startswith(PNG_SIGNATURE)
        damage = find_damage(data) if is_png else ""
        if not damage:
            plain = read_png(data)[0] if is_png else data
            values = cv2.imdecode(np.frombuffer(plain, np.uint8), cv2.IMREAD_UNCHANGED)
    except (cv2.error, MemoryError, ValueError):
        values = None
    if values is None:
        raise DistillError(
            f"{name}: the map is damaged or not readable{f': {damage}' if damage else ''}",
            hint="use PNG, TIFF or .npy; rebuild a shard",
        )
    return values


def _in_rgb_order(values: ndarray) -> ndarray:
    if values.ndim == 2:
        return values
    return np.ascontiguousarray(values[..., 2::-1] if values.shape[2] >= 3 else values[..., 0])


def _pillow_values(data: bytes, name: str) -> ndarray:
    """Indices of a palette image, or gray levels."""
    with open_image(data, name) as image:
        values: ndarray = np.array(image).astype(np.uint8, copy=False)
        return values[..., 0] if values.ndim == 3 else values


def _stretched_by(image: Image.Image) -> int:
    """Factor by which Pillow multiplies gray levels of 2 and 4 bits in a TIFF."""
    if image.format != "TIFF" or image.mode != "L":
        return 1
    tags: Any = getattr(image, "tag_v2", {})
    bits = int(tags.get(_BITS_PER_SAMPLE, (8,))[0])
    return 255 // (2**bits - 1) if 0 < bits < 8 else 1
