"""Read photos: orientation applied, sRGB, 8 bits; what had to be assumed is noted."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray
from PIL import Image, ImageOps

from distill.errors import DistillError
from distill.images.color_profiles import ColorConversion, color_conversion
from distill.images.file_format import MIN_SIDE_PX, open_image, suffix_of
from distill.images.png_chunks import find_damage, read_png, states_orientation
from distill.images.rgb import dark_note, has_transparency, opaque_pixels, to_srgb

_ORIENTATION = 0x0112
_ROTATED_BY_90 = (5, 6, 7, 8)
"""EXIF orientations of images that are stored rotated by 90 degrees."""


@dataclass(frozen=True, slots=True)
class Photo:
    """A decoded photo with the bytes of its file.

    Attributes:
        key: Key of its sample; unique and stable within a job, without a dot.
        name: Display name: the path, or video and frame number.
        data: Bytes of the file.
        suffix: Suffix of the format detected from the bytes, such as ``jpg``; the file name does not count.
        rgb: Pixels as of `DecodedImage.rgb`.
        sha256: Of `data`, in hex.
        origin: Source of a rendered photo, such as ``{"scene": 12}``.
        full_hw: (height, width) of the photo after orientation, if `rgb` is smaller.
        notes: As `DecodedImage.notes`.
    """

    key: str
    name: str
    data: bytes
    suffix: str
    rgb: UInt8[ndarray, "h w 3"]
    sha256: str
    origin: dict[str, int | float | str]
    full_hw: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) of the photo after orientation, also if `rgb` is smaller."""
        return self.full_hw or (self.rgb.shape[0], self.rgb.shape[1])


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """Pixels of a photo.

    Attributes:
        rgb: sRGB with orientation applied, alpha over white, 16 bits scaled to 8. Smaller than the photo if it was read
            with `min_size_hw`.
        suffix: Suffix of the format detected from the bytes.
        full_hw: (height, width) after orientation.
        notes: What had to be assumed, such as a broken color profile.
        opaque: Opaque pixels, if they were wanted; None: all.
    """

    rgb: UInt8[ndarray, "h w 3"]
    suffix: str
    full_hw: tuple[int, int]
    notes: tuple[str, ...]
    opaque: Bool[ndarray, "h w"] | None = None


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
        min_size_hw: As of `decode_image`.

    Raises:
        DistillError: Empty, not an image, truncated, too large or too small.
    """
    photo = decode_image(data, name, min_size_hw)
    height, width = photo.full_hw
    if min(photo.full_hw) < MIN_SIDE_PX:
        raise DistillError(
            f"{name}: {width}x{height} px is too small; both sides need at least {MIN_SIDE_PX} px", hint="remove it"
        )
    smaller = photo.full_hw if photo.full_hw != photo.rgb.shape[:2] else None
    digest = hashlib.sha256(data).hexdigest()
    return Photo(key, name, data, photo.suffix, photo.rgb, digest, origin or {}, smaller, photo.notes)


def decode_rgb(data: bytes, name: str) -> tuple[UInt8[ndarray, "h w 3"], str]:
    """(pixels, suffix of the detected format) of any supported image; the first frame of an animation.

    Raises:
        DistillError: Not a readable image, or too large.
    """
    photo = decode_image(data, name)
    return photo.rgb, photo.suffix


def decode_image(
    data: bytes, name: str, min_size_hw: tuple[int, int] | None = None, *, with_opaque: bool = False
) -> DecodedImage:
    """Pixels of any supported image in sRGB.

    Args:
        data: Bytes of the file.
        name: Display name.
        min_size_hw: A JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, not below this one, in a third of the time.
        with_opaque: Fill `DecodedImage.opaque`.

    Raises:
        DistillError: Not a readable image, too large, or HDR.
    """
    with open_image(data, name) as image:
        suffix = suffix_of(image)
        if (plain := _decode_plain_png(image, data, name)) is not None:
            return DecodedImage(plain, suffix, (image.height, image.width), ())
        full_hw = _upright_size_hw(image)
        if min_size_hw is not None and image.format in ("JPEG", "MPO"):
            is_rotated = full_hw != (image.height, image.width)
            image.draft(None, min_size_hw if is_rotated else min_size_hw[::-1])
        conversion = color_conversion(image, data, name)
        notes = [conversion.note, _frames_note(image)]
        image.load()
        # In place: the copies would cost a third of the time of a large JPEG.
        ImageOps.exif_transpose(image, in_place=True)
        rgb = to_srgb(image, conversion, name)
        notes.append(dark_note(image, rgb))
        opaque = opaque_pixels(image) if with_opaque else None
    return DecodedImage(rgb, suffix, full_hw, tuple(filter(None, notes)), opaque)


def convert_to_srgb(image: Image.Image, name: str) -> UInt8[ndarray, "h w 3"]:
    """Pixels of an image that Pillow opened, as those of `decode_image`; its orientation is not applied.

    Raises:
        DistillError: HDR, or the format does not define which value is white.
    """
    image.load()
    return to_srgb(image, color_conversion(image, b"", name), name)


def image_size_hw(data: bytes, name: str) -> tuple[int, int]:
    """(height, width) after orientation, read from the header without decoding pixels.

    Raises:
        DistillError: Not a supported image.
    """
    with open_image(data, name) as image:
        return _upright_size_hw(image)


def encode_jpeg(rgb: UInt8[ndarray, "h w 3"], *, quality: int = 95) -> bytes:
    """Encode a frame or rendering as JPEG without chroma subsampling."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def _decode_plain_png(image: Image.Image, data: bytes, name: str) -> UInt8[ndarray, "h w 3"] | None:
    """Pixels of a whole PNG of 8-bit sRGB colors, in half of Pillow's time; None for any other image."""
    is_plain = image.format == "PNG" and image.mode == "RGB" and image.info["png_bits"] == 8
    if not is_plain or has_transparency(image) or getattr(image, "is_animated", False):
        return None
    if color_conversion(image, data, name) != ColorConversion() or states_orientation(data) or find_damage(data):
        return None
    pixels: ndarray | None = cv2.imdecode(np.frombuffer(read_png(data)[0], np.uint8), cv2.IMREAD_COLOR_RGB)
    return pixels if pixels is not None and pixels.shape[:2] == (image.height, image.width) else None


def _upright_size_hw(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    # Pillow states the size of a TIFF after rotation, unlike that of other formats.
    is_rotated = image.format != "TIFF" and image.getexif().get(_ORIENTATION, 1) in _ROTATED_BY_90
    return (width, height) if is_rotated else (height, width)


def _frames_note(image: Image.Image) -> str:
    if image.format in ("JPEG", "MPO") or not getattr(image, "is_animated", False):
        return ""
    return f"has several {'pages' if image.format == 'TIFF' else 'frames'}, of which the first was read"
