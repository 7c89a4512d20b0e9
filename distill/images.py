"""Read and write photos and PNG maps: EXIF orientation applied, size limits checked before decoding."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8
from numpy import ndarray
from PIL import Image, ImageOps

from distill.errors import DistillError

MAX_PIXELS = int(os.environ.get("DISTILL_MAX_PIXELS", "128000000"))
"""Larger images are refused before decoding: a few kilobytes can expand to gigabytes (decompression bomb)."""
MIN_SIDE_PX = 8
"""Smaller photos are refused: too small to learn from."""

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".jp2", ".avif"}
)
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
}

# `MAX_PIXELS` is checked first; Pillow's own limit only prints a warning at half of it.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True, slots=True)
class Photo:
    """A decoded photo with the bytes of its file.

    Attributes:
        key: Key of its sample; unique and stable within a job, without a dot.
        name: Display name: the path, or video and frame number.
        data: Bytes of the file.
        suffix: Suffix of the format detected from the bytes, such as ``jpg``; the file name does not count.
        rgb: Pixels with orientation applied, alpha over white, 16 bit scaled to 8. Smaller than the photo if it was
            read with `min_size_hw`.
        sha256: Of `data`, in hex.
        origin: Source of a rendered photo, such as ``{"scene": 12}``.
        full_hw: (height, width) of the photo after orientation, if `rgb` is smaller.
    """

    key: str
    name: str
    data: bytes
    suffix: str
    rgb: UInt8[ndarray, "h w 3"]
    sha256: str
    origin: dict[str, int | float | str]
    full_hw: tuple[int, int] | None = None

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) of the photo after orientation, also if `rgb` is smaller."""
        return self.full_hw or (self.rgb.shape[0], self.rgb.shape[1])


def read_photo(
    data: bytes,
    *,
    key: str,
    name: str,
    origin: dict[str, int | float | str] | None = None,
    min_size_hw: tuple[int, int] | None = None,
) -> Photo:
    """Decode a photo.

    Args:
        data: Bytes of the file.
        key: As `Photo.key`.
        name: As `Photo.name`.
        origin: As `Photo.origin`.
        min_size_hw: Pixels may be decoded at any size not below this one; a large JPEG takes a third of the time.

    Raises:
        DistillError: Empty, not an image, truncated, too large or too small.
    """
    rgb, suffix, full_hw = _decode(data, name, min_size_hw)
    if min(full_hw) < MIN_SIDE_PX:
        raise DistillError(
            f"{name}: {full_hw[1]}x{full_hw[0]} px is too small; both sides need at least {MIN_SIDE_PX} px",
            hint="remove it",
        )
    smaller = full_hw if full_hw != rgb.shape[:2] else None
    return Photo(key, name, data, suffix, rgb, hashlib.sha256(data).hexdigest(), origin or {}, smaller)


def decode_rgb(data: bytes, name: str) -> tuple[UInt8[ndarray, "h w 3"], str]:
    """(pixels, suffix of the detected format) of any image that Pillow reads; the first frame of an animation.

    Raises:
        DistillError: Not a readable image, or more than `MAX_PIXELS`.
    """
    return _decode(data, name)[:2]


