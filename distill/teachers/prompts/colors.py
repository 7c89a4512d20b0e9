"""Colors by name, hex or numbers, as in prompts; palettes of distinguishable colors."""

from __future__ import annotations

import functools
import re
import reprlib
from collections.abc import Iterable

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import ImageColor

from distill.errors import UsageError
from distill.tasks import MAX_CLASSES
from distill.teachers.base import RGB

_SPOKEN: dict[str, RGB] = {
    # Colors of generators that differ from CSS: CSS "green" is (0, 128, 0), but "green" was (1, 254, 0) and "light
    # purple" (212, 196, 227) in real images.
    "green": (0, 255, 0),
    "lightpurple": (212, 196, 227),
    "darkpurple": (64, 0, 64),
    "lightred": (255, 102, 102),
    "lightorange": (255, 200, 124),
    "darkyellow": (139, 139, 0),
    "lightbrown": (181, 133, 84),
    "darkbrown": (92, 64, 51),
    "darkpink": (231, 84, 128),
    "lightviolet": (207, 159, 255),
    "skyblue": (135, 206, 235),
    "rose": (255, 0, 127),
    "amber": (255, 191, 0),
    "mint": (152, 255, 152),
    "peach": (255, 218, 185),
    "cream": (255, 253, 208),
    "burgundy": (128, 0, 32),
    "mustard": (255, 219, 88),
    "lilac": (200, 162, 200),
    "charcoal": (54, 69, 79),
    "emerald": (80, 200, 120),
}
_EMPTY_WORDS = re.compile(r"\b(solid|pure|bright|plain|opaque|flat|uniform|colou?r(ed)?|the|an?)\b")
_INTENSIFIERS = re.compile(r"\b(jet|pitch|deep|fully|completely|entirely|hex|code)\b")
_NUMBERS = re.compile(
    r"^(?:rgb)?\s*[<(\[{]?\s*(\d{1,3})\s*[, ;/]\s*(\d{1,3})\s*[, ;/]\s*(\d{1,3})\s*[>)\]}]?$", re.IGNORECASE
)
_HEX = re.compile(r"^(?:#|0x|hex\s*#?)([0-9a-f]{3}|[0-9a-f]{6}|[0-9a-f]{6}ff)$", re.IGNORECASE)
NUMERIC_COLOR = re.compile(
    r"(?:rgb\s*)?(?:<[\d\s,]+>|\([\d\s,]+\)|\[[\d\s,]+\])|(?:#|\b0x)[0-9a-f]+\b|\b\d{1,3},\s*\d{1,3},\s*\d{1,3}\b",
    re.IGNORECASE,
)
"""Numbers or hex digits that may be a color, inside a sentence."""
_HINT = "write #RRGGBB, (r, g, b) with 0..255, or a CSS color name"


def parse_color(text: str | tuple[int, ...] | list[int]) -> RGB:
    """Color from text or numbers: ``red``, ``light purple``, ``#80C000``, ``<255, 0, 0>``, ``[255, 0, 0]``.

    Raises:
        UsageError: Neither a known name nor three numbers from 0 to 255.
    """
    if not isinstance(text, (str, tuple, list)):
        raise UsageError(f"{reprlib.repr(text)} is not a color", hint=_HINT)
    if not isinstance(text, str):
        return _checked(tuple(text), reprlib.repr(list(text)))
    written = text.strip().strip("\"'`*").strip()
    if match := _NUMBERS.match(written):
        return _checked(tuple(int(part) for part in match.groups()), text)
    if match := _HEX.match(written):
        digits = match[1] if len(match[1]) > 3 else "".join(2 * digit for digit in match[1])
        return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:6], 16)
    plain = _EMPTY_WORDS.sub(" ", written.lower())
    for words in (plain, _INTENSIFIERS.sub(" ", plain)):
        name = re.sub(r"[\s_-]+", "", words)
        if name in _SPOKEN:
            return _SPOKEN[name]
        if name in ImageColor.colormap:
            red, green, blue = ImageColor.getrgb(name)[:3]
            return red, green, blue
    raise UsageError(f"{text!r} is not a known color", hint=_HINT)


