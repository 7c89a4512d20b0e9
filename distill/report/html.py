"""Report as one self-contained HTML file: inline style and images, no scripts, light and dark."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from importlib import resources
from itertools import groupby
from typing import Any

from PIL import Image

from distill.escaping import for_html as escape
from distill.report.blocks import (
    Block,
    CaptionedImage,
    Cell,
    ColorKey,
    Curves,
    Gallery,
    KeyValues,
    Metrics,
    Report,
    Section,
    Table,
    Text,
)
from distill.report.markdown import format_cell, numeric_columns
from distill.report.plots import draw_curves

MAX_IMAGE_PX = 640
"""Longer sides are shrunk to this: about 40 kB an image, so that a page of 60 stays near 2 MB."""
_WIDE_CHARS = 44


def to_html(report: Report) -> str:
    """Render the page."""
    style = resources.files("distill.report").joinpath("page.css").read_text()
    sections = "".join(_section(section, index) for index, section in enumerate(report.sections))
    facts = f"<footer><h2>Made with</h2>{_key_values(KeyValues(report.facts))}</footer>" if report.facts else ""
    summary = f"<p class='lead'>{escape(report.summary)}</p>" if report.summary else ""
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        "<meta name='color-scheme' content='light dark'>"
        f"<title>{escape(report.title)}</title><style>{style}</style></head>"
        f"<body><main><header><h1>{escape(report.title)}</h1>{summary}{_contents(report)}</header>"
        f"{sections}{facts}</main></body></html>\n"
    )


def _contents(report: Report) -> str:
    if len(report.sections) < 4:
        return ""
    links = "".join(f"<a href='#s{i}'>{escape(section.title)}</a>" for i, section in enumerate(report.sections))
    return f"<nav>{links}</nav>"


def _section(section: Section, index: int) -> str:
    parts = []
    # Consecutive plots are placed side by side.
    for plots, group in groupby(section.blocks, key=lambda block: isinstance(block, Curves)):
        text = "".join(_block(block) for block in group)
        parts.append(f"<div class='plots'>{text}</div>" if plots else text)
    return f"<section id='s{index}'><h2>{escape(section.title)}</h2>{''.join(parts)}</section>"


def _block(block: Block) -> str:
    return _WRITERS[type(block)](block)


def _text(block: Text) -> str:
    paragraphs = [escape(part) for part in block.text.split("\n\n")]
    return "".join(f"<p class='{escape(block.tone)}'>{part}</p>" for part in paragraphs)


def _curves(block: Curves) -> str:
    return f"<figure class='plot'>{_title(block.title)}{draw_curves(block)}</figure>"


def _title(title: str) -> str:
    return f"<h3>{escape(title)}</h3>" if title else ""


def _note(note: str) -> str:
    return f"<p class='note'>{escape(note)}</p>" if note else ""


def _cell(value: Cell) -> str:
    return escape(format_cell(value))


def _metrics(block: Metrics) -> str:
    tiles = "".join(
        f"<div class='tile'><b>{_cell(item.value)}</b><span>{escape(item.label)}</span>"
        + (f"<small>{escape(item.note)}</small>" if item.note else "")
        + "</div>"
        for item in block.items
    )
    return f"<div class='tiles'>{tiles}</div>"


def _key_values(block: KeyValues) -> str:
    rows = []
    for name, value in block.values.items():
        # Long values get a line of their own: next to others they would be too narrow.
        kind = " class='wide'" if len(format_cell(value)) > _WIDE_CHARS else ""
        rows.append(f"<div{kind}><dt>{escape(name)}</dt><dd>{_cell(value)}</dd></div>")
    return f"{_title(block.title)}<dl>{''.join(rows)}</dl>"


def _table(block: Table) -> str:
    numeric = numeric_columns(block)
    kinds = ["n" if is_number else "t" for is_number in numeric]
    head = "".join(f"<th class='{kind}'>{escape(name)}</th>" for name, kind in zip(block.columns, kinds, strict=True))
    body = "".join(
        "<tr>"
        + "".join(
            f"<td class='{kinds[column]}{' strong' if (row, column) in block.bold else ''}'>{_cell(cell)}</td>"
            for column, cell in enumerate(cells)
        )
        + "</tr>"
        for row, cells in enumerate(block.rows)
    )
    table = f"<div class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    return _title(block.title) + table + _note(block.note)


def _gallery(block: Gallery) -> str:
    figures = "".join(_figure(picture, block.lossless) for picture in block.images)
    grid = f"<div class='gallery' style='--columns:{block.columns}'>{figures}</div>"
    return _title(block.title) + grid + _note(block.note)


def _color_key(block: ColorKey) -> str:
    chips = "".join(
        f"<li><i style='background:rgb({int(red)},{int(green)},{int(blue)})'></i>{escape(name)}</li>"
        for name, (red, green, blue) in block.colors.items()
    )
    return f"<ul class='color-key'>{chips}</ul>"


def _figure(picture: CaptionedImage, lossless: bool) -> str:
    caption = escape(picture.caption)
    image = f"<img loading='lazy' alt='{caption}' src='{_data_uri(picture, lossless)}'>"
    return f"<figure>{image}{f'<figcaption>{caption}</figcaption>' if caption else ''}</figure>"


def _data_uri(picture: CaptionedImage, lossless: bool) -> str:
    image = Image.fromarray(picture.rgb)
    image.thumbnail((MAX_IMAGE_PX, MAX_IMAGE_PX), Image.Resampling.NEAREST if lossless else Image.Resampling.BOX)
    buffer = io.BytesIO()
    if lossless:
        image.save(buffer, "PNG", optimize=True)
    else:
        # Not optimize=True: Pillow then sizes its buffer by a guess, which noisy images overflow.
        image.save(buffer, "JPEG", quality=86, subsampling=0)
    kind = "png" if lossless else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


_WRITERS: dict[type, Callable[[Any], str]] = {
    Text: _text,
    Metrics: _metrics,
    KeyValues: _key_values,
    Table: _table,
    Gallery: _gallery,
    ColorKey: _color_key,
    Curves: _curves,
}
