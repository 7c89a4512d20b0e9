"""What a report is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jaxtyping import UInt8
from numpy import ndarray

Cell = str | int | float | bool | None
"""A value in a table; None and NaN are shown as a dash."""


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph; blank lines part paragraphs. `tone` is ``plain``, ``note`` (small) or ``warning``."""

    text: str
    tone: str = "plain"


@dataclass(frozen=True, slots=True)
class Headline:
    """One number that matters, with what it is, and a line below it."""

    value: Cell
    label: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Headlines:
    """A row of numbers that matter."""

    items: Sequence[Headline]


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values, such as settings or versions."""

    values: Mapping[str, Cell]
    title: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows. The first column names the row; `strong` marks (row, column) cells to stand out."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    note: str = ""
    strong: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture with its caption."""

    rgb: UInt8[ndarray, "h w 3"]
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Gallery:
    """Pictures in a grid, row by row; `sharp` keeps flat colors exact (PNG), for maps of ids and generated images."""

    pictures: Sequence[Picture]
    columns: int = 4
    title: str = ""
    note: str = ""
    sharp: bool = False


@dataclass(frozen=True, slots=True)
class Swatches:
    """Which color stands for what, for the pictures that follow; RGB in 0..255."""

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


Block = Text | Headlines | Facts | Table | Gallery | Swatches | Curves


@dataclass(frozen=True, slots=True)
class Section:
    """Blocks under a title."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Report:
    """A whole page.

    Attributes:
        title: What was done.
        summary: One or two sentences: the result.
        sections: In reading order.
        facts: What it was made with: versions, machine, date; stands at the end.
    """

    title: str
    sections: Sequence[Section]
    summary: str = ""
    facts: Mapping[str, Cell] = field(default_factory=dict)
