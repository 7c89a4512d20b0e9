"""Exact pixels of a generated image.

Photos may be decoded approximately (alpha over white, CMYK, the first frame of many). Generated images may not: their
colors are numbers, and an approximate color would decode to a wrong label.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8, UInt16
from numpy import ndarray
from PIL import Image, ImageOps

from distill.errors import DistillError
from distill.images import decode_image, open_image

MAX_PIXELS = 64_000_000
"""The largest canvas of a hosted generator has 17 million pixels; decoding needs about 20 bytes for each."""
MIN_SIDE_PX = 64
"""Smaller images (if also below half of the photo's size) are rejected."""
_EXACT_MODES = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "I;16", "I;16B", "I;16L"})


_MIN_OPAQUE = 0.05
"""Images with a smaller fraction of opaque pixels are refused, because transparent pixels have no color."""


@dataclass(frozen=True, slots=True)
class AnswerImage:
    """A decoded generated image.

    Attributes:
        rgb: Pixels in sRGB.
        opaque: Opaque pixels; None: all. Transparent pixels have no color.
        container: Actual format of the bytes, such as ``png``.
        notes: What had to be assumed, such as a broken color profile.
        gray16: All bits of a gray image of 16 bits; None for others.
    """

    rgb: UInt8[ndarray, "h w 3"]
    opaque: Bool[ndarray, "h w"] | None
    container: str
    notes: tuple[str, ...] = ()
    gray16: UInt16[ndarray, "h w"] | None = None


def decode_answer_image(data: bytes, name: str) -> AnswerImage:
    """Pixels of a generated image; ``name`` is for errors.

    Raises:
        DistillError: Not a readable image, animated, transparent, in colors without exact RGB values (CMYK, Lab,
            floats), or too large.
    """
    with open_image(data, name, MAX_PIXELS) as image:
        frames = int(getattr(image, "n_frames", 1)) if getattr(image, "is_animated", False) else 1
        if frames > 1 and image.format not in ("JPEG", "MPO"):
            raise DistillError(
                f"{name}: the image is animated ({frames} frames)", hint="save the frame that is meant as PNG"
            )
        if image.mode not in _EXACT_MODES:
            raise DistillError(
                f"{name}: the image has {image.mode} colors, which have no exact RGB values", hint="save it as RGB PNG"
            )
        gray16 = _gray16(image)
    decoded = decode_image(data, name, with_opaque=True)
    if decoded.opaque is not None and decoded.opaque.mean() < _MIN_OPAQUE:
        raise DistillError(
            f"{name}: {1 - decoded.opaque.mean():.0%} of the image is transparent, where there is no color",
            hint="save it without transparency",
        )
    if gray16 is not None and int(gray16.max(initial=0)) <= 255:
        note = "its 16 bits hold 8-bit values, up to 255, and were read as such"
        rgb = np.repeat(gray16.astype(np.uint8)[..., None], 3, axis=2)
        return AnswerImage(rgb, decoded.opaque, decoded.suffix, (note,))
    if gray16 is not None and np.abs(gray16 / 257.0 - decoded.rgb[..., 0]).max(initial=0) > 1:
        gray16 = None  # converted by a color profile, which 8 bits carry
    return AnswerImage(decoded.rgb, decoded.opaque, decoded.suffix, decoded.notes, gray16)


def _gray16(image: Image.Image) -> UInt16[ndarray, "h w"] | None:
    """Upright levels of a gray PNG or TIFF of 16 bits; None for others, or damaged bytes (reported later)."""
    bits = image.tag_v2.get(258, (8,)) if image.format == "TIFF" else (16,)  # type: ignore[attr-defined]
    if not image.mode.startswith("I;16") or image.format not in ("PNG", "TIFF") or bits not in (16, (16,)):
        return None
    try:
        ImageOps.exif_transpose(image, in_place=True)
        levels: ndarray = np.asarray(image).astype(np.uint16)
    except Exception:  # Pillow's plug-ins raise many types
        return None
    return levels
