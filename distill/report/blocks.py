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
    """Images in a grid, row by row.

    Attributes:
        lossless: Keep flat colors exact (PNG), for maps of ids and generated images.
        full_size: Keep up to three times as many pixels a side, for sheets of many small images.
    """

    images: Sequence[CaptionedImage]
    columns: int = 4
    title: str = ""
    note: str = ""
    lossless: bool = False
    full_size: bool = False


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
    """A plot of lines.

    Attributes:
        better: ``lower`` or ``higher``: the direction in which values are better, shown with the title.
        references: Horizontal lines to compare with, such as the score of the mean baseline.
        markers_only: Points without lines: a comparison of models, not a course.
        y_range: Fixed range of the y axis.
    """

    title: str
    curves: Sequence[Curve]
    x_label: str = ""
    y_label: str = ""
    log_y: bool = False
    log_x: bool = False
    better: str = ""
    references: Mapping[str, float] = field(default_factory=dict)
    markers_only: bool = False
    y_range: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts or values of bins: bin ``i`` covers ``edges[i]`` to ``edges[i + 1]``."""

    title: str
    edges: Sequence[float]
    counts: Sequence[float | int]
    x_label: str = ""
    y_label: str = ""


@dataclass(frozen=True, slots=True)
class Bars:
    """Horizontal bars: one group per name, one bar per series."""

    title: str
    names: Sequence[str]
    series: Mapping[str, Sequence[float | int | None]]
    x_label: str = ""
    better: str = ""


@dataclass(frozen=True, slots=True)
class Matrix:
    """Fractions in 0..1 as a colored table; every row is one true class."""

    title: str
    names: Sequence[str]
    values: Sequence[Sequence[float | None]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class ColorScale:
    """Color bar of the following images: RGB from the first to the last label."""

    title: str
    colors: Sequence[Sequence[int]]
    labels: Sequence[str]


@dataclass(frozen=True, slots=True)
class Video:
    """A video file near the page; `source` is a path relative to the page."""

    source: str
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """A link to another page of the same set, or to a file near it; `target` is a relative path."""

    target: str
    text: str
    note: str = ""
    current: bool = False


@dataclass(frozen=True, slots=True)
class Links:
    """A list of links."""

    items: Sequence[Link]


@dataclass(frozen=True, slots=True)
class Code:
    """Commands or other text in fixed width, exactly as it is."""

    text: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Fold:
    """Blocks that are shown on demand."""

    title: str
    blocks: Sequence[Block]


Block = (
    Text
    | Metrics
    | KeyValues
    | Table
    | Gallery
    | ColorKey
    | ColorScale
    | Curves
    | Histogram
    | Bars
    | Matrix
    | Video
    | Links
    | Code
    | Fold
)


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
        pages: Links to all pages of the set, this one included.
    """

    title: str
    sections: Sequence[Section]
    summary: str = ""
    facts: Mapping[str, Cell] = field(default_factory=dict)
    pages: Sequence[Link] = ()
