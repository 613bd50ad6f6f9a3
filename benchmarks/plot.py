"""Line charts as SVG, without a library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 150, 52, 48
COLOURS = ("#0b6e4f", "#c1292e", "#235789", "#f1a208", "#6b4e71", "#5c946e", "#888888", "#d16014")
# a label of seven digits and two commas, with some air
X_LABEL_WIDTH = 68

Points = Sequence[tuple[float, float]]


def line_chart(
    title: str,
    x_title: str,
    y_title: str,
    lines: Mapping[str, Points],
    names: Sequence[str] = (),
) -> str:
    """An SVG document: one line per name, x spread evenly over its values, y from zero.

    Each of ``names`` has the same colour in every chart. A line without a name has no entry in the
    legend.
    """
    xs = sorted({x for points in lines.values() for x, _ in points})
    top = ceiling(max(y for points in lines.values() for _, y in points))
    parts = [
        _document(HEIGHT),
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, 22, title, "start", size=15),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_title, "middle"),
        _text(LEFT, TOP - 10, y_title, "start"),
    ]
    parts += [_grid(top * step / 4, top) for step in range(5)]
    parts += [_text(_x(x, xs), HEIGHT - BOTTOM + 18, f"{x:,.0f}", "middle") for x in _labelled(xs)]
    for number, (name, points) in enumerate(lines.items()):
        place = names.index(name) if name in names else number
        colour = COLOURS[place % len(COLOURS)]
        parts += _line(colour, [(_x(x, xs), _y(y, top)) for x, y in points])
        if name:
            parts += _legend(name, colour, TOP + 14 + 18 * number)
    return "\n".join([*parts, "</svg>\n"])


def stacked(charts: Sequence[str]) -> str:
    """One SVG document with these charts below each other."""
    height = HEIGHT * len(charts)
    panels = [
        f'<g transform="translate(0 {HEIGHT * number})">\n{chart}</g>'
        for number, chart in enumerate(charts)
    ]
    return "\n".join([_document(height), *panels, "</svg>\n"])


def _document(height: int) -> str:
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'


def _line(colour: str, points: Points) -> list[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return [
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
        *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points),
    ]


def _legend(name: str, colour: str, y: float) -> list[str]:
    left = WIDTH - RIGHT + 14
    return [
        f'<rect x="{left}" y="{y - 4}" width="12" height="2" fill="{colour}"/>',
        _text(left + 16, y, name, "start"),
    ]


def _grid(value: float, top: float) -> str:
    y = _y(value, top)
    return (
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dddddd"/>'
        + _text(LEFT - 8, y + 4, f"{value:,.4g}" if value < 10 else f"{value:,.0f}", "end")
    )


def _text(x: float, y: float, text: str, anchor: str, size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
        f' font-family="sans-serif" font-size="{size}">'
        f"{escape(text)}</text>"
    )


def _labelled(xs: Sequence[float]) -> Sequence[float]:
    """Every value, or every second, third … so that labels do not touch; always the last."""
    span = WIDTH - LEFT - RIGHT - 40
    every = max(1, math.ceil(X_LABEL_WIDTH * (len(xs) - 1) / span))
    return xs[::-1][::every][::-1]


def _x(x: float, xs: Sequence[float]) -> float:
    # the steps of a plot are a doubling or a tenfold: evenly spaced they are all legible
    span = WIDTH - LEFT - RIGHT - 40
    return LEFT + 20 + span * xs.index(x) / max(1, len(xs) - 1)


def _y(y: float, top: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y / top


def ceiling(value: float) -> float:
    """The next round number: 1, 2, 4 or 8 times a power of ten."""
    if value <= 0:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(value))
    return next(power * step for step in (1, 2, 4, 8, 10) if value <= power * step)
