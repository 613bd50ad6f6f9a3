"""W1: what it costs to add a job, alone, in bulk, and from many connections at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg

from benchmarks.bench import Bench
from benchmarks.figures import Metric
from benchmarks.peers import BARE, Peer
from benchmarks.running import answer

ONES = Metric("W1 enqueue one at a time, jobs/s", "{:,.0f}", more_is_better=True)
BULK = Metric("W1 enqueue in bulk by 1,000, jobs/s", "{:,.0f}", more_is_better=True)
CROWD = Metric("W1C enqueue from 10 connections, jobs/s", "{:,.0f}", more_is_better=True)

CONNECTIONS = 10
SILENT = "bare without the trigger"
_NO_TRIGGER = "ALTER TABLE ops.jobs DISABLE TRIGGER USER"


async def w1_enqueue(bench: Bench, peer: Peer) -> None:
    """Enqueue one at a time on one connection, and in bulk by 1,000."""
    bulk = bench.sizes.jobs // 2 // peer.slow
    for metric, word, count in ((ONES, "ones", bench.sizes.ones), (BULK, "fill", bulk)):
        async with bench.stage.copy_of(await bench.template(peer)) as database:
            dsn = bench.stage.address(database)
            took = await answer(peer, bench.cache, word, dsn, count=count)
        bench.figures.add(metric, peer.name, count / took["seconds"])


async def w1_crowd(bench: Bench, peer: Peer) -> None:
    """One job a transaction from ten connections of one process, while a worker listens.

    The worker takes another type, so it hears what there is to hear and has nothing to do; bare
    has a plain LISTEN instead. Bare is measured once more without Dragonfly's trigger.
    """
    bench.figures.add(CROWD, peer.name, await _crowd(bench, peer))
    if peer.name == BARE:
        bench.figures.add(CROWD, SILENT, await _crowd(bench, peer, setup=_NO_TRIGGER))


async def _crowd(bench: Bench, peer: Peer, setup: str | None = None) -> float:
    count = bench.sizes.crowd // peer.slow
    async with (
        _prepared(bench, peer, setup) as database,
        bench.workers(peer, database, kind="other"),
    ):
        await asyncio.sleep(bench.sizes.settle_seconds)
        dsn = bench.stage.address(database)
        options = {"count": count, "connections": CONNECTIONS}
        took = await answer(peer, bench.cache, "crowd", dsn, **options)
    rate: float = took["added"] / took["seconds"]
    return rate


@contextlib.asynccontextmanager
async def _prepared(bench: Bench, peer: Peer, setup: str | None) -> AsyncIterator[str]:
    async with bench.stage.copy_of(await bench.template(peer)) as database:
        if setup:
            conn = await asyncpg.connect(bench.stage.address(database))
            await conn.execute(setup)
            await conn.close()
        yield database
