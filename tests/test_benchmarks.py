"""The benchmark's command works: its own contestants run, and its tables and plots say so."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from itertools import groupby, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from xml.etree import ElementTree as ET

import pytest

from benchmarks import curves
from benchmarks.bench import QUICK, Bench
from benchmarks.curves import Curve
from benchmarks.drivers.protocol import Contestant
from benchmarks.figures import Figures, Metric
from benchmarks.machine import busy
from benchmarks.peers import DRAGONFLY, PEERS, Home, Peer
from benchmarks.plot import HEIGHT, line_chart, stacked
from benchmarks.rounds import run
from benchmarks.works import WORKS
from benchmarks.works.arriving import AHEAD_SECONDS, offsets, percentile
from benchmarks.works.enqueueing import RUNG, SILENT
from benchmarks.works.soaking import Mark, plot, rates

ROOT = Path(__file__).parents[1]
DRIVERS = ROOT / "benchmarks" / "drivers"
SVG = "{http://www.w3.org/2000/svg}"
OWN = [name for name, peer in PEERS.items() if peer.home is Home.OURS]
# a generous width of a digit of the plots' small print
DIGIT = 7
MAY_BE_NOTHING = ("processor time", "share of who did less")


def measured(tmp_path: Path, *works: str, peers: list[str] = OWN) -> dict[str, set[str]]:
    """Who has figures above nothing, by metric, after one tiny round.

    But for what may be nothing: so few jobs take less than a tick of the processor's clock, and
    one claim of one process may have them all.
    """
    out = tmp_path / "figures.json"
    options = ["--quick", "--rounds", "1", "--peers", ",".join(peers), "--json", str(out)]
    command = [sys.executable, "-m", "benchmarks", *works, *options, "--cache", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    figures: list[dict[str, Any]] = json.loads(out.read_text("utf-8"))["figures"]
    told: dict[str, set[str]] = {}
    for row in figures:
        if row["median"] > 0 or any(words in row["metric"] for words in MAY_BE_NOTHING):
            told.setdefault(row["metric"], set()).add(row["contestant"])
    return told


def test_command_measures_own_contestants(tmp_path: Path) -> None:
    """One command gives each contestant its figures, and bare more for W1C."""
    told = measured(tmp_path, "W1C", "W2T", "W3", "W4S", "W4U")
    assert {
        "W1C enqueue by 10, a session listens, jobs/s": {*OWN, SILENT, RUNG},
        "W1C enqueue by 10, a worker idles, jobs/s": {*OWN},
        "W2T drain, a transaction each, jobs/s": {*OWN},
        "W2T worker's processor time a job, µs": {*OWN},
        "W2T server's processor time a job, µs": {*OWN},
        "W3 drain, two processes, jobs/s": {*OWN},
        "W3 share of who did less, %": {*OWN},
        "W3 workers' processor time a job, µs": {*OWN},
        "W3 server's processor time a job, µs": {*OWN},
        "W4S start after run_at p50, ms": {*OWN},
        "W4S start after run_at p99, ms": {*OWN},
        "W4U start after a commit that rang nobody p50, ms": {DRAGONFLY},
        "W4U start after a commit that rang nobody, most, ms": {DRAGONFLY},
    } == told


def test_command_measures_dragonfly_alone(tmp_path: Path) -> None:
    """W6 tells six situations of the table, W8 has an empty Python as floor, SOAK a plot."""
    told = measured(tmp_path, "W6", "W8", "SOAK", peers=[DRAGONFLY])
    backlogs = [who for metric, who in told.items() if metric.startswith("W6")]
    assert [{DRAGONFLY}] * (1 + 2 * 5) == backlogs
    assert {"python -c pass", DRAGONFLY} == told["W8 command --help, ms"]
    assert {DRAGONFLY} == told["SOAK drain while enqueueing, jobs/s"]
    assert (tmp_path / "plots" / "soak.svg").exists()


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


def test_plain_values_keep_every_round() -> None:
    """What --json holds of a metric is every round's figure, in their order."""
    figures = Figures()
    for value in (3.0, 1.0, 2.0):
        figures.add(Metric("speed", "{:.0f}"), "dragonfly", value)
    (row,) = figures.as_json()
    assert ([3.0, 1.0, 2.0], 2.0) == (row["values"], row["median"])


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS.keys())
def test_each_driver_answers_every_command(peer: Any) -> None:
    """A driver has all that the protocol asks of a contestant."""
    asked = {name for name in vars(Contestant) if not name.startswith("_")}
    if peer.home is Home.NODE:
        text = (DRIVERS / peer.driver).read_text("utf-8")
        # a pool's connections are lanes enough: protocol.mjs calls add() from many places at once
        asked = {re.sub(r"_(\w)", lambda found: found[1].upper(), name) for name in asked}
        answered = set(re.findall(r"^  async (\w+)\(", text, re.MULTILINE)) | {"lanes"}
    else:
        tree = ast.parse((DRIVERS / f"{peer.driver}.py").read_text("utf-8"))
        answered = {node.name for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)}
    assert set() == asked - answered


def test_each_work_is_documented() -> None:
    """Every work has a row in the table of docs/performance.md."""
    text = (ROOT / "docs" / "performance.md").read_text("utf-8")
    documented = re.findall(r"^\| (W\d\w?|SOAK) \|", text, re.MULTILINE)
    assert {*WORKS, "W7"} == {*documented}


def test_scheduled_jobs_are_due_at_irregular_times() -> None:
    """Each is due 0.3 to 1 s after its batch began, at the same times in every round."""
    planned = offsets(500)
    low, high = AHEAD_SECONDS
    assert planned == offsets(500)
    assert all(low <= offset <= high for offset in planned)
    # to the millisecond, so that some of 500 in 700 ms must meet
    assert len(set(planned)) > 300


