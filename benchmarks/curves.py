"""W7: what a job costs as one thing grows, and the plots of it."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path

from benchmarks.peers import DRAGONFLY, PEERS, Peer
from benchmarks.plot import line_chart
from benchmarks.works import Bench, drain, start_rate

SLOTS = (1, 2, 5, 10, 20, 50)
PADDINGS = (80, 1_000, 10_000)
PROCESSES = (1, 2)
Y_TITLE = "µs a job"

Curve = dict[str, dict[float, list[float]]]


async def curves(
    bench: Bench, names: list[str], rounds: int, plots: Path, tell: Callable[[str], None]
) -> None:
    """Measure each curve ``rounds`` times over, interleaved, and write one SVG for each."""
    slots: Curve = {}
    sizes: Curve = {}
    processes: Curve = {}
    backlog: Curve = {}
    jobs = bench.sizes.jobs // 2
    for _ in range(rounds):
        for many in SLOTS:
            _keep(slots, DRAGONFLY, many, await _cost(bench, PEERS[DRAGONFLY], jobs, slots=many))
        for name in [each for each in names if not PEERS[each].slow > 1]:
            peer = PEERS[name]
            for padding in PADDINGS:
                _keep(sizes, name, padding, await _cost(bench, peer, jobs // 5, padding=padding))
            for many in PROCESSES:
                _keep(processes, name, many, await _cost(bench, peer, jobs * many, processes=many))
            for size in (0, bench.sizes.backlog // 10, bench.sizes.backlog):
                _keep(backlog, name, size, await _with_backlog(bench, peer, size))
    _write(plots / "slots.svg", "Cost of a job by slots", "slots", slots, tell)
    _write(plots / "payload.svg", "Cost of a job by payload", "bytes", sizes, tell)
    _write(plots / "processes.svg", "Cost of a job by processes", "processes", processes, tell)
    title = "Cost of a job with others scheduled in front"
    _write(plots / "backlog.svg", title, "jobs in front", backlog, tell)


async def _cost(
    bench: Bench,
    peer: Peer,
    jobs: int,
    *,
    processes: int = 1,
    padding: int = 80,
    slots: int | None = None,
) -> float:
    drained = await drain(bench, peer, jobs, processes, padding=padding, slots=slots)
    return 1e6 / drained.rate


async def _with_backlog(bench: Bench, peer: Peer, size: int) -> float:
    jobs = bench.sizes.backlog_jobs
    fills = [(jobs, "now")] if not size else [(size, "later"), (jobs, "now")]
    return 1e6 / await start_rate(bench, peer, jobs, fills)


def _keep(curve: Curve, name: str, x: float, y: float) -> None:
    curve.setdefault(name, {}).setdefault(x, []).append(y)


def _write(path: Path, title: str, x_title: str, curve: Curve, tell: Callable[[str], None]) -> None:
    lines = {
        name: [(x, statistics.median(ys)) for x, ys in points.items()]
        for name, points in curve.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(line_chart(title, x_title, Y_TITLE, lines), "utf-8")
    tell("")
    tell(f"{title}, µs a job; plot in {path}")
    for name, line in lines.items():
        tell(f"  {name:<18}" + "  ".join(f"{x:,.0f}: {y:.1f}" for x, y in line))
