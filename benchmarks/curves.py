"""W7: what a job costs as one thing grows, and the plots of it."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.bench import Bench
from benchmarks.peers import DRAGONFLY, PEERS, Peer
from benchmarks.plot import line_chart
from benchmarks.rounds import turned
from benchmarks.works.backlogs import start_rate
from benchmarks.works.draining import drain

SLOTS = (1, 2, 5, 10, 20, 50)
# the rivals with slots of the same meaning; pg-boss and pgqueuer have batches
WITH_SLOTS = (DRAGONFLY, "graphile-worker")
PADDINGS = (80, 1_000, 10_000)
PROCESSES = (1, 2, 3)
Y_TITLE = "µs a job (wall time)"


@dataclass(slots=True)
class Curve:
    """Costs of a job by contestant and x, one for each round; ``name`` is the plot's file."""

    name: str
    title: str
    x_title: str
    costs: dict[str, dict[float, list[float]]] = field(default_factory=dict)

    def add(self, who: str, x: float, cost: float) -> None:
        """Keep the cost of one round, in microseconds."""
        self.costs.setdefault(who, {}).setdefault(x, []).append(cost)

    @property
    def lines(self) -> dict[str, list[tuple[float, float]]]:
        """The medians by contestant, in the order of x."""
        return {
            who: [(x, statistics.median(costs[x])) for x in sorted(costs)]
            for who, costs in self.costs.items()
        }

    def as_json(self) -> list[dict[str, Any]]:
        """Plain values for ``--json``."""
        return [
            {"curve": self.name, "contestant": who, "x": x, "microseconds": values}
            for who, costs in self.costs.items()
            for x, values in costs.items()
        ]


async def curves(
    bench: Bench, names: list[str], rounds: int, tell: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Measure each curve ``rounds`` times over, interleaved, and write one SVG for each."""
    slots = Curve("slots", "Cost of a job by slots", "slots")
    sizes = Curve("payload", "Cost of a job by payload", "bytes of payload")
    processes = Curve("processes", "Cost of a job by processes", "processes")
    backlog = Curve("backlog", "Cost of a job by others scheduled in front", "jobs in front")
    fast = [name for name in names if PEERS[name].slow == 1]
    jobs, most = bench.sizes.jobs // 2, bench.sizes.backlog
    for number in range(rounds):
        for peer in (PEERS[name] for name in turned(fast, number)):
            for many in _points(bench, SLOTS) if peer.name in WITH_SLOTS else ():
                slots.add(peer.name, many, await _cost(bench, peer, jobs, slots=many))
            for padding in _points(bench, PADDINGS):
                cost = await _cost(bench, peer, jobs // 5, padding=padding)
                sizes.add(peer.name, padding, cost)
            for many in _points(bench, PROCESSES):
                cost = await _cost(bench, peer, jobs * many, processes=many)
                processes.add(peer.name, many, cost)
            for size in _points(bench, (0, most // 10, most)):
                backlog.add(peer.name, size, await _with_backlog(bench, peer, size))
    all_four = (slots, sizes, processes, backlog)
    for curve in all_four:
        if curve.costs:
            _write(bench, curve, tell)
    return [point for curve in all_four for point in curve.as_json()]


def _points(bench: Bench, xs: tuple[int, ...]) -> tuple[int, ...]:
    return xs if bench.sizes.all_points else (xs[0], xs[-1])


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
    fills = ((jobs, "now"),) if not size else ((size, "later"), (jobs, "now"))
    return 1e6 / await start_rate(bench, peer, jobs, fills)


def _write(bench: Bench, curve: Curve, tell: Callable[[str], None]) -> None:
    bench.plots.mkdir(parents=True, exist_ok=True)
    path = bench.plots / f"{curve.name}.svg"
    path.write_text(line_chart(curve.title, curve.x_title, Y_TITLE, curve.lines, [*PEERS]), "utf-8")
    tell("")
    tell(f"{curve.title}, µs a job; plot in {path}")
    for name, line in curve.lines.items():
        tell(f"  {name:<18}" + "  ".join(f"{x:,.0f}: {y:.1f}" for x, y in line))
