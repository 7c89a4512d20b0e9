"""Exact pixels of a generated image.

Photos may be decoded approximately (alpha over white, CMYK, the first frame of many). Generated images may not: their
colors are numbers, and an approximate color would decode to a wrong label.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray
from PIL import Image

from distill.errors import DistillError
from distill.images import check_pixel_count, decode_rgb

MAX_PIXELS = 64_000_000
"""The largest canvas of a hosted generator has 17 million pixels; decoding needs about 20 bytes for each."""
MIN_SIDE_PX = 64
"""Smaller images (if also below half of the photo's size) are rejected."""
_EXACT_MODES = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "I;16", "I;16B", "I;16L"})


@dataclass(frozen=True, slots=True)
class AnswerImage:
    """A decoded generated image.

    Attributes:
        rgb: Pixels.
        opaque: Opaque pixels; None: all. Transparent pixels have no color.
        container: Actual format of the bytes, such as ``png``.
    """

    rgb: UInt8[ndarray, "h w 3"]
    opaque: Bool[ndarray, "h w"] | None
    container: str


def decode_answer_image(data: bytes, name: str) -> AnswerImage:
    """Pixels of a generated image; ``name`` is for errors.

    Raises:
        DistillError: Not a readable image, animated, in colors without exact RGB values (CMYK, Lab, floats), or too
            large.
    """
    opaque = _opaque_pixels(data, name) if data else None
    rgb, container = decode_rgb(data, name)
    if opaque is not None and opaque.all():
        opaque = None
    if opaque is not None and opaque.shape != rgb.shape[:2]:  # rotated by its EXIF orientation
        raise DistillError(f"{name}: the image is rotated by EXIF and transparent", hint="save it upright")
    return AnswerImage(rgb, opaque, container)


def _opaque_pixels(data: bytes, name: str) -> Bool[ndarray, "h w"] | None:
    """Opaque pixels of an image with transparency, else None; refuses images without exact RGB pixels."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                check_pixel_count(image.size, name, MAX_PIXELS)
                if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
                    raise DistillError(
                        f"{name}: the image is animated ({getattr(image, 'n_frames', 2)} frames)",
                        hint="save the frame that is meant as PNG",
                    )
                if image.mode not in _EXACT_MODES:
                    raise DistillError(
                        f"{name}: the image has {image.mode} colors, which have no exact RGB values",
                        hint="save it as RGB PNG",
                    )
                if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
                    opaque: ndarray = np.asarray(image.convert("RGBA").getchannel("A")) == 255
                    return opaque
    except DistillError:
        raise
    except Exception:  # decode_rgb reports damaged bytes
        return None
    return None
