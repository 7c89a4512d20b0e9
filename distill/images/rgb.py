"""Pixels of any Pillow mode as 8-bit sRGB, in strips, so that memory stays near the size of the result.

White is the largest value that the format can store, for all images alike, never the largest value of one image.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray
from PIL import Image, ImageCms

from distill.errors import DistillError
from distill.images.color_profiles import ColorConversion

OPAQUE_ALPHA = 250
"""Pixels with at least this alpha are opaque: editors and generators write 254 where 255 is meant."""
_STRIP_PIXELS = 8_000_000
_BITS_PER_SAMPLE = 258
_DARK = 16
"""Deep images whose levels all are below white divided by this may hold fewer bits than stated."""


def to_srgb(image: Image.Image, conversion: ColorConversion, name: str) -> UInt8[ndarray, "h w 3"]:
    """8-bit sRGB pixels of a loaded image: alpha over white, deep levels scaled by their format.

    Raises:
        DistillError: The format does not define which value is white.
    """
    convert = _converter(image, conversion, name)
    width, height = image.size
    rows = max(1, _STRIP_PIXELS // width)
    if height <= rows:
        return np.array(convert(image))
    rgb = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        rgb[top : top + rows] = np.asarray(convert(image.crop((0, top, width, min(top + rows, height)))))
    return rgb


def opaque_pixels(image: Image.Image) -> Bool[ndarray, "h w"] | None:
    """Opaque pixels of a loaded image; None if all are."""
    if not has_transparency(image):
        return None
    opaque: ndarray = np.asarray(image.convert("RGBA").getchannel("A")) >= OPAQUE_ALPHA
    return None if opaque.all() else opaque


def has_transparency(image: Image.Image) -> bool:
    """Whether the image has an alpha channel or a transparent color."""
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def dark_note(image: Image.Image, rgb: UInt8[ndarray, "h w 3"]) -> str:
    """Remark on an image of more than 8 bits that only uses a small part of its range; else empty."""
    bits = _stated_bits(image)
    if bits <= 8 or int(rgb.max(initial=0)) > 256 // _DARK:
        return ""
    return (
        f"its {bits} bits are used up to {rgb.max(initial=0) / 255:.1%} of white only, so it is dark: scale its values"
        " if it was stored with fewer bits"
    )


def _converter(image: Image.Image, conversion: ColorConversion, name: str) -> Callable[[Image.Image], Image.Image]:
    """Conversion of the image or a strip of it to mode RGB in sRGB."""
    if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):
        return _float_converter(image, conversion, name)
    if image.mode.startswith("I"):
        levels = _levels_of(2 ** _stated_bits(image) - 1)
        return lambda strip: _colors(Image.fromarray(levels[_unsigned(strip)]), conversion)
    if has_transparency(image):
        return lambda strip: _over_white(strip, conversion)
    if image.mode == "LAB" and conversion.mode != "LAB":
        return lambda strip: _transformed(strip, _lab_to_srgb())  # the only mode that Pillow does not convert
    return lambda strip: _colors(strip, conversion)


def _float_converter(
    image: Image.Image, conversion: ColorConversion, name: str
) -> Callable[[Image.Image], Image.Image]:
    low, high = image.getextrema()
    if image.mode == "I" or not (isinstance(high, float) and high <= 1.0 and isinstance(low, float) and low >= 0):
        kind = "32-bit integers" if image.mode == "I" else "floats"
        raise DistillError(
            f"{name}: a photo of {kind} from {low:g} to {high:g}, where white is not defined",
            hint="save it with 8 or 16 bits, or as floats from 0 to 1",
        )

    def convert(strip: Image.Image) -> Image.Image:
        gray = np.nan_to_num(np.asarray(strip), nan=0.0)
        return _colors(Image.fromarray(np.rint(gray * 255).astype(np.uint8)), conversion)

    return convert


def _unsigned(strip: Image.Image) -> ndarray:
    values: ndarray = np.asarray(strip)
    return values if values.dtype.kind == "u" else np.clip(values, 0, 65535).astype(np.uint16)


@lru_cache(maxsize=8)
def _levels_of(white: int) -> UInt8[ndarray, " 65536"]:
    """8-bit level of each 16-bit value."""
    levels: ndarray = np.rint(np.minimum(np.arange(65536) / white, 1.0) * 255).astype(np.uint8)
    return levels


def _stated_bits(image: Image.Image) -> int:
    """Bits per sample as the format states them."""
    least = 16 if image.mode.startswith("I") else 8
    if image.format == "TIFF":
        tags: Any = getattr(image, "tag_v2", {})
        stated = tags.get(_BITS_PER_SAMPLE, (least,))
        bits = int(stated[0] if isinstance(stated, tuple) else stated)
        return bits if 0 < bits <= 16 else least
    if image.format == "PNG":
        return int(image.info.get("png_bits", least))
    return least


def _over_white(strip: Image.Image, conversion: ColorConversion) -> Image.Image:
    rgba = strip if strip.mode == "RGBA" else strip.convert("RGBA")
    alpha = rgba.getchannel("A").point([*range(OPAQUE_ALPHA), *[255] * (256 - OPAQUE_ALPHA)])
    return Image.composite(_colors(rgba.convert("RGB"), conversion), Image.new("RGB", rgba.size, "white"), alpha)


def _colors(strip: Image.Image, conversion: ColorConversion) -> Image.Image:
    """Opaque pixels of 8 bits as sRGB."""
    if conversion.transform is not None:
        same = strip if strip.mode == conversion.mode else strip.convert(conversion.mode)
        return _transformed(same, conversion.transform)
    return strip if strip.mode == "RGB" else strip.convert("RGB")


def _transformed(strip: Image.Image, transform: Any) -> Image.Image:
    converted: Image.Image | None = ImageCms.applyTransform(strip, transform)
    if converted is None:
        raise ValueError("its colors cannot be converted")
    return converted


@lru_cache(maxsize=1)
def _lab_to_srgb() -> Any:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
