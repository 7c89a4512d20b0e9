"""Plots of a report: lines, points, histograms and bars as SVG, matrices as tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

from distill.escaping import for_html as escape
from distill.report.blocks import Bars, Curve, Curves, Histogram, Matrix
from distill.report.style import SERIES, SOFT, plot_axes, short_name, to_svg

_LARGEST = 1e100
"""Larger values are left out: they would flatten all others, and the range of an axis could overflow."""
_MAX_POINTS = 500
_MAX_BARS = 40
_NOTHING = "<p class='note'>nothing to plot</p>"
_DASHES = ("-", "--", "-.", ":")


def draw_curves(block: Curves) -> str:
    """The plot as an SVG element; points that are not finite, too large, or not positive on a log axis are left out."""
    curves = [_clean(curve, block) for curve in block.curves]
    if not any(curve.x for curve in curves):
        return _NOTHING
    with plot_axes(f"{block.title}{block.curves}") as (figure, axes):
        for index, curve in enumerate(curves):
            shown = _thinned(curve)
            color = SERIES[index % len(SERIES)]
            if block.markers_only:
                axes.plot(shown.x, shown.y, "o", color=color, markersize=7)
            else:
                # Lines differ in dashes as well as in color, for prints in gray.
                axes.plot(shown.x, shown.y, _DASHES[index % len(_DASHES)], color=color)
                axes.plot(shown.x[-1:], shown.y[-1:], "o", color=color, markersize=4)
        for value in block.references.values():
            if math.isfinite(value) and abs(value) < _LARGEST:
                axes.axhline(value, color=SOFT, linestyle=(0, (1, 2)), linewidth=1.4)
        axes.set_yscale("log" if block.log_y else "linear")
        axes.set_xscale("log" if block.log_x else "linear")
        _name_axes(axes, block.x_label, block.y_label)
        if block.y_range:
            axes.set_ylim(*block.y_range)
        elif not block.log_y:
            axes.margins(y=0.08)
            if min(y for curve in curves for y in curve.y) >= 0:
                axes.set_ylim(bottom=0)  # a cut axis makes small differences look large
        svg = to_svg(figure, _describe(block, curves))
    return svg + _legend(block)


def _clean(curve: Curve, block: Curves) -> Curve:
    pairs = [
        (float(x), float(y))
        for x, y in zip(curve.x, curve.y, strict=True)
        if abs(x) < _LARGEST and abs(y) < _LARGEST and (y > 0 or not block.log_y) and (x > 0 or not block.log_x)
    ]
    return Curve(curve.name, [x for x, _ in pairs], [y for _, y in pairs])


def _thinned(curve: Curve) -> Curve:
    """At most `_MAX_POINTS` points: a plot is 500 px wide, and more only make the file larger; the last one stays."""
    step = max(1, len(curve.x) // _MAX_POINTS)
    keep = sorted({*range(0, len(curve.x), step), len(curve.x) - 1} - {-1})
    return Curve(curve.name, [curve.x[index] for index in keep], [curve.y[index] for index in keep])


def _describe(block: Curves, curves: Sequence[Curve]) -> str:
    """Title and last values, for readers who do not see the plot."""
    last = ", ".join(f"{curve.name} ends at {curve.y[-1]:.4g}" for curve in curves[:8] if curve.y)
    return f"{block.title}: {last}" if last and not block.markers_only else block.title


def _legend(block: Curves) -> str:
    dots = " dot" if block.markers_only else ""
    items = [
        f"<li><i class='c{index % len(SERIES)}{dots}'></i>{escape(curve.name)}</li>"
        for index, curve in enumerate(block.curves)
    ]
    items += [f"<li><i class='reference'></i>{escape(name)}</li>" for name in block.references]
    # One line that is named as the plot needs no legend.
    if len(items) == 1 and block.curves and block.curves[0].name == block.title:
        return ""
    return f"<ul class='legend'>{''.join(items)}</ul>"


def draw_histogram(block: Histogram) -> str:
    """The histogram as an SVG element."""
    bins = [
        (low, high, float(count))
        for low, high, count in zip(block.edges[:-1], block.edges[1:], block.counts, strict=True)
        if abs(low) < _LARGEST and abs(high) < _LARGEST and abs(count) < _LARGEST
    ]
    if not bins:
        return _NOTHING
    with plot_axes(f"{block.title}{block.edges}{block.counts}") as (figure, axes):
        lefts, widths = [low for low, _, _ in bins], [(high - low) * 0.94 for low, high, _ in bins]
        axes.bar(lefts, [count for _, _, count in bins], widths, align="edge", color=SERIES[0])
        axes.set_xlim(bins[0][0], bins[-1][1])
        _name_axes(axes, block.x_label, block.y_label)
        svg = to_svg(figure, f"{block.title}: {len(bins)} bins, most in {_fullest(bins)}")
    return svg


def _fullest(bins: Sequence[tuple[float, float, float]]) -> str:
    low, high, _ = max(bins, key=lambda one: one[2])
    return f"{low:.3g} to {high:.3g}"


def draw_bars(block: Bars) -> str:
    """The bars as an SVG element, in the given order from the top."""
    names = block.names[:_MAX_BARS]
    finite = [
        [float(value) if value is not None and abs(value) < _LARGEST else 0.0 for value in values[:_MAX_BARS]]
        for values in block.series.values()
    ]
    if not names or not finite:
        return _NOTHING
    height = 0.7 + len(names) * (0.08 + 0.14 * len(finite))
    with plot_axes(f"{block.title}{block.names}{block.series}", max(1.6, height)) as (figure, axes):
        thick = 0.8 / len(finite)
        for index, values in enumerate(finite):
            places = [row + (index - (len(finite) - 1) / 2) * thick for row in range(len(names))]
            axes.barh(places, values, thick * 0.9, color=SERIES[index % len(SERIES)])
        axes.set_yticks(range(len(names)), [short_name(name) for name in names])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x")
        _name_axes(axes, block.x_label, "")
        svg = to_svg(figure, block.title)
    return svg + _legend(
        Curves("", [Curve(name, [], []) for name in block.series]) if len(finite) > 1 else Curves("", [])
    )


def draw_matrix(block: Matrix) -> str:
    """A colored table; the number stands in every cell, so that nothing depends on color alone."""
    names = list(block.names)
    head = "".join(f"<th scope='col' class='n'>{escape(name)}</th>" for name in names)
    rows = []
    for index, (name, values) in enumerate(zip(names, block.values, strict=True)):
        cells = "".join(_matrix_cell(value, index == column) for column, value in enumerate(values))
        rows.append(f"<tr><th scope='row'>{escape(name)}</th>{cells}</tr>")
    return (
        f"<div class='scroll' tabindex='0' role='region' aria-label='{escape(block.title)}'><table class='matrix'>"
        f"<thead><tr><th scope='col'>true ↓ predicted →</th>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _matrix_cell(value: float | None, right: bool) -> str:
    if value is None or not math.isfinite(value):
        return "<td class='n'>–</td>"
    share = min(max(value, 0.0), 1.0)
    color = "var(--c0)" if right else "var(--c1)"
    mark = f" style='background:color-mix(in srgb,{color} {round(55 * share)}%,transparent)'"
    text = f"{share:.0%}" if share >= 0.005 else ("0" if share == 0 else "<1%")
    return f"<td class='n'{mark}>{escape(text)}</td>"


def _name_axes(axes: object, x_label: str, y_label: str) -> None:
    axes.set_xlabel(short_name(x_label) if x_label else "")  # type: ignore[attr-defined]
    axes.set_ylabel(short_name(y_label) if y_label else "")  # type: ignore[attr-defined]
