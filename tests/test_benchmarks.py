"""The benchmark's command works: its own contestants run, and its tables and plots say so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks.figures import Figures, Metric
from benchmarks.peers import PEERS, Home
from benchmarks.plot import line_chart

ROOT = Path(__file__).parents[1]
SVG = "{http://www.w3.org/2000/svg}"
OWN = [name for name, peer in PEERS.items() if peer.home is Home.OURS]


def test_command_measures_own_contestants(tmp_path: Path) -> None:
    """One command drains 200 jobs and picks up 20, and gives each contestant one figure a round."""
    out = tmp_path / "figures.json"
    sizes = ["--rounds", "1", "--jobs", "200", "--pickups", "20", "--cache", str(tmp_path)]
    command = [sys.executable, "-m", "benchmarks", "W2", "W4", *sizes]
    subprocess.run(
        [*command, "--peers", ",".join(OWN), "--json", str(out)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    rows: list[dict[str, Any]] = json.loads(out.read_text("utf-8"))
    drained = {row["contestant"]: len(row["values"]) for row in rows if "W2 drain" in row["metric"]}
    waited = {row["contestant"]: row["median"] > 0 for row in rows if "W4 pick-up" in row["metric"]}
    assert (dict.fromkeys(OWN, 1), dict.fromkeys(OWN, True)) == (drained, waited)


@pytest.mark.parametrize(
    ("more_is_better", "expected"),
    [
        (True, [["dragonfly", "30"], ["rival", "10", "3.00"]]),
        (False, [["rival", "10", "0.33"], ["dragonfly", "30"]]),
    ],
)
def test_table_shows_medians_and_ratios(more_is_better: bool, expected: list[list[str]]) -> None:
    """A table ranks the medians and says by how much Dragonfly is better."""
    figures = Figures()
    metric = Metric("speed", "{:.0f}", more_is_better)
    for value in (30, 31, 2):
        figures.add(metric, "dragonfly", value)
    for value in (10, 500, 9):
        figures.add(metric, "rival", value)
    _, _, *rows = figures.lines()
    words = [row.replace("×", "").split() for row in rows]
    assert expected == [[*row[:2], *row[5:]] for row in words]


def test_plot_draws_one_line_a_name() -> None:
    """A plot is an SVG document with one line a name, a point for each figure, and no raw text."""
    lines = {"a<b": [(1, 20.0), (10, 10.0)], "c": [(1, 5.0), (10, 40.0)]}
    root = ET.fromstring(line_chart("Cost", "slots", "µs", lines))
    names = {text.text for text in root.iter(f"{SVG}text")} & set(lines)
    counted = (len(root.findall(f"{SVG}polyline")), len(root.findall(f"{SVG}circle")), names)
    assert (2, 4, {"a<b", "c"}) == counted


def test_higher_cost_stands_higher() -> None:
    """The y axis starts at zero and goes up."""
    root = ET.fromstring(line_chart("Cost", "slots", "µs", {"c": [(1, 0.0), (2, 5.0), (3, 10.0)]}))
    low, middle, high = (float(circle.attrib["cy"]) for circle in root.iter(f"{SVG}circle"))
    assert pytest.approx(low - middle) == middle - high
    assert high < low
