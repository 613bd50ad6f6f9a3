"""What was measured over time, as SVG: panels one below the other, with the faults above all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from benchmarks.plot import ceiling

WIDTH, LEFT, RIGHT = 960, 64, 130
PANEL, TOP, BOTTOM = 150, 118, 40
GAP = 34
LABELS_MOST = 16
# readable on white and on black alike
COLOURS = ("#2f81f7", "#e5534b", "#2da44e", "#c69026", "#a371f7", "#768390", "#db61a2", "#1b9aaa")
STYLE = """<style>
  svg { background: #ffffff; color: #24292f; font: 11px sans-serif }
  text { fill: currentColor; stroke: #ffffff; stroke-width: 3px; paint-order: stroke }
  .title { font-size: 13px; font-weight: bold }
  .grid { stroke: #d8dee4 } .fault { stroke: #8c959f; stroke-dasharray: 2 3 }
  polyline { fill: none; stroke-width: 1.5; stroke-linejoin: round }
  @media (prefers-color-scheme: dark) {
    svg { background: #0d1117; color: #d1d7e0 } text { stroke: #0d1117 }
    .grid { stroke: #30363d } .fault { stroke: #656c76 }
  }
</style>"""

# (seconds, value); None where nothing could be measured, or where the line shall be broken
Points = Sequence[tuple[float, float | None]]


@dataclass(frozen=True, slots=True)
class Panel:
    """A chart of its own: lines by name over the seconds that all panels share."""

    title: str
    lines: Mapping[str, Points]


def timeline(
    title: str, seconds: float, panels: Sequence[Panel], faults: Sequence[tuple[float, str]]
) -> str:
    """An SVG document over ``seconds``, with a tick and a name for each fault."""
    height = TOP + len(panels) * (PANEL + GAP) + BOTTOM - GAP
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size}>', STYLE]
    parts.append(f'<text class="title" x="{LEFT}" y="20">{escape(title)}</text>')
    parts += [_fault(_x(at, seconds), name, height) for at, name in faults]
    for number, panel in enumerate(panels):
        parts += _panel(panel, TOP + number * (PANEL + GAP), seconds)
    parts += _clock(seconds, height - BOTTOM + 16)
    return "\n".join([*parts, "</svg>\n"])


def _x(at: float, seconds: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * min(at, seconds) / seconds


def _fault(x: float, name: str, height: float) -> str:
    bottom, top = height - BOTTOM, TOP - 22
    return (
        f'<line class="fault" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>'
        f'<text transform="translate({x + 3:.1f} {top - 4}) rotate(-60)">{escape(name)}</text>'
    )


def _panel(panel: Panel, top: float, seconds: float) -> list[str]:
    values = [y for points in panel.lines.values() for _, y in points if y is not None]
    most = ceiling(max(values, default=0))
    parts = [f'<text x="{LEFT}" y="{top - 6}">{escape(panel.title)}</text>']
    for step in range(3):
        y, value = top + PANEL * (1 - step / 2), most * step / 2
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
            f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{value:,g}</text>'
        )
    for number, (name, points) in enumerate(panel.lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        for stretch in _stretches(points):
            path = " ".join(
                f"{_x(at, seconds):.1f},{top + PANEL * (1 - y / most):.1f}" for at, y in stretch
            )
            parts.append(f'<polyline points="{path}" stroke="{colour}"/>')
        if name:
            parts.append(_legend(name, colour, top + 10 + 15 * number))
    return parts


def _legend(name: str, colour: str, y: float) -> str:
    left = WIDTH - RIGHT + 12
    return (
        f'<rect x="{left}" y="{y - 5}" width="12" height="3" fill="{colour}"/>'
        f'<text x="{left + 18}" y="{y}">{escape(name)}</text>'
    )


def _stretches(points: Points) -> list[list[tuple[float, float]]]:
    """The points in runs without a gap."""
    runs: list[list[tuple[float, float]]] = [[]]
    for at, y in points:
        if y is None:
            runs.append([])
        else:
            runs[-1].append((at, y))
    return [run for run in runs if run]


def _clock(seconds: float, y: float) -> list[str]:
    """The time below the last panel: minutes, or seconds where it is short."""
    unit, word = (60, "min") if seconds >= 300 else (1, "s")
    step = max(1, math.ceil(seconds / unit / LABELS_MOST))
    return [
        f'<text x="{_x(n * unit, seconds):.1f}" y="{y}" text-anchor="middle">{n}</text>'
        for n in range(0, int(seconds / unit) + 1, step)
    ] + [f'<text x="{WIDTH - RIGHT + 12}" y="{y}">{word}</text>']