def leading_color(text: str, *, anywhere: bool = False) -> RGB | None:
    """Color at the start of a text, of up to four words; None without one.

    Args:
        text: Part of a sentence.
        anywhere: Numbers and hex digits count anywhere in it: "pure yellow (<255, 255, 0>)".
    """
    numeric = NUMERIC_COLOR.search(text) if anywhere else NUMERIC_COLOR.match(text)
    if numeric is not None:
        return _color_or_none(numeric[0])
    words = text.split()[:4]
    return _first_color(" ".join(words[:count]).rstrip(".,;:!?)\"'}") for count in range(len(words), 0, -1))


def trailing_color(text: str) -> RGB | None:
    """Color at the end of a text, of up to four words; None without one."""
    numbers = list(NUMERIC_COLOR.finditer(text))
    if numbers and not text[numbers[-1].end() :].strip(" ,)"):
        return _color_or_none(numbers[-1][0])
    words = text.split()[-4:]
    return _first_color(" ".join(words[start:]) for start in range(len(words)))


def _first_color(texts: Iterable[str]) -> RGB | None:
    return next((color for text in texts if (color := _color_or_none(text)) is not None), None)


def _color_or_none(text: str) -> RGB | None:
    try:
        return parse_color(text)
    except UsageError:
        return None


def color_names() -> list[str]:
    """Names that `parse_color` knows."""
    return [*_SPOKEN, *ImageColor.colormap]


def _checked(numbers: tuple[int, ...], text: str) -> RGB:
    if len(numbers) != 3 or not all(isinstance(n, int) and 0 <= n <= 255 for n in numbers):
        raise UsageError(f"{text} is not a color", hint="give three integers from 0 to 255")
    return numbers[0], numbers[1], numbers[2]


def hex_of(color: RGB) -> str:
    """The color as ``#RRGGBB``."""
    return "#{:02X}{:02X}{:02X}".format(*color)


@functools.lru_cache(maxsize=32)
def palette(num_colors: int, *, background: RGB = (0, 0, 0), seed: int = 0) -> tuple[RGB, ...]:
    """Colors as far from each other and from the background as can be, for ``num_colors`` classes.

    Maximin: each color in turn is the candidate with the largest distance to its nearest chosen color, by the smaller
    of two distances: in CIELAB (perception, also of generators trained on photos) and in RGB (decoding). Equal seeds
    give equal palettes; all seeds have the same quality.

    Raises:
        UsageError: More classes than a semantic map can store.
    """
    if not 1 <= num_colors <= MAX_CLASSES:
        raise UsageError(f"a palette cannot have {num_colors} colors", hint=f"use 1 to {MAX_CLASSES}")
    grid = _candidates(seed)
    lab = _lab(grid)
    rgb = grid.astype(np.float32)
    # One unit of CIELAB is about 2.5 of 8-bit RGB on average; the smaller distance counts.
    start = np.array([background], np.uint8)
    distance = _both(lab, rgb, _lab(start)[0], start[0].astype(np.float32))
    # Larger distance from the background: everything outside the prompt has its color.
    distance *= 0.75
    chosen: list[int] = []
    for _ in range(num_colors):
        best = int(np.argmax(distance))
        chosen.append(best)
        distance = np.minimum(distance, _both(lab, rgb, lab[best], rgb[best]))
    return tuple((int(grid[i][0]), int(grid[i][1]), int(grid[i][2])) for i in chosen)


def _candidates(seed: int) -> UInt8[ndarray, "n 3"]:
    """Grid over the cube with steps of 17, shifted by the seed inside each cell, clipped to the cube."""
    steps = np.arange(0, 256, 17)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    if seed:
        generator = np.random.default_rng(seed)
        grid = np.clip(grid + generator.integers(-8, 9, grid.shape), 0, 255)
        generator.shuffle(grid)
    return grid.astype(np.uint8)


def _lab(colors: UInt8[ndarray, "n 3"]) -> Float[ndarray, "n 3"]:
    lab: ndarray = cv2.cvtColor(colors[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    return lab


def _both(lab: ndarray, rgb: ndarray, lab_one: ndarray, rgb_one: ndarray) -> ndarray:
    smaller: ndarray = np.minimum(2.5 * np.linalg.norm(lab - lab_one, axis=1), np.linalg.norm(rgb - rgb_one, axis=1))
    return smaller