def _decode(
    data: bytes, name: str, min_size_hw: tuple[int, int] | None = None
) -> tuple[UInt8[ndarray, "h w 3"], str, tuple[int, int]]:
    """(pixels, suffix, full size); a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, not below `min_size_hw`."""
    if not data:
        raise DistillError(f"{name}: the file is empty", hint="copy it again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                check_pixel_count(image.size, name)
                suffix = _SUFFIX_OF_FORMAT.get(image.format or "")
                if suffix is None:
                    raise DistillError(
                        f"{name}: {image.format} images are not supported", hint="convert it to JPEG or PNG"
                    )
                is_rotated = image.getexif().get(_ORIENTATION, 1) in _ROTATED_BY_90
                full_hw = image.size if is_rotated else image.size[::-1]
                if min_size_hw is not None and image.format in ("JPEG", "MPO"):
                    image.draft(None, min_size_hw if is_rotated else min_size_hw[::-1])
                image.load()
                # In place: the copies would cost a third of the time of a large JPEG.
                ImageOps.exif_transpose(image, in_place=True)
                return np.array(_as_rgb(image)), suffix, full_hw
    except DistillError:
        raise
    except Exception as error:  # Pillow's plug-ins raise many types for damaged files
        reason = str(error).split("\n")[0].replace(f"{io.BytesIO.__module__}", "")
        if "cannot identify" in reason:
            raise DistillError(f"{name}: not an image in any known format", hint="remove or convert it") from error
        raise DistillError(f"{name}: the image cannot be decoded: {reason}", hint="copy or export it again") from error


def image_size_hw(data: bytes, name: str) -> tuple[int, int]:
    """(height, width) after orientation, read from the header without decoding pixels.

    Raises:
        DistillError: Not an image in a known format.
    """
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data)) as image:
            warnings.simplefilter("ignore")
            width, height = image.size
            is_rotated = image.getexif().get(_ORIENTATION, 1) in _ROTATED_BY_90
    except Exception as error:  # as in `decode_rgb`
        raise DistillError(f"{name}: not an image in any known format", hint="remove or convert it") from error
    return (width, height) if is_rotated else (height, width)


_ORIENTATION = 0x0112
_ROTATED_BY_90 = (5, 6, 7, 8)
"""EXIF orientations of images that are stored rotated by 90 degrees."""


def check_pixel_count(size_wh: tuple[int, int], name: str, limit: int | None = None) -> None:
    """Refuse an image whose header states too many pixels, before it is decompressed.

    Args:
        size_wh: (width, height).
        name: Display name.
        limit: Maximum number of pixels; None: `MAX_PIXELS`, set by DISTILL_MAX_PIXELS.

    Raises:
        DistillError: The image is larger.
    """
    width, height = size_wh
    max_pixels = MAX_PIXELS if limit is None else min(limit, MAX_PIXELS)
    if width * height > max_pixels:
        hint = (
            "shrink it, or raise DISTILL_MAX_PIXELS"
            if limit is None
            else "no known generator makes images of this size; shrink it"
        )
        raise DistillError(
            f"{name}: {width}x{height} px is over the limit of {max_pixels / 1e6:.0f} million pixels", hint=hint
        )


def _as_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to 8-bit RGB. Pillow's ``convert`` would clip 16 bit at 255 and drop alpha onto black."""
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I"):
        gray = np.asarray(image).astype(np.float32)
        # A 16-bit file that only uses 8 bits is an 8-bit image.
        scale = 257.0 if gray.max(initial=0) > 255 else 1.0
        return Image.fromarray(np.clip(np.rint(gray / scale), 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        gray = np.nan_to_num(np.asarray(image), nan=0, posinf=0, neginf=0)
        low, high = float(gray.min()), float(gray.max())
        span = high - low if high > low else 1.0
        return Image.fromarray(np.rint((gray - low) / span * 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


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
    """Decode a PNG to a uint8 or uint16 map; the exact inverse of `encode_map`.

    Raises:
        DistillError: Not a readable PNG, or more than `MAX_PIXELS`.
    """
    if data[:8] != b"\x89PNG\r\n\x1a\n" or len(data) < 33:
        raise DistillError(f"{name}: not a PNG", hint="the shard is damaged; rebuild it")
    # Width and height from the header, checked before decompression.
    check_pixel_count((int.from_bytes(data[16:20]), int.from_bytes(data[20:24])), name)
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise DistillError(f"{name}: the PNG is damaged", hint="the shard is damaged; rebuild it")
    return np.ascontiguousarray(values[..., ::-1]) if values.ndim == 3 else values


def encode_jpeg(rgb: UInt8[ndarray, "h w 3"], *, quality: int = 95) -> bytes:
    """Encode a frame or rendering as JPEG without chroma subsampling."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()
