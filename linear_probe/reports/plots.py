"""Plots as small SVG: no library, scalable, with selectable text.

Drawn 360 units wide, the width of a phone, and side by side on wider screens, so that text has one
size everywhere. All text from outside is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np

WIDTH = 360
COLOURS = (
    *("#0065a3", "#b84d00", "#00775a", "#9c3f7d", "#7a6200", "#3b3bb3", "#a3243b", "#4d4d4d"),
)
"""After Okabe and Ito's palette for the colour-blind, darkened for white paper."""

GREY = "#6b6b6b"
_DASHES = ("", "6 3", "2 3", "8 3 2 3")
_TICKS = 6


class Bar(NamedTuple):
    """A figure with its interval; `strong` stands out."""

    name: str
    value: float
    low: float
    high: float
    strong: bool = True


class Line(NamedTuple):
    """A line through points, with a band if low and high are given; a single point has a bar."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


class Key(NamedTuple):
    """A legend's entry: the name of a line or colour."""

    name: str
    colour: str
    dash: str


def keys(names: Sequence[str]) -> list[Key]:
    """The legend of lines or colours in drawing order."""
    return [
        Key(name, COLOURS[i % len(COLOURS)], _DASHES[i // len(COLOURS) % len(_DASHES)])
        for i, name in enumerate(names)
    ]


def ticks(low: float, high: float, count: int = _TICKS) -> list[float]:
    """Round numbers, about `count`, within low and high."""
    if not high > low:
        return [low]
    step = 10 ** math.floor(math.log10((high - low) / count))
    step *= next(m for m in (1, 2, 5, 10) if (high - low) / (step * m) <= count)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def interval_plot(title: str, rows: Sequence[tuple[str, Sequence[Bar]]], unit: str) -> str:
    """Figures as dots with their intervals, below the names of their rows.

    Args:
        rows: each with one bar, or with several of the same things in the same order, which are
            in the colours of their own names; their legend comes from `keys`.
    """
    legend = keys([bar.name for bar in rows[0][1]])
    apart, width, radius = (7, 2, 3) if len(legend) > 1 else (12, 3, 5)
    all_bars = [bar for _, bars in rows for bar in bars]
    low, high = _padded([b.low for b in all_bars], [b.high for b in all_bars])
    left, right, top = 12, WIDTH - 12, 8
    bottom = top + sum(24 + apart * len(bars) for _, bars in rows)

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    parts = []
    for tick in ticks(low, high):
        parts.append(_line(x(tick), 4, x(tick), bottom, "grid"))
        parts.append(_text(x(tick), bottom + 16, _number(tick), "tick", "middle"))
    parts.append(_text(right, bottom + 34, unit, "tick", "end"))
    labels = []
    for name, bars in rows:
        parts.append(_text(left, top + 15, short(name), "strong" if bars[0].strong else "label"))
        for i, (bar, key) in enumerate(zip(bars, legend, strict=True)):
            y, colour = top + 24 + apart * i, key.colour if bar.strong else GREY
            figure = f"{bar.value:.2f} [{bar.low:.2f}, {bar.high:.2f}]"
            label = name if bar.name == name else f"{name}, {bar.name}"
            labels.append(f"{label} {figure}")
            parts.append(
                f"<g><title>{escape(f'{label}: {figure} {unit}')}</title>"
                f'<line x1="{x(bar.low):.1f}" y1="{y}" x2="{x(bar.high):.1f}" y2="{y}" '
                f'stroke="{colour}" stroke-width="{width}" stroke-linecap="round"/>'
                f'<circle cx="{x(bar.value):.1f}" cy="{y}" r="{radius}" fill="{colour}"/></g>'
            )
        top += 24 + apart * len(bars)
    return _svg(f"{title}: {'; '.join(labels)}", bottom + 40, parts)


def line_plot(
    title: str,
    lines: Sequence[Line],
    x_name: str,
    y_name: str,
    x_ticks: Sequence[float] = (),
    log: bool = False,
    square: bool = False,
) -> str:
    """Lines with their bands and points; a legend comes from `keys`. If colours repeat, lines are
    dashed and points hollow.

    Args:
        x_ticks: marks of the axis; by default round numbers.
        log: a logarithmic axis of x; all must be above 0.
        square: both axes from 0 to 1, with the diagonal, and no points.
    """
    left, right, top, bottom = 44, WIDTH - 12, 20, 230 if not square else 324
    xs = [v for line in lines for v in line.x]
    ys = [v for line in lines for v in (*line.y, *line.low, *line.high)]
    x_low, x_high = (0.0, 1.0) if square else (min(xs), max(xs))
    y_low, y_high = (0.0, 1.0) if square else _padded(ys, ys)
    if x_low == x_high:
        x_low, x_high = x_low - 0.5, x_high + 0.5
        log = False

    def x(value: float) -> float:
        if log:
            part = math.log(value / x_low) / math.log(x_high / x_low)
        else:
            part = (value - x_low) / (x_high - x_low)
        return left + 6 + part * (right - left - 12)

    def y(value: float) -> float:
        return bottom - (value - y_low) / (y_high - y_low) * (bottom - top)

    parts = [_text(4, 12, y_name, "tick"), _text(right, bottom + 34, x_name, "tick", "end")]
    for tick in ticks(y_low, y_high):
        parts.append(_line(left, y(tick), right, y(tick), "grid"))
        parts.append(_text(left - 6, y(tick) + 4, _number(tick), "tick", "end"))
    last = -math.inf
    for tick in x_ticks or ticks(x_low, x_high):
        parts.append(_line(x(tick), bottom, x(tick), bottom + 4, "axis"))
        # Labels that would overlap are left out.
        if x(tick) - last >= 8 + 7 * len(_number(tick)):
            parts.append(_text(x(tick), bottom + 17, _number(tick), "tick", "middle"))
            last = x(tick)
    parts.append(_line(left, bottom, right, bottom, "axis"))
    if square:
        parts.append(_line(x(0), y(0), x(1), y(1), "grid"))
    for line, key in zip(lines, keys([line.name for line in lines]), strict=True):
        if line.x:  # else it keeps its colour for the plots beside this one
            points = [(x(a), y(b)) for a, b in zip(line.x, line.y, strict=True)]
            ends = [
                (x(a), y(b), y(c))
                for a, b, c in zip(line.x, line.low, line.high, strict=False)  # or no ends
            ]
            drawn = _marks(points, ends, key, with_points=not square)
            parts.append(f"<g><title>{escape(line.name)}</title>{drawn}</g>")
    labels = [f"{line.name} from {line.y[0]:.2f} to {line.y[-1]:.2f}" for line in lines if line.y]
    return _svg(f"{title}: {'; '.join(labels)}", bottom + 40, parts)


def _marks(
    points: Sequence[tuple[float, float]],
    ends: Sequence[tuple[float, float, float]],
    key: Key,
    with_points: bool,
) -> str:
    """A line with its band, or its bar, and its points; `ends` are x, low and high."""
    drawn = ""
    if len(points) == 1 and ends:
        at, low, high = ends[0]
        drawn += (
            f'<line x1="{at:.1f}" y1="{low:.1f}" x2="{at:.1f}" y2="{high:.1f}" '
            f'stroke="{key.colour}" stroke-width="1.5"/>'
        )
    elif ends:
        outline = [(a, low) for a, low, _ in ends] + [(a, high) for a, _, high in reversed(ends)]
        drawn += f'<polygon points="{_points(outline)}" fill="{key.colour}" opacity="0.12"/>'
    dash = f' stroke-dasharray="{key.dash}"' if key.dash else ""
    drawn += (
        f'<polyline points="{_points(points)}" fill="none" stroke="{key.colour}" '
        f'stroke-width="2"{dash}/>'
    )
    fill = "#ffffff" if key.dash else key.colour
    for a, b in points if with_points else ():
        drawn += (
            f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{fill}" stroke="{key.colour}" '
            'stroke-width="1.5"/>'
        )
    return drawn


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in points)


def map_plot(title: str, places: np.ndarray, of: np.ndarray, names: Sequence[str]) -> str:
    """Points [N, 2] in the colours of their class `of` [N]; a legend comes from `keys`."""
    low, high = places.min(axis=0), places.max(axis=0)
    side = WIDTH - 24
    scaled = 12 + (places - low) / np.maximum(high - low, 1e-12) * side
    parts = [f'<rect x="1" y="1" width="{WIDTH - 2}" height="{WIDTH - 2}" class="frame"/>']
    for i, key in enumerate(keys(names)):
        # Lines of no length with round ends are dots, at a tenth of the bytes of circles.
        dots = "".join(f"M{a:.0f} {b:.0f}h0" for a, b in scaled[of == i])
        if dots:
            parts.append(
                f'<path d="{dots}" stroke="{key.colour}" stroke-width="5" fill="none" '
                f'stroke-linecap="round" opacity="0.65"><title>{escape(key.name)}</title></path>'
            )
    return _svg(f"{title}: {len(places):,} points by {', '.join(names)}", WIDTH, parts)


def _svg(label: str, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _padded(lows: Sequence[float], highs: Sequence[float]) -> tuple[float, float]:
    low, high = min(lows), max(highs)
    pad = 0.05 * (high - low) or max(abs(low) * 0.05, 0.5)
    return low - pad, high + pad


def _number(value: float) -> str:
    return f"{value:,.6g}"


def short(name: str, most: int = 52) -> str:
    """The end of a long name: paths differ there."""
    return name if len(name) <= most else f"…{name[1 - most :]}"
