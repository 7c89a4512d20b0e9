"""Colors that a prompt leaves open, read from its generated image: the background, and unreadable legend entries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.teachers.base import RGB, PromptSpec
from distill.teachers.codecs.flat_colors import (
    BLACK,
    MANY_PIXELS,
    MIN_SHARE,
    FlatColor,
    flat_colors,
    fraction_along_border,
    fraction_of,
    is_gray,
    is_same,
    possible_backgrounds,
)
from distill.teachers.codecs.palette import BACKGROUND, check_legend, is_explained

_IN_USE = 0.02
"""A named background has at least this fraction of the pixels along the image's border ..."""
_IN_USE_INSIDE = 0.2
"""... or this fraction of the whole image."""
_NEARLY = 40.0
"""A background this close (L2, of 255) to the named color is the named one."""
_MIN_BLACK = 0.01
"""Black that no border touches is the background from this fraction of the image on."""
_WORTH_A_NOTE = 0.01


@dataclass(frozen=True, slots=True)
class Completion:
    """A prompt with the colors that were read from its image.

    Attributes:
        prompt_spec: With background and legend as they are in the image.
        notes: One sentence for each color that the prompt does not name.
        reject: Why the image cannot be read without another word of the prompt; empty if it can.
    """

    prompt_spec: PromptSpec
    notes: tuple[str, ...] = ()
    reject: str = ""


def complete_background(generated: UInt8[ndarray, "h w 3"], prompt_spec: PromptSpec) -> Completion:
    """The prompt with the background that surrounds the objects of the image; it must never become an object itself.

    A named background is kept if the image has it.
    """
    named, found = prompt_spec.background, possible_backgrounds(generated)
    if named is not None:
        # Generators miss the named color by some levels: by more than `TAU`, the background would be an instance.
        if len(found) == 1 and math.dist(found[0], named) <= _NEARLY:
            return Completion(replace(prompt_spec, background=found[0]))
        in_use = fraction_along_border(generated, named) >= _IN_USE or fraction_of(generated, named) >= _IN_USE_INSIDE
        if in_use or len(found) != 1:
            return Completion(prompt_spec)
        return Completion(replace(prompt_spec, background=found[0]), (_inferred(found[0], named),))
    if not found and (prompt_spec.reader == "hues" or fraction_of(generated, BLACK) >= _MIN_BLACK):
        found = (BLACK,)
    if len(found) != 1:
        both = " and ".join(map(_hex, found))
        which = f"both {both} may be it" if found else "no color of the image surrounds the objects"
        return Completion(prompt_spec, reject=f"no background is named, and {which}; name it as background")
    return Completion(replace(prompt_spec, background=found[0]), (_inferred(found[0]),))


def complete_legend(generated: UInt8[ndarray, "h w 3"], prompt_spec: PromptSpec) -> Completion:
    """The prompt whose legend has the background, and the color of an unreadable entry, as they are in the image.

    A background without a name is black, or a color that surrounds the objects and cannot be a class. An unreadable
    entry gets the color of the image that is left, if there is exactly one of each.

    Raises:
        UsageError: The legend gives one color to two classes.
    """
    if generated.shape[0] * generated.shape[1] > MANY_PIXELS:
        generated = np.ascontiguousarray(generated[::2, ::2])
    legend = dict(prompt_spec.legend)
    if prompt_spec.background is not None:
        legend.setdefault(BACKGROUND, prompt_spec.background)
    if legend:
        check_legend(legend)
    left = _unexplained(generated, list(legend.values()))
    unreadable = {name: text for name, text in prompt_spec.unreadable.items() if name != BACKGROUND}
    notes: list[str] = []
    named = legend.get(BACKGROUND)
    is_open = named is None or (left and fraction_of(generated, named) < MIN_SHARE)
    if is_open and (found := _background(generated, legend, left, len(unreadable))) is not None:
        legend[BACKGROUND] = found.color
        left = [color for color in left if color is not found]
        notes.append(_inferred(found.color, named, prompt_spec.unreadable.get(BACKGROUND, "")))
    if len(unreadable) == len(left) == 1:
        (name, text), color = next(iter(unreadable.items())), left[0].color
        legend[name] = color
        notes.append(f"the color of {name!r} cannot be read ({text!r}); {_hex(color)}, the only one left, was taken")
    else:
        for name, text in unreadable.items():
            count = {0: "no color of the image is", 1: "one color of the image is"}
            rest = f"{count.get(len(left), f'{len(left)} colors of the image are')} left"
            notes.append(f"the color of {name!r} cannot be read ({text!r}), and {rest}: it has no pixels")
        notes += [
            f"{color.share:.0%} of the image has {_hex(color.color)}, which no class of the legend has, and is invalid"
            for color in left
            if color.share >= _WORTH_A_NOTE
        ]
    return Completion(replace(prompt_spec, legend=legend), tuple(notes))


def _unexplained(generated: UInt8[ndarray, "h w 3"], colors: Sequence[RGB]) -> list[FlatColor]:
    """Flat colors of the image that no color of the legend explains."""
    among = ~is_explained(generated, colors) if colors else np.ones(generated.shape[:2], bool)
    return flat_colors(generated, among) if float(among.mean()) >= MIN_SHARE else []


def _background(
    generated: UInt8[ndarray, "h w 3"], legend: dict[str, RGB], left: Sequence[FlatColor], num_unreadable: int
) -> FlatColor | None:
    """The unexplained color that is the background; None without one, or where it may as well be a class."""
    possible = possible_backgrounds(generated) if left else ()
    surround = next((color for color in left if len(possible) == 1 and is_same(color.color, possible[0])), None)
    if surround is not None and _is_no_class(generated, surround, legend, left, num_unreadable):
        return surround
    black = next((color for color in left if is_same(color.color, BLACK)), None)
    return black if len(possible) < 2 else None


def _is_no_class(
    generated: UInt8[ndarray, "h w 3"],
    found: FlatColor,
    legend: dict[str, RGB],
    left: Sequence[FlatColor],
    num_unreadable: int,
) -> bool:
    """Whether a color around all objects is no class of the legend."""
    if is_same(found.color, BLACK):
        return True
    if num_unreadable:
        return is_gray(found.color) and len(left) > 1
    # A class without a pixel may be drawn in another color than prompted, and a flat image shows nothing at all.
    in_image = [fraction_of(generated, color) >= MIN_SHARE for name, color in legend.items() if name != BACKGROUND]
    return any(in_image) and (is_gray(found.color) or all(in_image))


def _inferred(found: RGB, named: RGB | None = None, text: str = "") -> str:
    reason = "no background is named"
    if named is not None:
        reason = f"the named background {_hex(named)} is not in the image"
    elif text:
        reason = f"the color of the background cannot be read ({text!r})"
    return f"{reason}; {_hex(found)} was taken for it"


def _hex(color: RGB) -> str:
    return "#{:02X}{:02X}{:02X}".format(*color)
