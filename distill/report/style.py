"""Colors, fonts and ranges of all plots: matplotlib to SVG whose colors follow the style sheet of the page."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from distill.escaping import for_html, for_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Stand-ins that become variables of the style sheet, so that one SVG fits the light and the dark page.
INK, SOFT, LINE, ACCENT = "#000101", "#000102", "#000103", "#000104"
SERIES = tuple(f"#0002{index:02x}" for index in range(7))
"""Okabe and Ito's colors in an order in which neighbors differ in lightness, for readers who see no red or green."""
_VARIABLES = {INK: "ink", SOFT: "soft", LINE: "line", ACCENT: "accent"} | {
    color: f"c{index}" for index, color in enumerate(SERIES)
}
WIDTH_IN, HEIGHT_IN = 5.2, 2.7
"""One point of this size is one pixel on a phone: ticks of 10 points stay readable at 390 px."""
MAX_NAME = 28
_RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # names of strangers may hold dollar signs
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "ytick.left": False,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
}


@contextmanager
def plot_axes(salt: str, height_in: float = HEIGHT_IN) -> Iterator[tuple[Figure, Axes]]:
    """Figure and axes in the style of the pages; without pyplot, which keeps figures and is not safe in threads."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    # The salt makes ids of clip paths the same in every run, and different between the plots of a page.
    with rc_context({**_RC, "svg.hashsalt": hashlib.sha256(salt.encode(errors="replace")).hexdigest()}):
        figure = Figure((WIDTH_IN, height_in), layout="constrained")
        yield figure, figure.add_subplot()


def to_svg(figure: Figure, label: str) -> str:
    """The figure as an SVG element, with the colors of the page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # not referenced, and the same in every plot
    text = re.sub(r'^<svg[^>]*viewBox="([^"]*)"[^>]*>', r"<svg viewBox='\1' role='img' aria-label='{}'>", text)
    text = text.replace("aria-label='{}'", f"aria-label='{for_html(label)}'", 1)
    text = text.replace("xlink:href", "href").replace(
        '<style type="text/css">*{stroke-linejoin: round; stroke-linecap: butt}</style>', ""
    )
    return re.sub(
        r'style="[^"]*"',
        lambda found: re.sub(
            r"#000[12][0-9a-f]{2}", lambda color: f"var(--{_VARIABLES.get(color[0], 'ink')})", found[0]
        ),
        text,
    ).strip()


def short_name(name: str) -> str:
    """A name for an axis: one line of at most `MAX_NAME` letters."""
    text = for_line(name)
    return text if len(text) <= MAX_NAME else text[: MAX_NAME - 1] + "…"
