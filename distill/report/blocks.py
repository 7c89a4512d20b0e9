"""Building blocks of reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jaxtyping import UInt8
from numpy import ndarray

Cell = str | int | float | bool | None
"""A value in a table; None and NaN are shown as a dash."""


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph; blank lines separate paragraphs. `tone` is ``plain``, ``note`` (small) or ``warning``."""

    text: str
    tone: str = "plain"


@dataclass(frozen=True, slots=True)
class Metric:
    """One headline number with its name and a line below it."""

    value: Cell
    label: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Metrics:
    """A row of headline numbers."""

    items: Sequence[Metric]


@dataclass(frozen=True, slots=True)
class KeyValues:
    """Names and values, such as settings or versions."""

    values: Mapping[str, Cell]
    title: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows. The first column names the row; `bold` lists (row, column) cells in bold."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    note: str = ""
    bold: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True, slots=True)
class CaptionedImage:
    """One image with its caption."""

    rgb: UInt8[ndarray, "h w 3"]
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Gallery:
    """Images in a grid, row by row; `lossless` keeps flat colors exact (PNG), for maps of ids and generated images."""

    images: Sequence[CaptionedImage]
    columns: int = 4
    title: str = ""
    note: str = ""
    lossless: bool = False


@dataclass(frozen=True, slots=True)
class ColorKey:
    """Meaning of the colors of the following images; RGB in 0..255."""

    colors: Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a plot."""

    name: str
    x: Sequence[float | int]
    y: Sequence[float | int]


@dataclass(frozen=True, slots=True)
class Curves:
    """A plot of lines."""

    title: str
    curves: Sequence[Curve]
    x_label: str = ""
    y_label: str = ""
    log_y: bool = False


Block = Text | Metrics | KeyValues | Table | Gallery | ColorKey | Curves


@dataclass(frozen=True, slots=True)
class Section:
    """Blocks under a title."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Report:
    """A whole page.

    Attributes:
        title: Heading.
        summary: One or two sentences: the result.
        sections: In reading order.
        facts: Versions, machine and date, at the end of the page.
    """

    title: str
    sections: Sequence[Section]
    summary: str = ""
    facts: Mapping[str, Cell] = field(default_factory=dict)