def test_percentiles_are_values_that_were_measured() -> None:
    """Of 500 waits p99 is the one that five exceed or equal, p50 the one in the middle."""
    waits = [float(n) for n in range(500)]
    found = (percentile(waits, 0.5), percentile(reversed(waits), 0.99), percentile([7.0], 0.99))
    assert (250.0, 495.0, 7.0) == found


def test_soak_rates_are_between_the_marks() -> None:
    """Each part's rate counts from the mark before it."""
    second = 10**9
    marks = [Mark(1, 0, 50, 1, 0), Mark(101, second, 50, 1, 0), Mark(201, 3 * second, 50, 1, 0)]
    assert [100.0, 50.0] == rates(marks)


def test_soak_plot_has_a_panel_each_for_rate_memory_and_table() -> None:
    """The three panels stand below each other in one document."""
    marks = [Mark(n * 100_000, n, 50.0 + n, 300.0, 0) for n in range(1, 21)]
    root = ET.fromstring(plot(marks, [40_000.0] * 20))
    places = [panel.attrib["transform"] for panel in root.findall(f"{SVG}g")]
    assert [f"translate(0 {HEIGHT * n})" for n in range(3)] == places


def test_busy_names_who_uses_the_processor() -> None:
    """A process that spins is named, without its command line."""
    code = "while True: pass"
    with subprocess.Popen([sys.executable, "-c", code]) as spinning:
        try:
            lines = [line for line in busy(0.5) if f"(process {spinning.pid})" in line]
        finally:
            spinning.kill()
    (line,) = lines
    assert code not in line


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


@pytest.mark.parametrize("many", [1, 2, 6, 20])
def test_labels_of_an_axis_do_not_touch(many: int) -> None:
    """However many values x has, its labels keep apart, and the last one is there."""
    points = [(n * 100_000.0, 1.0) for n in range(1, many + 1)]
    root = ET.fromstring(line_chart("Soak", "jobs", "", {"": points}))
    labels = [
        (float(text.attrib["x"]), text.text or "")
        for text in root.iter(f"{SVG}text")
        if text.text and text.text.endswith("00,000")
    ]
    ends = [(x - DIGIT * len(word) / 2, x + DIGIT * len(word) / 2) for x, word in labels]
    assert f"{many * 100_000:,}" == labels[-1][1]
    assert all(end < begin for (_, end), (begin, _) in pairwise(ends))


def test_names_keep_their_colour() -> None:
    """A contestant looks the same in every plot, whoever else is in it."""
    names = ["a", "b"]
    alone = ET.fromstring(line_chart("Cost", "slots", "µs", {"b": [(1, 1.0)]}, names))
    both = {"a": [(1, 1.0)], "b": [(1, 1.0)]}
    together = ET.fromstring(line_chart("Cost", "slots", "µs", both, names))
    colours = [line.attrib["stroke"] for line in together.iter(f"{SVG}polyline")]
    assert colours[1:] == [line.attrib["stroke"] for line in alone.iter(f"{SVG}polyline")]


def test_stacked_charts_keep_their_lines() -> None:
    """Charts below each other are still one document with all their lines."""
    chart = line_chart("Cost", "slots", "µs", {"c": [(1, 1.0), (2, 5.0)]})
    root = ET.fromstring(stacked([chart, chart]))
    assert (2, str(2 * HEIGHT)) == (len(list(root.iter(f"{SVG}polyline"))), root.attrib["height"])


def test_curve_keeps_rounds_and_draws_medians() -> None:
    """A curve's line is the medians in the order of x; --json has each round."""
    curve = Curve("slots", "Cost", "slots")
    for x, cost in ((10, 5.0), (1, 9.0), (1, 7.0), (1, 50.0)):
        curve.add("dragonfly", x, cost)
    assert {"dragonfly": [(1, 9.0), (10, 5.0)]} == curve.lines
    assert [[5.0], [9.0, 7.0, 50.0]] == [point["microseconds"] for point in curve.as_json()]


async def test_another_contestant_first_in_each_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """All take part in each round, in the same order, but it begins one later each time."""
    taken: list[str] = []

    async def work(_: object, peer: Peer) -> None:
        taken.append(peer.name)

    monkeypatch.setitem(WORKS, "W0", work)
    stage = SimpleNamespace(load=lambda: 0.0)
    bench = cast("Bench", SimpleNamespace(sizes=SimpleNamespace(at_once=1), stage=stage))
    names = ["dragonfly", "bare", "saq"]
    await run(bench, names, ["W0"], 4, lambda _: None)

    first, second, third = names
    rounds = [taken[at : at + 3] for at in range(0, 12, 3)]
    assert [names, [second, third, first], [third, first, second], names] == rounds


async def test_the_curves_begin_with_another_contestant_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that whoever comes after the one that wrote most is not always the same."""
    taken: list[str] = []

    async def cost(_: object, peer: Peer, *_args: object, **_options: object) -> float:
        taken.append(peer.name)
        return 1.0

    for name in ("_cost", "_with_backlog"):
        monkeypatch.setattr(curves, name, cost)
    monkeypatch.setattr(curves, "_write", lambda *_: None)
    bench = cast("Bench", SimpleNamespace(sizes=QUICK))
    await curves.curves(bench, ["dragonfly", "bare"], 2, lambda _: None)

    # in the middle the same one ends a round and begins the next
    assert ["dragonfly", "bare", "dragonfly"] == [name for name, _ in groupby(taken)]
