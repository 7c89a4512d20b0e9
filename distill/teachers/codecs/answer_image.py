"""The pixels of a generated image, taken exactly or not at all.

A photo may be read generously (alpha over white, CMYK approximately, the first frame of many). An answer may not: its
colors are numbers, and a color that had to be guessed would decode to a wrong label.
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
"""A thinner answer (and thinner than half its photo) holds no label worth having."""
_EXACT_MODES = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "I;16", "I;16B", "I;16L"})


@dataclass(frozen=True, slots=True)
class AnswerImage:
    """A generated image, read from its file.

    Attributes:
        rgb: Its pixels.
        opaque: Where it says something at all; None: everywhere. Transparent pixels have no color.
        container: The format that the bytes have, such as ``png``, whatever they were called.
    """

    rgb: UInt8[ndarray, "h w 3"]
    opaque: Bool[ndarray, "h w"] | None
    container: str


def decode_answer_image(data: bytes, name: str) -> AnswerImage:
    """The generated image in these bytes.

    Raises:
        DistillError: No readable picture, animated, in colors that have no exact RGB (CMYK, Lab, floats), or too
            large; the sentence names the answer.
    """
    opaque = _opaque_pixels(data, name) if data else None
    rgb, container = decode_rgb(data, name)
    if opaque is not None and opaque.all():
        opaque = None
    if opaque is not None and opaque.shape != rgb.shape[:2]:  # turned by its EXIF orientation
        raise DistillError(f"{name}: the answer is turned and transparent", hint="ask again")
    return AnswerImage(rgb, opaque, container)


def _opaque_pixels(data: bytes, name: str) -> Bool[ndarray, "h w"] | None:
    """The opaque pixels of a picture with transparency; refuses what has no exact RGB pixels."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as picture:
                check_pixel_count(picture.size, name, MAX_PIXELS)
                if getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO":
                    raise DistillError(
                        f"{name}: the answer is animated ({getattr(picture, 'n_frames', 2)} frames)",
                        hint="ask again, or keep the frame that is meant",
                    )
                if picture.mode not in _EXACT_MODES:
                    raise DistillError(
                        f"{name}: the answer is in {picture.mode} colors, which have no exact RGB",
                        hint="ask for a PNG in RGB",
                    )
                if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
                    return np.asarray(picture.convert("RGBA").getchannel("A")) == 255
    except DistillError:
        raise
    except Exception:  # decode_rgb says what is wrong with broken bytes, in words
        return None
    return None
