"""Line charts as SVG, without a library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 150, 40, 48
COLOURS = ("#0b6e4f", "#c1292e", "#235789", "#f1a208", "#6b4e71", "#5c946e", "#888888", "#d16014")

Points = Sequence[tuple[float, float]]


def line_chart(title: str, x_title: str, y_title: str, lines: Mapping[str, Points]) -> str:
    """An SVG document: one line per name, x spread evenly over its values, y from zero."""
    xs = sorted({x for points in lines.values() for x, _ in points})
    top = _ceiling(max(y for points in lines.values() for _, y in points))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, 22, title, "start", size=15),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_title, "middle"),
        _text(LEFT, TOP - 6, y_title, "start"),
    ]
    parts += [_grid(top * step / 4, top) for step in range(5)]
    parts += [_text(_x(x, xs), HEIGHT - BOTTOM + 18, f"{x:,.0f}", "middle") for x in xs]
    for number, (name, points) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        parts += _line(name, colour, number, [(_x(x, xs), _y(y, top)) for x, y in points])
    return "\n".join([*parts, "</svg>\n"])


def _line(name: str, colour: str, number: int, points: Points) -> list[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    label_y = TOP + 14 + 18 * number
    return [
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
        *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points),
        f'<rect x="{WIDTH - RIGHT + 14}" y="{label_y - 4}" width="12" height="2" fill="{colour}"/>',
        _text(WIDTH - RIGHT + 30, label_y, name, "start"),
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


def _x(x: float, xs: Sequence[float]) -> float:
    # the steps of a plot are a doubling or a tenfold: evenly spaced they are all legible
    span = WIDTH - LEFT - RIGHT - 40
    return LEFT + 20 + span * xs.index(x) / max(1, len(xs) - 1)


def _y(y: float, top: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y / top


def _ceiling(value: float) -> float:
    """The next round number: 1, 2, 4 or 8 times a power of ten."""
    if value <= 0:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(value))
    return next(power * step for step in (1, 2, 4, 8, 10) if value <= power * step)
