"""W6: whether a table full of other jobs slows down those that can start."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg

from benchmarks.bench import ENDED, Bench
from benchmarks.figures import Metric
from benchmarks.peers import Peer
from benchmarks.works.draining import last_finish

EMPTY = Metric("W6 starts, nothing else in the table, jobs/s", "{:,.0f}", more_is_better=True)

STEPS = 10
ENOUGH_SECONDS = 5.0

Fills = tuple[tuple[int, str], ...]


def situations(jobs: int, backlog: int, *, ended: bool) -> dict[str, Fills]:
    """What lies in the table, by name, as (count, kind) in the order of insertion."""
    found: dict[str, Fills] = {
        "scheduled in front": ((backlog, "later"), (jobs, "now")),
        "of another type in front": ((backlog, "other"), (jobs, "now")),
        "more behind": ((jobs + backlog, "now"),),
    }
    return {**found, "ended": ((backlog, ENDED), (jobs, "now"))} if ended else found


async def w6_backlog(bench: Bench, peer: Peer) -> None:
    """The rate of starts on the first jobs, with many more in the table; none of the slow ones.

    Each is told as a rate and as a part of an otherwise empty table's, which is taken anew before
    every second one, for a machine's pace changes within minutes. Ended jobs only where the
    contestant keeps them.
    """
    if peer.slow > 1:
        return
    jobs, backlog, dead = bench.sizes.backlog_jobs, bench.sizes.backlog, bench.sizes.dead
    tables = situations(jobs, backlog, ended=bool(peer.ended))
    for fills in tables.values():
        await bench.template(peer, *fills)
    empty = 0.0
    for number, (name, fills) in enumerate(tables.items()):
        empty = empty if number % 2 else await _empty_rate(bench, peer, jobs)
        rate = await start_rate(bench, peer, jobs, fills)
        _keep(bench, peer, f"{backlog:,} {name}", rate, empty)
    empty = await _empty_rate(bench, peer, jobs)
    rate = await _with_dead_rows(bench, peer, jobs, dead)
    _keep(bench, peer, f"{dead:,} dead, pinned", rate, empty)


async def _empty_rate(bench: Bench, peer: Peer, jobs: int) -> float:
    rate = await start_rate(bench, peer, jobs, ((jobs, "now"),))
    bench.figures.add(EMPTY, peer.name, rate)
    return rate


def _keep(bench: Bench, peer: Peer, name: str, rate: float, empty: float) -> None:
    starts = Metric(f"W6 starts, {name}, jobs/s", "{:,.0f}", more_is_better=True)
    part = Metric(f"W6 starts, {name}, of the empty table's", "{:.2f}", more_is_better=True)
    bench.figures.add(starts, peer.name, rate)
    bench.figures.add(part, peer.name, rate / empty)


async def start_rate(bench: Bench, peer: Peer, jobs: int, fills: Fills) -> float:
    """Jobs a second over the second half of the first ``jobs`` starts, whatever else there is.

    Whom they take too long starts fewer.
    """
    async with bench.stage.copy_of(await bench.template(peer, *fills)) as database:
        return await _rate(bench, peer, database, jobs)


async def _rate(bench: Bench, peer: Peer, database: str, jobs: int) -> float:
    # a claim starts up to 2,000 jobs in one burst; a step of the true size is some whole bursts
    step = jobs // STEPS
    async with bench.workers(peer, database, step=step) as (worker,):
        starts = [await worker.line() for _ in range(3)]
        while len(starts) <= STEPS and _seconds(starts[0], starts[-1]) < ENOUGH_SECONDS:
            starts.append(await worker.line())
    middle, end = starts[len(starts) // 2], starts[-1]
    rate: float = (end["started"] - middle["started"]) / _seconds(middle, end)
    return rate


def _seconds(begin: dict[str, Any], end: dict[str, Any]) -> float:
    seconds: float = (end["at"] - begin["at"]) / 1e9
    return seconds


async def _with_dead_rows(bench: Bench, peer: Peer, jobs: int, dead: int) -> float:
    """The rate when the contestant has just finished ``dead`` jobs and no row version may go.

    A second session's snapshot, older than those finishes and held open while the rate is taken,
    keeps their entries in the order of the claim.
    """
    async with bench.stage.copy_of(await bench.template(peer, (dead, "now"))) as database:
        dsn = bench.stage.address(database)
        async with _pinned(dsn):
            async with bench.workers(peer, database, step=max(1, dead // 2)) as (worker,):
                for _ in range(3):
                    await worker.line()
                await last_finish(bench, peer, database)
                # what a contestant writes after its finishes is part of the past, too
                await asyncio.sleep(bench.sizes.settle_seconds)
            await bench.fill(peer, dsn, jobs, "now")
            return await _rate(bench, peer, database, jobs)


@contextlib.asynccontextmanager
async def _pinned(dsn: str) -> AsyncIterator[None]:
    conn = await asyncpg.connect(dsn)
    try:
        async with conn.transaction(isolation="repeatable_read", readonly=True):
            await conn.fetchval("SELECT count(*) FROM pg_catalog.pg_class")
            yield
    finally:
        await conn.close()
