"""SOAK: whether two million jobs later everything is as it was at the start."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import asyncpg

from benchmarks.bench import Bench
from benchmarks.drivers.protocol import JOB_TYPE
from benchmarks.figures import Metric
from benchmarks.peers import DRAGONFLY, Peer
from benchmarks.plot import line_chart, stacked
from benchmarks.running import Driver
from dragonfly.queue.bulk import enqueue_many

RATE = Metric("SOAK drain while enqueueing, jobs/s", "{:,.0f}", more_is_better=True)
MEMORY = Metric("SOAK worker's resident memory, MiB", "{:.0f}")
TABLE = Metric("SOAK table with its indexes, MiB", "{:.0f}")
DEAD = Metric("SOAK dead rows", "{:,.0f}")
LAST = Metric("SOAK last part's rate, of the first's", "{:.2f}", more_is_better=True)

KEEP_SECONDS = 5.0
BULK = 1000
PLOT = "soak.svg"
_TABLE = "SELECT pg_total_relation_size('ops.jobs')"
_DEAD = """
SELECT n_dead_tup FROM pg_stat_user_tables WHERE schemaname = 'ops' AND relname = 'jobs'
"""


@dataclass(frozen=True, slots=True)
class Mark:
    """How things stood when so many jobs had started; ``at`` is monotonic nanoseconds."""

    started: int
    at: int
    memory_mib: float
    table_mib: float
    dead: int


async def soak(bench: Bench, peer: Peer) -> None:
    """Enqueue in bulk as fast as one process drains, with ended jobs pruned after seconds.

    Dragonfly only. The rate is that of starts while this process enqueues on the same machine, so
    it is below that of W2.
    """
    if peer.name != DRAGONFLY:
        return
    sizes = bench.sizes
    async with (
        bench.stage.copy_of(await bench.template(peer)) as database,
        bench.workers(peer, database, step=BULK, keep_seconds=KEEP_SECONDS) as (worker,),
    ):
        conn = await asyncpg.connect(bench.stage.address(database))
        feeding = Feeding(conn, sizes.soak, sizes.soak_waiting)
        marks = await _both(feeding.run(), _watch(bench, worker, database, feeding))
        await conn.close()
    _keep(bench, marks)


async def _both(
    feed: Coroutine[Any, Any, None], watch: Coroutine[Any, Any, list[Mark]]
) -> list[Mark]:
    """What the watcher saw; the first error of either, as it is."""
    tasks = (asyncio.create_task(feed), asyncio.create_task(watch))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            if task.done():
                task.result()
        return await tasks[1]
    finally:
        for task in tasks:
            task.cancel()


class Feeding:
    """Adds ``total`` jobs in all, and keeps about ``waiting`` of them waiting."""

    def __init__(self, conn: Any, total: int, waiting: int) -> None:
        self.total = total
        self._conn, self._waiting = conn, waiting
        self._started = 0
        self._room = asyncio.Event()

    def drained(self, started: int) -> None:
        """So many jobs have started by now."""
        self._started = started
        self._room.set()

    async def run(self) -> None:
        """Add jobs by the thousand until all are there."""
        added = 0
        while added < self.total:
            self._room.clear()
            if added - self._started >= self._waiting:
                await self._room.wait()
                continue
            payloads = [{"n": n, "padding": "x" * 80} for n in range(added, added + BULK)]
            await enqueue_many(self._conn, JOB_TYPE, payloads)
            added += BULK


async def _watch(bench: Bench, worker: Driver, database: str, feeding: Feeding) -> list[Mark]:
    conn = await asyncpg.connect(bench.stage.address(database))
    marks: list[Mark] = []
    started, step = 0, bench.sizes.soak_step
    while started < feeding.total:
        line = await worker.line()
        started = line["started"]
        feeding.drained(started)
        if started == 1 or started % step == 0:
            memory, table = worker.resident_bytes(), await conn.fetchval(_TABLE)
            dead = await conn.fetchval(_DEAD)
            marks.append(Mark(started, line["at"], memory / 2**20, table / 2**20, dead))
    await conn.close()
    return marks


def rates(marks: list[Mark]) -> list[float]:
    """Starts a second between each two marks."""
    return [
        (end.started - begin.started) / (end.at - begin.at) * 1e9 for begin, end in pairwise(marks)
    ]


def _keep(bench: Bench, marks: list[Mark]) -> None:
    """Every part's figures in their order, and the plot of them."""
    by_part, ends = rates(marks), marks[1:]
    for mark, rate in zip(ends, by_part, strict=True):
        bench.figures.add(RATE, DRAGONFLY, rate)
        bench.figures.add(MEMORY, DRAGONFLY, mark.memory_mib)
        bench.figures.add(TABLE, DRAGONFLY, mark.table_mib)
        bench.figures.add(DEAD, DRAGONFLY, mark.dead)
    bench.figures.add(LAST, DRAGONFLY, by_part[-1] / by_part[0])
    bench.plots.mkdir(parents=True, exist_ok=True)
    (bench.plots / PLOT).write_text(plot(ends, by_part), "utf-8")


def plot(ends: list[Mark], by_part: list[float]) -> str:
    """Rate, memory and size of the table over the jobs drained so far, one below the other."""
    done = [mark.started for mark in ends]
    panels = (
        ("Jobs a second", by_part),
        ("Resident memory of the worker, MiB", [mark.memory_mib for mark in ends]),
        ("ops.jobs with its indexes, MiB", [mark.table_mib for mark in ends]),
    )
    charts = [
        line_chart(title, "jobs drained", "", {"": list(zip(done, values, strict=True))})
        for title, values in panels
    ]
    return stacked(charts)
