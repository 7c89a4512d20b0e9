"""Line plots as inline SVG without scripts and fonts; colors come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence

from distill.escaping import for_html as escape
from distill.report.blocks import Curve, Curves

_WIDTH, _HEIGHT = 560, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 10, 40
_LARGEST = 1e100
"""Larger values are left out: they would flatten all others, and the range of an axis could overflow."""


def draw_curves(block: Curves) -> str:
    """The plot as an SVG element; points that are not finite, too large, or not positive on a log axis are left out."""
    curves = [_clean(curve, block.log_y) for curve in block.curves]
    points = [(x, y) for curve in curves for x, y in zip(curve.x, curve.y, strict=True)]
    if not points:
        return "<p class='note'>nothing to plot</p>"
    x_axis = _Axis([x for x, _ in points], _LEFT, _WIDTH - _RIGHT, log=False)
    y_axis = _Axis([y for _, y in points], _HEIGHT - _BOTTOM, _TOP, log=block.log_y)
    lines = "".join(_line(curve, x_axis, y_axis, index) for index, curve in enumerate(curves) if curve.x)
    return (
        f"<svg viewBox='0 0 {_WIDTH} {_HEIGHT}' role='img' aria-label='{escape(block.title)}'>"
        f"{_grid(x_axis, y_axis)}{_labels(block)}{lines}</svg>{_legend(block.curves)}"
    )


def _clean(curve: Curve, log_y: bool) -> Curve:
    pairs = [
        (float(x), float(y))
        for x, y in zip(curve.x, curve.y, strict=True)
        if abs(x) < _LARGEST and abs(y) < _LARGEST and (y > 0 or not log_y)
    ]
    return Curve(curve.name, [x for x, _ in pairs], [y for _, y in pairs])


class _Axis:
    """Scale from values to pixels, with ticks."""

    def __init__(self, values: Sequence[float], start_px: int, stop_px: int, *, log: bool) -> None:
        self.log, self._start, self._stop = log, start_px, stop_px
        low, high = min(values), max(values)
        if log:
            low, high = math.log10(low), math.log10(high)
        if high - low < 1e-12 * max(abs(low), abs(high), 1e-30):
            low, high = low - 0.5, high + 0.5
        pad = 0.04 * (high - low) if start_px > stop_px else 0.0
        self._low, self._high = low - pad, high + pad
        self.ticks = self._log_ticks() if log else self._even_ticks()

    def __call__(self, value: float) -> float:
        position = math.log10(value) if self.log else value
        return self._start + (position - self._low) / (self._high - self._low) * (self._stop - self._start)

    def _even_ticks(self) -> list[float]:
        raw = (self._high - self._low) / 5
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
        first = math.ceil(self._low / step)
        return [index * step for index in range(first, math.floor(self._high / step) + 1)]

    def _log_ticks(self) -> list[float]:
        decades = range(math.floor(self._low), math.ceil(self._high) + 1)
        wide = self._high - self._low > 2.5
        values = [factor * 10.0**decade for decade in decades for factor in ((1,) if wide else (1, 2, 5))]
        return [value for value in values if self._low <= math.log10(value) <= self._high]


def _grid(x_axis: _Axis, y_axis: _Axis) -> str:
    parts = []
    for value in y_axis.ticks:
        y = y_axis(value)
        parts.append(f"<line class='grid' x1='{_LEFT}' x2='{_WIDTH - _RIGHT}' y1='{y:.1f}' y2='{y:.1f}'/>")
        parts.append(f"<text class='tick' x='{_LEFT - 7}' y='{y + 3.5:.1f}' text-anchor='end'>{_short(value)}</text>")
    for value in x_axis.ticks:
        x = x_axis(value)
        parts.append(
            f"<text class='tick' x='{x:.1f}' y='{_HEIGHT - _BOTTOM + 15}' text-anchor='middle'>{_short(value)}</text>"
        )
    base = _HEIGHT - _BOTTOM
    parts.append(f"<line class='axis' x1='{_LEFT}' x2='{_WIDTH - _RIGHT}' y1='{base}' y2='{base}'/>")
    return "".join(parts)


def _labels(block: Curves) -> str:
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    x_label = f"<text class='label' x='{middle}' y='{_HEIGHT - 6}' text-anchor='middle'>{escape(block.x_label)}</text>"
    y_middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    turned = f"transform='rotate(-90 13 {y_middle})'"
    y_label = f"<text class='label' x='13' y='{y_middle}' text-anchor='middle' {turned}>{escape(block.y_label)}</text>"
    return x_label + y_label


def _line(curve: Curve, x_axis: _Axis, y_axis: _Axis, index: int) -> str:
    # A plot is 500 px wide: more points than that only make the file larger.
    step = max(1, len(curve.x) // 500)
    pairs = [*zip(curve.x, curve.y, strict=True)]
    shown = pairs[::step] if pairs[-1] in pairs[::step][-1:] else [*pairs[::step], pairs[-1]]
    path = " ".join(f"{x_axis(x):.1f},{y_axis(y):.1f}" for x, y in shown)
    tip_x, tip_y = x_axis(shown[-1][0]), y_axis(shown[-1][1])
    color = index % 6
    return (
        f"<polyline class='curve c{color}' points='{path}'/>"
        f"<circle class='tip c{color}' cx='{tip_x:.1f}' cy='{tip_y:.1f}' r='3'/>"
    )


def _legend(curves: Sequence[Curve]) -> str:
    items = "".join(f"<li><i class='c{index % 6}'></i>{escape(curve.name)}</li>" for index, curve in enumerate(curves))
    return f"<ul class='legend'>{items}</ul>"


def _short(value: float) -> str:
    size = abs(value)
    if size >= 1e6 or 0 < size < 1e-3:
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:,.0f}" if size >= 1000 else f"{value:.4g}"
