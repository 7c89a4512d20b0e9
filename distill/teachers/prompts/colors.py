"""Colors by name, hex or numbers, as prompts write them; and palettes of colors that are hard to confuse."""

from __future__ import annotations

import functools
import re

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import ImageColor

from distill.errors import UsageError
from distill.tasks import MAX_CLASSES
from distill.teachers.base import RGB

_SPOKEN: dict[str, RGB] = {
    # What generators paint where it differs from CSS: CSS "green" is (0, 128, 0), painted "green" was (1, 254, 0) and
    # "light purple" (212, 196, 227) in the real answers.
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
_EMPTY_WORDS = re.compile(r"\b(solid|pure|bright|plain|opaque|flat|colou?r(ed)?|the|a)\b")
_NUMBERS = re.compile(
    r"^(?:rgb)?\s*[<(\[]?\s*(\d{1,3})\s*[, ]\s*(\d{1,3})\s*[, ]\s*(\d{1,3})\s*[>)\]]?$", re.IGNORECASE
)
_HEX = re.compile(r"^#([0-9a-f]{3}|[0-9a-f]{6})$", re.IGNORECASE)


def parse_color(text: str | tuple[int, ...] | list[int]) -> RGB:
    """The color that is written: ``red``, ``light purple``, ``#80C000``, ``<255, 0, 0>``, ``[255, 0, 0]``.

    Raises:
        UsageError: No known name and no triple of 0..255.
    """
    if not isinstance(text, (str, tuple, list)):
        raise UsageError(f"{text!r} is not a color", hint="write #RRGGBB, (r, g, b) with 0..255, or a CSS color name")
    if not isinstance(text, str):
        return _checked(tuple(text), str(list(text)))
    written = text.strip().strip("\"'").strip()
    if match := _NUMBERS.match(written):
        return _checked(tuple(int(part) for part in match.groups()), text)
    if match := _HEX.match(written):
        digits = match[1] if len(match[1]) == 6 else "".join(2 * digit for digit in match[1])
        return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)
    name = re.sub(r"[\s_-]+", "", _EMPTY_WORDS.sub(" ", written.lower()))
    if name in _SPOKEN:
        return _SPOKEN[name]
    if name in ImageColor.colormap:
        red, green, blue = ImageColor.getrgb(name)[:3]
        return red, green, blue
    raise UsageError(f"{text!r} is not a known color", hint="write #RRGGBB, (r, g, b) with 0..255, or a CSS color name")


def _checked(numbers: tuple[int, ...], text: str) -> RGB:
    if len(numbers) != 3 or not all(isinstance(n, int) and 0 <= n <= 255 for n in numbers):
        raise UsageError(f"{text} is not a color", hint="give three whole numbers from 0 to 255")
    return numbers[0], numbers[1], numbers[2]


def hex_of(color: RGB) -> str:
    """The color as ``#RRGGBB``."""
    return "#{:02X}{:02X}{:02X}".format(*color)


@functools.lru_cache(maxsize=32)
def palette(num_colors: int, *, background: RGB = (0, 0, 0), seed: int = 0) -> tuple[RGB, ...]:
    """Colors as far from each other and from the background as can be, for ``num_colors`` classes.

    Maximin: each color in turn is the candidate whose nearest chosen color is farthest, by the smaller of two
    distances: in CIELAB, what an eye (and a generator trained on pictures for eyes) tells apart; in RGB, by which
    answers are read. The same seed gives the same palette; another seed another palette of the same quality.

    Raises:
        UsageError: More classes than a semantic map can hold.
    """
    if not 1 <= num_colors <= MAX_CLASSES:
        raise UsageError(f"a palette of {num_colors} colors cannot be made", hint=f"ask for 1 to {MAX_CLASSES}")
    grid = _candidates(seed)
    lab = _lab(grid)
    rgb = grid.astype(np.float32)
    # One unit of CIELAB is worth about 2.5 of 8-bit RGB on average; the smaller of the two rules.
    start = np.array([background], np.uint8)
    distance = _both(lab, rgb, _lab(start)[0], start[0].astype(np.float32))
    # The background gets a wider berth: everything that is not asked for is painted with it.
    distance *= 0.75
    chosen: list[int] = []
    for _ in range(num_colors):
        best = int(np.argmax(distance))
        chosen.append(best)
        distance = np.minimum(distance, _both(lab, rgb, lab[best], rgb[best]))
    return tuple((int(grid[i][0]), int(grid[i][1]), int(grid[i][2])) for i in chosen)


def _candidates(seed: int) -> UInt8[ndarray, "n 3"]:
    """A grid over the cube with steps of 17, shifted by the seed inside each cell; the cube's surface stays on it."""
    steps = np.arange(0, 256, 17)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    if seed:
        generator = np.random.default_rng(seed)
        grid = np.clip(grid + generator.integers(-8, 9, grid.shape), 0, 255)
        generator.shuffle(grid)
    return grid.astype(np.uint8)


def _lab(colors: UInt8[ndarray, "n 3"]) -> Float[ndarray, "n 3"]:
    return cv2.cvtColor(colors[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]


def _both(lab: ndarray, rgb: ndarray, lab_one: ndarray, rgb_one: ndarray) -> ndarray:
    return np.minimum(2.5 * np.linalg.norm(lab - lab_one, axis=1), np.linalg.norm(rgb - rgb_one, axis=1))
