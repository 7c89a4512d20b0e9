"""Report as one self-contained HTML file: inline style, script and images, light and dark.

The script only sorts tables and enlarges pictures; without it, the page shows the same.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from importlib import resources
from itertools import groupby
from typing import Any
from urllib.parse import quote

from PIL import Image

from distill.escaping import for_html as escape
from distill.report.blocks import (
    Bars,
    Block,
    CaptionedImage,
    Cell,
    Code,
    ColorKey,
    ColorScale,
    Curves,
    Fold,
    Gallery,
    Histogram,
    KeyValues,
    Links,
    Matrix,
    Metrics,
    Report,
    Section,
    Table,
    Text,
    Video,
)
from distill.report.markdown import format_cell, numeric_columns
from distill.report.plots import draw_bars, draw_curves, draw_histogram, draw_matrix

MAX_IMAGE_PX = 640
"""Longer sides are shrunk to this: about 40 kB an image, so that a page of 60 stays near 2 MB."""
_WIDE_CHARS = 44
_LARGEST = 1e300


def to_html(report: Report) -> str:
    """Render the page."""
    files = resources.files("distill.report")
    style, script = (files.joinpath(f"page.{suffix}").read_text() for suffix in ("css", "js"))
    sections = "".join(_section(section, index) for index, section in enumerate(report.sections))
    facts = f"<footer><h2>Made with</h2>{_key_values(KeyValues(report.facts))}</footer>" if report.facts else ""
    summary = f"<p class='lead'>{escape(report.summary)}</p>" if report.summary else ""
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        "<meta name='color-scheme' content='light dark'><meta name='generator' content='distill'>"
        f"<title>{escape(report.title)}</title><style>{style}</style></head>"
        f"<body>{_pages(report)}<main><header><h1>{escape(report.title)}</h1>{summary}{_contents(report)}</header>"
        f"{sections}{facts}</main><script>{script}</script></body></html>\n"
    )


def _pages(report: Report) -> str:
    marks = {True: " aria-current='page'", False: ""}
    links = "".join(
        f"<a href='{escape(quote(link.target))}'{marks[link.current]}>{escape(link.text)}</a>" for link in report.pages
    )
    return f"<nav class='pages' aria-label='Pages'>{links}</nav>" if links else ""


def _contents(report: Report) -> str:
    if len(report.sections) < 4:
        return ""
    links = "".join(f"<a href='#s{i}'>{escape(section.title)}</a>" for i, section in enumerate(report.sections))
    return f"<nav aria-label='On this page'>{links}</nav>"


_SIDE_BY_SIDE = (Curves, Histogram, Bars)


def _section(section: Section, index: int) -> str:
    return f"<section id='s{index}'><h2>{escape(section.title)}</h2>{_blocks(section.blocks)}</section>"


def _blocks(blocks: Sequence[Block]) -> str:
    parts = []
    # Consecutive plots are placed side by side.
    for plots, group in groupby(blocks, key=lambda block: isinstance(block, _SIDE_BY_SIDE)):
        text = "".join(_block(block) for block in group)
        parts.append(f"<div class='plots'>{text}</div>" if plots else text)
    return "".join(parts)


def _block(block: Block) -> str:
    return _WRITERS[type(block)](block)


def _text(block: Text) -> str:
    paragraphs = [escape(part) for part in block.text.split("\n\n")]
    return "".join(f"<p class='{escape(block.tone)}'>{part}</p>" for part in paragraphs)


def _plot(title: str, better: str, svg: str) -> str:
    arrow = {"lower": " <small>lower is better</small>", "higher": " <small>higher is better</small>"}.get(better, "")
    heading = f"<h3>{escape(title)}{arrow}</h3>" if title else ""
    return f"<figure class='plot'>{heading}{svg}</figure>"


def _curves(block: Curves) -> str:
    return _plot(block.title, block.better, draw_curves(block))


def _histogram(block: Histogram) -> str:
    return _plot(block.title, "", draw_histogram(block))


def _bars(block: Bars) -> str:
    return _plot(block.title, block.better, draw_bars(block))


def _matrix(block: Matrix) -> str:
    return _title(block.title) + draw_matrix(block) + _note(block.note)


def _video(block: Video) -> str:
    source = escape(quote(block.source))
    caption = f"<figcaption>{escape(block.caption)} <a href='{source}'>file</a></figcaption>"
    name = escape(block.caption or "video")
    video = f"<video controls preload='metadata' aria-label='{name}' src='{source}'></video>"
    return f"<figure class='video'>{video}{caption}</figure>"


def _links(block: Links) -> str:
    items = "".join(
        f"<li><a href='{escape(quote(link.target, safe='/#.'))}'>{escape(link.text)}</a>"
        + (f" <span>{escape(link.note)}</span>" if link.note else "")
        + "</li>"
        for link in block.items
    )
    return f"<ul class='links'>{items}</ul>"


def _code(block: Code) -> str:
    return f"{_title(block.title)}<pre tabindex='0'>{escape(block.text)}</pre>"


def _fold(block: Fold) -> str:
    return f"<details><summary>{escape(block.title)}</summary>{_blocks(block.blocks)}</details>"


def _color_scale(block: ColorScale) -> str:
    stops = ",".join(f"rgb({int(red)},{int(green)},{int(blue)})" for red, green, blue in block.colors)
    labels = "".join(f"<span>{escape(label)}</span>" for label in block.labels)
    title = f"<b>{escape(block.title)}</b>" if block.title else ""
    bar = f"<i style='background:linear-gradient(to right,{stops})'></i>"
    return f"<div class='scale'>{title}{bar}<div>{labels}</div></div>"


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
    head = "".join(
        f"<th scope='col' class='{kind}'>{escape(name)}</th>" for name, kind in zip(block.columns, kinds, strict=True)
    )
    body = "".join(
        "<tr>" + "".join(_table_cell(block, row, column, kinds[column]) for column in range(len(cells))) + "</tr>"
        for row, cells in enumerate(block.rows)
    )
    name = escape(block.title or ", ".join(name for name in block.columns[:3] if name) or "table")
    sortable = " class='sortable'" if len(block.rows) > 2 else ""
    return (
        f"{_title(block.title)}<div class='scroll' tabindex='0' role='region' aria-label='{name}'><table{sortable}>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{_note(block.note)}"
    )


def _table_cell(block: Table, row: int, column: int, kind: str) -> str:
    value = block.rows[row][column]
    # The exact number, by which the script sorts.
    number = f" data-v='{float(value)!r}'" if isinstance(value, (int, float)) and abs(value) < _LARGEST else ""
    return f"<td class='{kind}{' strong' if (row, column) in block.bold else ''}'{number}>{_cell(value)}</td>"


def _gallery(block: Gallery) -> str:
    most_px = MAX_IMAGE_PX * (3 if block.full_size else 1)
    figures = "".join(_figure(picture, block.lossless, most_px) for picture in block.images)
    grid = f"<div class='gallery' style='--columns:{block.columns}'>{figures}</div>"
    return _title(block.title) + grid + _note(block.note)


def _color_key(block: ColorKey) -> str:
    chips = "".join(
        f"<li><i style='background:rgb({int(red)},{int(green)},{int(blue)})'></i>{escape(name)}</li>"
        for name, (red, green, blue) in block.colors.items()
    )
    return f"<ul class='color-key'>{chips}</ul>"


def _figure(picture: CaptionedImage, lossless: bool, most_px: int) -> str:
    caption = escape(picture.caption)
    image = f"<img loading='lazy' alt='{caption}' src='{_data_uri(picture, lossless, most_px)}'>"
    return f"<figure>{image}{f'<figcaption>{caption}</figcaption>' if caption else ''}</figure>"


def _data_uri(picture: CaptionedImage, lossless: bool, most_px: int) -> str:
    image = Image.fromarray(picture.rgb)
    image.thumbnail((most_px, most_px), Image.Resampling.NEAREST if lossless else Image.Resampling.BOX)
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
    ColorScale: _color_scale,
    Curves: _curves,
    Histogram: _histogram,
    Bars: _bars,
    Matrix: _matrix,
    Video: _video,
    Links: _links,
    Code: _code,
    Fold: _fold,
}
