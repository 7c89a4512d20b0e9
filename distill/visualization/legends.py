"""Color bars, class legends, captions and contact sheets."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont

from distill.tasks import FAR_DEPTH_M, DepthKind, warp_depth
from distill.visualization.colormaps import depth_colors, error_colors
from distill.visualization.segmentation import class_colors

_MARGIN_RGB = (250, 250, 248)
_TEXT_RGB = (38, 40, 44)
_TICKS_M = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0)


def add_depth_bar(
    picture: UInt8[ndarray, "h w 3"],
    *,
    near_m: float | None = None,
    far_m: float | None = None,
    depth_kind: DepthKind = DepthKind.METRIC,
) -> UInt8[ndarray, "h2 w 3"]:
    """The image with the color bar of `draw_depth` below it."""
    if depth_kind is DepthKind.METRIC:
        low, high = float(warp_depth(near_m or 0.0)), float(warp_depth(far_m or FAR_DEPTH_M))
        places = [(meters, (float(warp_depth(meters)) - low) / (high - low)) for meters in _TICKS_M]
        ticks = [(place, f"{meters:g} m") for meters, place in places if -1e-6 <= place <= 1 + 1e-6]
    else:
        ticks = [(0.02, "near"), (0.98, f"far (relative: {depth_kind.replace('_', ' ')})")]
    return _add_bar(picture, depth_colors(), ticks)


def add_scale_bar(picture: UInt8[ndarray, "h w 3"], *, limit: float, unit: str) -> UInt8[ndarray, "h2 w 3"]:
    """The image with the color bar of `draw_error` below it."""
    ticks = [(share, f"{limit * share:g}{unit}" + (" or more" if share == 1 else "")) for share in (0.0, 0.5, 1.0)]
    return _add_bar(picture, error_colors(), ticks)


def _add_bar(picture: ndarray, colors: ndarray, ticks: Sequence[tuple[float, str]]) -> ndarray:
    width = picture.shape[1]
    size_px = _text_px(width)
    margin, bar_px = size_px // 2, max(size_px // 2, 4)
    strip = Image.new("RGB", (width, bar_px + size_px + 2 * margin), _MARGIN_RGB)
    inner = max(width - 2 * margin, 1)
    bar = cv2.resize(colors[None], (inner, bar_px), interpolation=cv2.INTER_LINEAR)
    strip.paste(Image.fromarray(bar), (margin, margin))
    pen, font = ImageDraw.Draw(strip), _font(size_px)
    right = -float(size_px)
    for share, text in ticks:
        length = pen.textlength(text, font=font)
        left = min(max(margin + share * inner - length / 2, margin / 2), width - length - margin / 2)
        if left < right + size_px / 2:
            continue  # labels that would overlap are left out
        pen.text((left, margin + bar_px + 1), text, fill=_TEXT_RGB, font=font)
        right = left + length
    return np.vstack([picture, np.asarray(strip)])


def add_class_legend(
    picture: UInt8[ndarray, "h w 3"], names: Sequence[str], *, only: Sequence[int] | None = None
) -> UInt8[ndarray, "h2 w 3"]:
    """The image with a color chip and name per class below it; `only` names the ids to list."""
    width = picture.shape[1]
    size_px = _text_px(width)
    font, margin = _font(size_px), size_px // 2
    rows, row, used = list[list[tuple[int, int]]](), list[tuple[int, int]](), margin
    for index in range(len(names)) if only is None else sorted(only):
        length = int(font.getlength(names[index])) + 2 * size_px
        if row and used + length > width:
            rows, row, used = [*rows, row], [], margin
        row.append((index, used))
        used += length
    rows = [*rows, row] if row else rows
    line_px = size_px + margin
    strip = Image.new("RGB", (width, len(rows) * line_px + margin), _MARGIN_RGB)
    pen, colors = ImageDraw.Draw(strip), class_colors(len(names))
    for number, entries in enumerate(rows):
        top = margin + number * line_px
        for index, left in entries:
            chip = (left, top + 1, left + size_px, top + size_px)
            pen.rectangle(chip, fill=tuple(int(c) for c in colors[index]))
            pen.text((left + size_px + margin // 2, top - size_px // 8), names[index], fill=_TEXT_RGB, font=font)
    return np.vstack([picture, np.asarray(strip)])


def add_caption(picture: UInt8[ndarray, "h w 3"], text: str) -> UInt8[ndarray, "h2 w 3"]:
    """The image with one line of text above it."""
    size_px = _text_px(picture.shape[1])
    strip = Image.new("RGB", (picture.shape[1], size_px + size_px // 2 + 2), _MARGIN_RGB)
    ImageDraw.Draw(strip).text((size_px // 3, size_px // 6), text, fill=_TEXT_RGB, font=_font(size_px))
    return np.vstack([np.asarray(strip), picture])


def contact_sheet(
    pictures: Sequence[UInt8[ndarray, "_h _w 3"]], captions: Sequence[str] | None = None, columns: int = 4
) -> UInt8[ndarray, "h w 3"]:
    """A contact sheet, row by row; each image fits a cell of the first one's size, with its caption above."""
    cell_h, cell_w = pictures[0].shape[:2]
    cells = []
    for index, picture in enumerate(pictures):
        cell = _letterbox(picture, cell_h, cell_w)
        cells.append(add_caption(cell, captions[index]) if captions else cell)
    blank = np.full_like(cells[0], _MARGIN_RGB)
    gap = max(cell_w // 80, 2)
    cells += [blank] * (-len(cells) % columns)
    rows = [
        np.hstack([np.pad(cell, ((0, gap), (0, gap), (0, 0)), constant_values=250) for cell in cells[start:][:columns]])
        for start in range(0, len(cells), columns)
    ]
    return np.vstack(rows)[:-gap, :-gap]


def _letterbox(picture: ndarray, height: int, width: int) -> ndarray:
    """Scaled to fit, centered on paper."""
    if picture.shape[:2] == (height, width):
        return picture
    scale = min(height / picture.shape[0], width / picture.shape[1])
    size_wh = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    small = cv2.resize(picture, size_wh, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
    cell = np.full((height, width, 3), _MARGIN_RGB, np.uint8)
    top, left = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
    cell[top : top + small.shape[0], left : left + small.shape[1]] = small
    return cell


def _text_px(width_px: int) -> int:
    return int(np.clip(width_px // 22, 12, 28))


@lru_cache(maxsize=32)
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)
